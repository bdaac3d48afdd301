"""Checkpoints: what is restored is what was saved, or a sentence says why not."""

import asyncio
import errno
import gc
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as orbax
import pytest
from orbax.checkpoint import v1 as ocp

from unroll.checkpoint import (
  Checkpoints,
  best_steps,
  restore,
  run_of,
  sealed,
  steps,
)
from unroll.types import BadInput


class Carry(NamedTuple):
  h: Any
  key: Any


@flax.struct.dataclass
class State:
  step: int
  params: Any
  opt_state: Any
  carry: Any
  name: str = flax.struct.field(pytree_node=False, default="lstm")


def make_state(step, width=3):
  """Every kind of leaf, and no two entries alike."""
  params = {
    "cell/w": jnp.arange(2 * width, dtype=jnp.bfloat16).reshape(2, width) + step,
    "list": [jnp.float32(step), jnp.zeros((0, 3)), {}, None],
    "noise": jnp.asarray(
      np.random.default_rng(step).standard_normal((64, 64)), "float32"
    ),
  }
  host = (True, 0.1 + step, np.float16(step), np.arange(4.0) + step, 2**40 + step)
  key = (jax.random.key(step), jax.random.split(jax.random.key(step, impl="rbg"), 2))
  carry = Carry((jnp.int8(step), *host), key)
  return State(step, params, optax.adam(1e-3).init(params), carry)


def abstract(state):
  def of(leaf):
    is_jax = isinstance(leaf, jax.Array)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if is_jax else leaf

  return jax.tree.map(of, state)


def assert_same(actual, expected):
  """The same structure, and leaves of the same type, dtype and bits."""
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    assert type(a) is type(b)
    if hasattr(a, "dtype"):
      assert (a.dtype, a.shape) == (b.dtype, b.shape)
      if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
      assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    else:
      assert a == b


def save_all(directory, saved, keep=3, best=()):
  with Checkpoints(directory, keep) as checkpoints:
    for step in saved:
      checkpoints.save(step, make_state(step), {"seen": step * 10}, best=step in best)


def never(message):
  pytest.fail(f"warned: {message}")


@pytest.mark.parametrize(
  "of", [lambda state: state, abstract], ids=["concrete", "abstract"]
)
def test_round_trip_is_exact(tmp_path, of):
  meta = {"loss": float("inf"), "config": {"cell": "lstm", "layers": [1, 2]}, "é": None}
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(7, make_state(7), meta)
  restored = restore(tmp_path, of(make_state(0)), warn=never)
  assert (restored.step, restored.meta) == (7, meta)
  assert_same(restored.state, make_state(7))


def test_restored_arrays_are_as_committed_as_those_they_replace(tmp_path):
  # A change of commitment compiles the training step a second time.
  free = {"x": jnp.arange(3.0), "key": jax.random.key(1)}
  held = jax.device_put(free, jax.devices()[0])
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, free, {})
  for like in (free, held):
    restored = restore(tmp_path, like).state
    assert restored["x"].committed == like["x"].committed
    assert restored["key"].committed == like["key"].committed


def test_no_checkpoint_is_none(tmp_path):
  assert restore(tmp_path / "none", make_state(0)) is None
  with Checkpoints(tmp_path / "empty"):
    pass
  assert restore(tmp_path / "empty", make_state(0)) is None
  assert steps(tmp_path / "none") == steps(tmp_path / "empty") == []


def test_the_newest_and_the_best_are_kept(tmp_path):
  save_all(tmp_path, range(1, 8), keep=2, best=(1, 3))
  assert steps(tmp_path) == [3, 6, 7]
  assert restore(tmp_path, make_state(0)).step == 7
  assert restore(tmp_path, make_state(0), which="best").step == 3
  assert restore(tmp_path, make_state(0), which=6).state.step == 6
  with pytest.raises(BadInput, match=r"no 5 checkpoint: its steps are \[3, 6, 7\]"):
    restore(tmp_path, make_state(0), which=5)
  assert sorted(os.listdir(tmp_path)) == ["3", "6", "7"]


def test_the_best_ones_are_listed(tmp_path):
  assert best_steps(tmp_path / "none") == []
  save_all(tmp_path, range(1, 6), best=(3, 5))
  assert best_steps(tmp_path) == [3, 5]


