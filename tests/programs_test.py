"""Programs that are kept: those of JAX alone, traced once, and never the wrong ones."""

import functools
import os
import sys
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.session import programs
from experiments.session.programs import SUFFIX, Programs
from unroll.types import BadInput


class Both(NamedTuple):
  sums: dict[str, jax.Array]
  others: list[jax.Array]


def step(scale, state, batch):
  total = jnp.tanh(state["h"] @ batch) * scale
  key = jax.random.fold_in(state["key"], 3)
  noise = jax.random.normal(key, total.shape)
  return {"h": total + noise, "key": key}, Both({"loss": total.sum()}, [batch.sum(0)])


def inputs(rows=3):
  h = np.linspace(-1, 1, 5 * rows, dtype=np.float32).reshape(rows, 5)
  batch = jnp.arange(25, dtype=jnp.float32).reshape(5, 5) / 25
  return jnp.float32(0.7), {"h": jnp.asarray(h), "key": jax.random.key(4)}, batch


@pytest.fixture
def kept(tmp_path, monkeypatch):
  """A folder of programs, in a process that is younger than all its sources."""
  tmp_path.chmod(0o700)
  monkeypatch.setattr(programs, "BEGAN", sys.maxsize)
  programs._state.cache_clear()
  before = jax.config.values["jax_compilation_cache_dir"]
  jax.config.update("jax_compilation_cache_dir", str(tmp_path))
  yield tmp_path
  jax.config.update("jax_compilation_cache_dir", before)
  programs._state.cache_clear()


def files(folder):
  return sorted(folder.glob(f"*{SUFFIX}"))


def never(*_):
  raise AssertionError("traced")


def same(found, wanted):
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
    if jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
      one, other = jax.random.key_data(one), jax.random.key_data(other)
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_a_kept_program_is_not_traced_and_gives_the_same(kept):
  wanted = jax.jit(step)(*inputs())
  same(Programs("run").of("step", step)(*inputs()), wanted)
  assert len(files(kept)) == 1
  program = Programs("run").of("step", never)
  same(program(*inputs()), wanted)
  shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), wanted)
  found = program.eval_shape(*inputs())
  assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), found) == shapes


@pytest.mark.parametrize(
  "run, name, rows", [("b", "s", 3), ("a", "t", 3), ("a", "s", 2)]
)
def test_another_run_function_or_shape_is_another_program(kept, run, name, rows):
  Programs("a").of("s", step)(*inputs())
  with pytest.raises(AssertionError, match="traced"):
    Programs(run).of(name, never)(*inputs(rows))


def test_settings_of_jax_are_part_of_a_program(kept):
  Programs("a").of("s", step)(*inputs())
  before = jax.config.values["jax_default_matmul_precision"]
  jax.config.update("jax_default_matmul_precision", "float32")
  try:
    with pytest.raises(AssertionError, match="traced"):
      Programs("a").of("s", never)(*inputs())
  finally:
    jax.config.update("jax_default_matmul_precision", before)
  Programs("a").of("s", never)(*inputs())


@pytest.fixture
def module(tmp_path_factory, monkeypatch):
  """The file of a module that is loaded."""
  path = tmp_path_factory.mktemp("sources") / "of_a_user.py"
  path.write_text("x = 1\n")
  loaded = types.ModuleType("of_a_user")
  loaded.__file__ = str(path)
  monkeypatch.setitem(sys.modules, "of_a_user", loaded)
  return path


@pytest.mark.parametrize("change", [lambda p: p.write_text("x = 1.5\n"), os.remove])
def test_a_changed_source_has_it_traced_again(kept, module, change):
  Programs("a").of("s", step)(*inputs())
  change(module)
  programs._state.cache_clear()  # as in another process
  with pytest.raises(AssertionError, match="traced"):
    Programs("a").of("s", never)(*inputs())


def test_sources_that_are_younger_than_the_process_keep_nothing(
  kept, module, monkeypatch
):
  monkeypatch.setattr(programs, "BEGAN", os.stat(module).st_mtime_ns - 1)
  same(Programs("a").of("s", step)(*inputs()), jax.jit(step)(*inputs()))
  assert not files(kept)


@pytest.mark.parametrize(
  "damage",
  [
    lambda data: b"",
    lambda data: data[: len(data) // 2],
    lambda data: data[:-9] + bytes(9),
    lambda data: b"{}\n" + data,
    lambda data: b"[]\n",
    lambda data: b"\xff\xfe\n" + data,
    lambda data: data.replace(b"programs_test:Both", b"programs_test:step"),
    lambda data: data.replace(b"programs_test:Both", b"os:path.exists"),
  ],
)
def test_a_damaged_file_is_replaced(kept, damage):
  Programs("a").of("s", step)(*inputs())
  (file,) = files(kept)
  whole = file.read_bytes()
  file.write_bytes(damage(whole))
  assert file.read_bytes() != whole
  same(Programs("a").of("s", step)(*inputs()), jax.jit(step)(*inputs()))
  Programs("a").of("s", never)(*inputs())


def test_a_folder_that_is_open_to_others_is_not_read(kept):
  Programs("a").of("s", step)(*inputs())
  kept.chmod(0o777)
  with pytest.raises(AssertionError, match="traced"):
    Programs("a").of("s", never)(*inputs())


def test_what_cannot_be_kept_is_compiled_all_the_same(kept):
  def odd(x):
    return Frozen(jnp.sin(x)), x + jnp.float32(1)

  @functools.partial(
    jax.tree_util.register_dataclass, data_fields=["x"], meta_fields=[]
  )
  class Frozen:
    def __init__(self, x):
      self.x = x

  found, more = Programs("a").of("s", odd)(jnp.float32(2))
  assert isinstance(found, Frozen) and more == 3
  assert not files(kept)


def test_what_a_function_refuses_is_said_by_it(kept):
  def refuses(x):
    raise BadInput("no such cell")

  with pytest.raises(BadInput, match="no such cell"):
    Programs("a").of("s", refuses)(jnp.float32(2))


def test_spread_over_devices_donated_and_prepared(kept):
  mesh = Mesh(np.array(jax.devices()), ("batch",))
  whole = NamedSharding(mesh, PartitionSpec())

  def total(state, batch):
    return jax.tree.map(lambda leaf: leaf + batch.sum(), state), batch.mean(0)

  def shapes(tree):
    return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), tree
    )

  state = {"a": np.ones(4, np.float32), "b": np.zeros((2, 3), np.float32)}
  batch = np.arange(12, dtype=np.float32).reshape(4, 3)
  wanted = total(state, batch)
  for function in (total, never):
    program = Programs("a").of("s", function, (0,), (whole, whole))
    programs.prepare(program, (shapes(state), shapes(batch)))
    placed = jax.device_put((state, batch), whole)
    found = program(*placed)
    same(found, wanted)
    assert all(leaf.sharding == whole for leaf in jax.tree.leaves(found))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(placed[0]))
    assert not placed[1].is_deleted()