def test_a_step_says_which_run_it_is_of(tmp_path):
  """The newest one whose metadata is intact; at first they said nothing."""
  assert run_of(tmp_path) is None
  save_all(tmp_path, [1])
  assert run_of(tmp_path) is None
  for step in (2, 3, 4):
    with Checkpoints(tmp_path, run={"cell": ["lstm", step]}) as checkpoints:
      checkpoints.save(step, make_state(step), {})
  change_run(tmp_path / "4")
  assert run_of(tmp_path) == (3, {"cell": ["lstm", 3]})
  assert restore(tmp_path, make_state(0), which=3).meta == {}
  save_all(tmp_path, [4])
  assert run_of(tmp_path) is None


def test_no_best_is_said(tmp_path):
  save_all(tmp_path, [1])
  with pytest.raises(BadInput, match="no best checkpoint"):
    restore(tmp_path, make_state(0), which="best")


def test_a_step_saved_again_is_replaced_and_later_ones_go(tmp_path):
  save_all(tmp_path, [1, 2, 3, 4], keep=4)
  with Checkpoints(tmp_path, keep=4) as checkpoints:
    checkpoints.save(2, make_state(20), {"again": True})
  assert steps(tmp_path) == [1, 2]
  restored = restore(tmp_path, make_state(0), warn=never)
  assert restored.meta == {"again": True}
  assert_same(restored.state, make_state(20))


def test_the_caller_may_overwrite_and_donate_at_once(tmp_path):
  host = np.arange(1 << 20, dtype=np.float32)
  device = jnp.asarray(host) + 1
  expected = host.copy(), np.array(device)
  bump = jax.jit(lambda x: x * 0 - 5, donate_argnums=0)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, {"host": host, "device": device}, {})
    host[:] = -5
    bump(device).block_until_ready()
  like = {"host": host, "device": jax.ShapeDtypeStruct((1 << 20,), jnp.float32)}
  restored = restore(tmp_path, like, warn=never).state
  np.testing.assert_array_equal(restored["host"], expected[0])
  np.testing.assert_array_equal(restored["device"], expected[1])


def array_file(path):
  """The file that holds the array data of a step: the largest."""
  return max(
    (p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
  )


def flip(where):
  def damage(path):
    file = array_file(path)
    data = bytearray(file.read_bytes())
    data[int(where * (len(data) - 1))] ^= 0x10
    file.write_bytes(data)

  return damage


def truncate(path):
  os.truncate(array_file(path), 1000)


def remove(pattern):
  return lambda path: [file.unlink() for file in sorted(path.rglob(pattern))]


def overwrite(name, text):
  return lambda path: (path / name).write_text(text)


def change_meta(path):
  file = path / "_CHECKPOINT_METADATA"
  content = json.loads(file.read_text())
  content["custom_metadata"]["meta"]["seen"] += 1
  file.write_text(json.dumps(content))


def change_run(path):
  file = path / "_CHECKPOINT_METADATA"
  file.write_text(file.read_text().replace("lstm", "gru"))


def empty(path):
  for file in path.rglob("*"):
    if file.is_file():
      file.write_bytes(b"")


DAMAGES = {
  **{f"flip {where}": flip(where) for where in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)},
  "truncated": truncate,
  "array removed": lambda path: array_file(path).unlink(),
  "manifest removed": remove("manifest.ocdbt"),
  "tree removed": remove("_METADATA"),
  "metadata removed": remove("_CHECKPOINT_METADATA"),
  "metadata garbage": overwrite("_CHECKPOINT_METADATA", "{]"),
  "metadata of another kind": overwrite("_CHECKPOINT_METADATA", "[1, 2]"),
  "metadata changed": change_meta,
  "tree garbage": overwrite("state/_METADATA", '{"tree_metadata": 3}'),
  "every file empty": empty,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_step_is_named_and_an_older_one_restored(tmp_path, damage):
  save_all(tmp_path, [1, 2])
  damage(tmp_path / "2")
  warned: list[str] = []
  restored = restore(tmp_path, make_state(0), warn=warned.append)
  assert (restored.step, restored.meta) == (1, {"seen": 10})
  assert_same(restored.state, make_state(1))
  assert len(warned) == 1
  assert warned[0].startswith(f"checkpoint {tmp_path}/2 is damaged and passed over: ")
  assert "\n" not in warned[0]


@pytest.mark.slow
def test_asyncio_says_nothing_of_arrays_that_fail_beside_the_first(tmp_path, caplog):
  state = {f"layer {i}": np.arange(50.0) + i for i in range(12)}
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state, {})
  for path in (tmp_path / "1" / "state").rglob("d/*"):
    path.write_bytes(bytes(path.stat().st_size))
  warned: list[str] = []
  for _ in range(3):
    with pytest.raises(BadInput, match="no intact checkpoint"):
      restore(tmp_path, state, warn=warned.append)
    gc.collect()  # asyncio tells of an error nobody asked for once it is collected
  assert len(warned) == 3 and caplog.records == []

  async def forgotten():
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(ValueError("of our own"))

  asyncio.run(forgotten())
  gc.collect()
  assert [log.getMessage().splitlines()[0] for log in caplog.records] == [
    "Future exception was never retrieved"
  ]


def retire(directory, step):
  """Takes a step away as a run that goes on does, and leaves a newer one."""
  save_all(directory, [step + 1], keep=1)


def replace(directory, step):
  """Writes a step anew, as a run does that has gone back and comes there again."""
  save_all(directory, [step])


def remove_all(directory, step):
  shutil.rmtree(directory)


TAKEN = {"pruned": (retire, 3), "replaced": (replace, 2), "all gone": (remove_all, 0)}


@pytest.mark.parametrize("before", ["content", "arrays"])
@pytest.mark.parametrize(("take", "expected"), TAKEN.values(), ids=TAKEN)
def test_a_step_taken_away_while_it_is_read_is_not_damaged(
  tmp_path, monkeypatch, before, take, expected
):
  save_all(tmp_path, [1, 2])
  read = getattr(sealed, before)

  def late(path, *arguments):
    monkeypatch.setattr(sealed, before, read)
    take(tmp_path, 2)
    if take is replace:
      raise sealed.Damaged("half of it is of the old step")
    return read(path, *arguments)

  monkeypatch.setattr(sealed, before, late)
  restored = restore(tmp_path, make_state(0), warn=never)
  assert (restored.step if restored else 0) == expected


def test_a_step_taken_away_before_it_is_looked_at_is_not_damaged(tmp_path, monkeypatch):
  save_all(tmp_path, [1, 2])
  seen = iter([[1, 2, 3]])
  monkeypatch.setattr("unroll.checkpoint.steps", lambda _: next(seen, [1, 2]))
  assert restore(tmp_path, make_state(0), warn=never).step == 2


def test_a_damaged_best_step_names_the_way_to_the_others(tmp_path):
  save_all(tmp_path, [1, 2, 3], best=[2])
  flip(0.5)(tmp_path / "2")
  way = r"steps \[2\] are damaged; checkpoint=newest restores .* of \[1, 3\]"
  with pytest.raises(BadInput, match=way):
    restore(tmp_path, make_state(0), which="best", warn=lambda said: None)
  assert restore(tmp_path, make_state(0), warn=never).step == 3


def test_no_intact_step_is_bad_input(tmp_path):
  save_all(tmp_path, [1, 2, 3])
  for step, damage in ((1, flip(0.5)), (2, truncate), (3, empty)):
    damage(tmp_path / str(step))
  warned: list[str] = []
  with pytest.raises(BadInput, match=r"no intact checkpoint.*\[1, 2, 3\]"):
    restore(tmp_path, make_state(0), warn=warned.append)
  assert len(warned) == 3
  with pytest.raises(BadInput, match=r"no intact checkpoint.*\[2\]"):
    restore(tmp_path, make_state(0), which=2, warn=warned.append)


def test_a_damaged_step_is_replaced_when_the_run_gets_there_again(tmp_path):
  save_all(tmp_path, [1, 2, 3])
  flip(0.5)(tmp_path / "2")
  save_all(tmp_path, [2])
  assert restore(tmp_path, make_state(0), warn=never).step == 2


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      lambda s: make_state(0, width=4),
      "cell/w'] is bfloat16[2, 3] there and bfloat16[2, 4]",
    ),
    (
      lambda s: s.replace(carry=s.carry._replace(h=(jnp.int32(0), *s.carry.h[1:]))),
      "state.carry.h[0] is int8[] there and int32[] here",
    ),
    (
      lambda s: s.replace(step=jnp.int32(0)),
      "state.step is int there and int32[] here",
    ),
    (
      lambda s: s.replace(carry=None),
      "state.carry.h[0] is int8[] there and missing here",
    ),
    (  # of this and the next five orbax alone would say nothing
      lambda s: s.replace(params={**s.params, "noise": None}),
      "state.params['noise'] is float32[64, 64] there and missing here",
    ),
    (
      lambda s: s.replace(params={**s.params, "noise": {}}),
      "state.params['noise'] is float32[64, 64] there and missing here",
    ),
    (
      lambda s: s.replace(
        params={**s.params, "list": [*s.params["list"][:3], jnp.zeros(2)]}
      ),
      "state.params['list'][3] is missing there and float32[2] here",
    ),
    (
      lambda s: s.replace(params={**s.params, "noise": np.zeros((8, 8), "float32")}),
      "state.params['noise'] is float32[64, 64] there and float32[8, 8] here",
    ),
    (
      lambda s: s.replace(params={**s.params, "noise": np.zeros((64, 64))}),
      "state.params['noise'] is float32[64, 64] there and float64[64, 64] here",
    ),
    (
      lambda s: s.replace(
        carry=s.carry._replace(h=(*s.carry.h[:2], 0, *s.carry.h[3:]))
      ),
      "state.carry.h[2] is float there and int here",
    ),
    (
      lambda s: s.replace(params={**s.params, "more": jnp.zeros(2)}),
      "state.params['more'] is missing there and float32[2] here",
    ),
    (
      lambda s: s.replace(
        carry=s.carry._replace(key=(s.carry.key[1][0], s.carry.key[1]))
      ),
      "state.carry.key[0] is key<fry>[] there and key<rbg>[] here",
    ),
  ],
)
def test_another_model_is_bad_input_that_names_the_leaf(tmp_path, change, message):
  save_all(tmp_path, [1, 2])
  with pytest.raises(BadInput, match=re.escape(message)):
    restore(tmp_path, change(make_state(0)), warn=never)
  assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("meta", [{"x": {1, 2}}, {"x": np.float32(1)}])
def test_what_cannot_be_saved_is_refused_at_once(tmp_path, meta):
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(TypeError):
      checkpoints.save(1, make_state(1), meta)
    with pytest.raises(TypeError, match=r"state\['name'\] is a str"):
      checkpoints.save(1, {"name": "lstm"}, {})
  assert steps(tmp_path) == []


def test_keep_is_at_least_one(tmp_path):
  with pytest.raises(BadInput, match="keep=0"):
    Checkpoints(tmp_path, keep=0)


def test_a_failed_write_is_one_sentence_and_the_older_step_stays(tmp_path, capfd):
  save_all(tmp_path, [1])
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
  sentence = r"^checkpoint \S+/2 could not be written: File too large; .* same command$"
  try:
    with Checkpoints(tmp_path) as checkpoints:
      for act in (
        checkpoints.wait,
        lambda: checkpoints.save(3, make_state(3), {}),
        checkpoints.close,
      ):
        checkpoints.save(2, make_state(2), {})
        with pytest.raises(OSError, match=sentence):
          act()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)
  assert os.listdir(tmp_path) == ["1"]
  assert "Traceback" not in capfd.readouterr().err
  assert_same(restore(tmp_path, make_state(0), warn=never).state, make_state(1))


ENDLESS = """
import sys
import numpy as np
from unroll.checkpoint import Checkpoints
state = {"a": np.zeros(5), "b": np.zeros((300, 300)), "c": np.zeros(())}
with Checkpoints(sys.argv[1], keep=2) as checkpoints:
  for step in range(int(sys.argv[2]) + 1, 10**6):
    for leaf in state.values():
      leaf[...] = step
    checkpoints.save(step, state, {"step": step}, best=step % 5 == 0)
    if step == int(sys.argv[2]) + 3:
      print("saving", flush=True)
"""


def test_kill_at_any_time_leaves_a_consistent_checkpoint(tmp_path):
  like = {"a": np.zeros(5), "b": np.zeros((300, 300)), "c": np.zeros(())}
  source = str(Path(__file__).parents[1] / "src")
  last = 0
  for delay in (0.0, 0.021, 0.05, 0.11):
    process = subprocess.Popen(
      [sys.executable, "-c", ENDLESS, str(tmp_path), str(last)],
      stdout=subprocess.PIPE,
      env={**os.environ, "PYTHONPATH": source},
    )
    with process:
      assert process.stdout.readline() == b"saving\n"
      time.sleep(delay)
      process.kill()
    restored = restore(tmp_path, like, warn=never)
    assert restored.step > last
    assert restored.meta == {"step": restored.step}
    for leaf in jax.tree.leaves(restored.state):
      assert (leaf == restored.step).all()
    last = restored.step
  with Checkpoints(tmp_path):
    assert {name for name in os.listdir(tmp_path) if not name.isdecimal()} == set()


def test_a_failed_write_is_found_without_another_save(tmp_path, monkeypatch):
  monkeypatch.setattr(sealed, "write", read_only)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.check()
    checkpoints.save(1, make_state(1), {})
    patience = time.monotonic() + 10
    with pytest.raises(OSError, match="1 could not be written: Read-only file system"):
      while time.monotonic() < patience:
        checkpoints.check()


def read_only(*_):
  raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_folder_that_takes_no_checkpoint_any_more_is_found_before_one(
  tmp_path, monkeypatch
):
  with Checkpoints(tmp_path / "steps") as checkpoints:
    checkpoints.save(1, make_state(1), {})
    checkpoints.wait()
    checkpoints.check()
    with monkeypatch.context() as patch:  # root may write whatever the mode says
      patch.setattr("os.access", lambda *_: False)
      with pytest.raises(OSError, match=r"^\S+/steps is read-only now: make it"):
        checkpoints.check()
    checkpoints.check()
    (tmp_path / "steps").rename(tmp_path / "moved")
    with pytest.raises(OSError, match=r"^\S+/steps is gone: put it back, then"):
      checkpoints.check()


def test_a_step_is_on_disk_before_it_appears_and_an_old_one_goes_after(
  tmp_path, monkeypatch
):
  synced, renamed = [], []
  rename, sync = os.rename, os.fsync

  def fsync(descriptor):
    sync(descriptor)
    synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

  def appear(source, target):
    if Path(target).parent == tmp_path:
      files = {*Path(source).rglob("*"), Path(source)}
      assert files <= {*synced} and len(files) > 5
    if str(target).endswith(".old"):
      assert synced[-1] == tmp_path and "2" in os.listdir(tmp_path)
    renamed.append(str(Path(target).relative_to(tmp_path)))
    rename(source, target)

  monkeypatch.setattr("os.fsync", fsync)
  monkeypatch.setattr("os.rename", appear)
  save_all(tmp_path, [1, 2], keep=1)
  assert tmp_path.parent in synced  # the name of the folder itself
  *_, newer, retired = renamed
  assert "1" in renamed and newer == "2" and retired.endswith("/1.old")


# Of the attempt that fails, orbax leaves some threads of work unbegun.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("after", [2, 5, 8, 13])
def test_a_clock_that_is_set_is_neither_failure_nor_damage(
  tmp_path, monkeypatch, count, after
):
  now = time.time()

  def jumping():  # orbax takes its timeouts by it
    calls = itertools.count()
    return lambda: now + 1e8 * (next(calls) > after)

  with monkeypatch.context() as patch, Checkpoints(tmp_path) as checkpoints:
    processes(patch, count)
    patch.setattr("time.time", jumping())
    checkpoints.save(1, make_state(1), {})
    checkpoints.wait()
  monkeypatch.setattr("time.time", jumping())
  assert restore(tmp_path, make_state(0), warn=never).step == 1
  assert not list(tmp_path.glob(".partial/*"))


def processes(monkeypatch, count):
  """Has the checkpoints be written as one of so many processes writes them."""
  monkeypatch.setattr(jax, "process_count", lambda: count)


@pytest.mark.parametrize("count", [1, 2])
def test_both_apis_of_orbax_read_a_step(tmp_path, monkeypatch, count):
  state = {"cell": {"w": np.arange(6.0).reshape(2, 3)}, "count": np.int32(7)}
  with monkeypatch.context() as patch, Checkpoints(tmp_path) as checkpoints:
    processes(patch, count)
    checkpoints.save(1, state, {})
  newer = ocp.load(tmp_path / "1")
  with orbax.StandardCheckpointer() as checkpointer:
    older = checkpointer.restore(tmp_path / "1" / "state")
  for found in (newer, older):
    assert found.keys() == {"['cell']['w']", "['count']"}
    np.testing.assert_array_equal(found["['cell']['w']"], state["cell"]["w"])
  assert restore(tmp_path, state, warn=never).state["count"] == 7


def test_no_thread_is_left(tmp_path):
  before = set(threading.enumerate())
  save_all(tmp_path, [1, 2])
  restore(tmp_path, make_state(0))
  patience = time.monotonic() + 10
  while set(threading.enumerate()) - before and time.monotonic() < patience:
    time.sleep(0.01)  # orbax tells its threads to end, and does not wait for them
  # Those of tests before may end meanwhile.
  assert set(threading.enumerate()) - before == set()
