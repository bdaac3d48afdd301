"""Arms: each is the run that it would be alone, whatever the others do."""

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import run
from tables import close, quick, same

from experiments import charlm
from experiments.session import armfile
from experiments.session.folder import Folder
from experiments.session.settings import Settings
from unroll import devices, train
from unroll.arms import Arms
from unroll.cells import CELLS
from unroll.compose import Wiring
from unroll.data.batches import Lanes, Stacked, Windows
from unroll.gradients import named_scheme
from unroll.layers import stacked
from unroll.models.language import LanguageModel, next_token_loss
from unroll.optim import optimizer
from unroll.schedules import schedule
from unroll.types import BadInput

V, H, B, T, STEPS = 7, 5, 3, 4, 3
TOKENS = np.random.default_rng(0).integers(V, size=400, dtype=np.int32)
ARMS = [
  train.Arm(np.int32(seed), np.float32(rate), np.float32(limit))
  for seed, rate, limit in [(0, 0.1, 0.01), (1, 0.1, 0.0), (1, 0.02, 1.0)]
]
CONTROL = train.Control(np.float32(20), np.float32(1))


class Training:
  """A small language model's training, as `experiments.session.trainer` builds it."""

  def __init__(self, cell="gru", partition="sequential", how="adam", by="global_norm"):
    core = stacked(CELLS[cell](4, H), wiring=Wiring(dropout=0.2))
    self.model = LanguageModel(V, 4, core, H)
    self.loss, self.how, self.by = next_token_loss(self.model), how, by
    self.partition, self.traces = partition, 0
    self.start = quick(self.fresh)
    self.dispatch = train.make_dispatch(self.step_of)
    self.evaluate = train.make_evaluate(self.loss)

  def optimizer(self, limit):
    return optimizer(self.how, clip_norm=limit, clip_by=self.by, ema=0.9)

  def carry(self, params):
    return self.model.apply(params, B, method="initial_carry")

  def fresh(self, seed):
    params = self.model.init(jax.random.key(seed), jnp.zeros((1, 1), jnp.int32))
    return train.initial_state(params, self.optimizer(0.0), self.carry(params))

  def step_of(self, arm):
    self.traces += 1
    return train.make_step(
      self.loss,
      named_scheme(f"tbptt:{T}"),
      self.optimizer(arm.clip_norm),
      schedule("cosine", arm.learning_rate, 2),
      jax.random.key(arm.seed + 1),
    )

  def source(self, arm):
    if self.partition == "sequential":
      return Lanes(TOKENS, B, T)
    return Windows(TOKENS, B, T, seed=int(arm.seed))

  def alone(self, arm, dispatches=2):
    """State, metrics of each dispatch, and evaluation of one run."""
    state, source, found = self.start(arm.seed), self.source(arm), []
    for first in range(0, dispatches * STEPS, STEPS):
      batches = batched(source, first)
      state, metrics = self.dispatch(arm, state, batches, np.int32(STEPS), CONTROL)
      found.append(metrics)
    batches, count = batched(Lanes(TOKENS, B, T), 0), np.int32(STEPS)
    carry = self.carry(state.params)
    _, sums = self.evaluate(state.params, carry, batches, count)
    return state, tuple(found), sums

  def together(self, looped, dispatches=2, counts=(STEPS,) * 3):
    """The same of all arms."""
    group = Arms(len(ARMS), 1, looped=looped)
    sources = [self.source(arm) for arm in ARMS]
    alike = self.partition == "sequential"
    source, axis = (sources[0], None) if alike else (Stacked(sources), 1)
    advance = group.program(
      train.several(self.step_of), (0, 0, axis, 0, 0), donate=(1,)
    )
    state = group.stack([jax.device_get(self.start(arm.seed)) for arm in ARMS])
    arms, controls = group.stack(ARMS), group.stack([CONTROL] * len(ARMS))
    steps, found = group.stack([np.int32(count) for count in counts]), []
    for first in range(0, dispatches * STEPS, STEPS):
      state, metrics = advance(arms, state, batched(source, first), steps, controls)
      found.append(group.split(metrics))

    def evaluation(params, batches, count):
      carry = self.carry(params)
      return train.evaluation(self.loss)(params, carry, batches, count)[1]

    evaluate = group.program(evaluation, (0, None, None))
    batches = batched(Lanes(TOKENS, B, T), 0)
    sums = group.split(evaluate(state.params, batches, np.int32(STEPS)))
    return list(zip(group.split(state), zip(*found), sums))


@pytest.fixture
def haste(monkeypatch):
  """Compiles as `quick` does, in `src` too."""
  monkeypatch.setattr(jax, "jit", quick)


def batched(source, first):
  batches = [source[step] for step in range(first, first + STEPS)]
  return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)


@pytest.mark.parametrize(
  ("cell", "partition", "how", "by", "looped"),
  [
    ("rnn", "random", "rmsprop", "param_norm", False),
    *(
      pytest.param(*row, marks=pytest.mark.slow)
      for row in (
        ("lstm", "sequential", "adam", "global_norm", True),
        ("gru", "random", "sgd", "value", True),
        ("lstm", "random", "momentum", "agc", False),
      )
    ),
  ],
)
def test_each_arm_is_its_run_alone(haste, cell, partition, how, by, looped):
  training = Training(cell, partition, how, by)
  for arm, (state, metrics, sums) in zip(ARMS, training.together(looped)):
    expected = training.alone(arm)
    assert state.step == 2 * STEPS and metrics[0].grad_norm[0] > 0.01
    close(state, expected[0], 1e-5)
    close(metrics, expected[1], 1e-5)
    close(sums, expected[2], 1e-5)


def test_arms_differ(haste):
  states = [state for state, _, _ in Training().together(True)]
  weights = [
    np.concatenate([*map(np.ravel, jax.tree.leaves(s.params))]) for s in states
  ]
  for a, b in [(0, 1), (1, 2), (0, 2)]:
    assert np.abs(weights[a] - weights[b]).max() > 1e-2


@pytest.mark.slow
def test_one_program_for_all_arms_and_dispatches(haste):
  once, often = Training(), Training()
  once.together(True, dispatches=1)
  often.together(True, dispatches=4)
  assert often.traces == once.traces <= 2  # the second asks for shapes alone


@pytest.mark.slow
def test_an_arm_that_waits_stays_as_it_is(haste):
  training = Training()
  found = training.together(True, counts=(STEPS, 0, STEPS))
  others = training.together(True)
  same(found[1][0], jax.device_get(training.start(ARMS[1].seed)))
  same(found[0], others[0])
  same(found[2], others[2])


def test_another_seed_rate_or_limit_is_the_same_program(haste):
  training = Training()
  for arm in ARMS:
    training.alone(arm)
  assert training.dispatch._cache_size() == 1


# As a command.

TINY = [
  *("--corpus=book.txt", "--hidden=16", "--embedding=8", "--batch=4", "--layers=1"),
  *("--truncation=tbptt:8", "--steps=23", "--eval_every=7", "--checkpoint_every=5"),
  *("--dispatch=4", "--length=30", "--dropout=0.2"),
]
OWN = {
  "a": {"seed": "1", "learning_rate": "0.004"},
  "b": {"seed": "2", "clip_norm": "0.05"},
  "c": {},
}
TIMES = {"seconds", "start_seconds", "tokens_per_second"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A folder with the runs of `OWN`, trained as arms; and what the command said."""
  folder = fill(tmp_path_factory.mktemp("arms"))
  done = together(folder, *TINY)
  assert done.code == 0, done.err
  return folder, done


@pytest.fixture
def folder(tmp_path):
  return fill(tmp_path)


def fill(folder):
  words = np.random.default_rng(0).choice(["the", "fox ", " over", "a", "dog.\n"], 2500)
  (folder / "book.txt").write_text("".join(words), "utf-8")
  write(folder, OWN)
  return folder


def write(folder, own):
  arms = [{"workdir": name, "flags": flags} for name, flags in own.items()]
  (folder / "arms.json").write_text(json.dumps(arms))


def together(folder, *argv, **options):
  return run(folder, "charlm", *argv, "--arms=arms.json", "--json", **options)


def alone(folder, name, *argv, **options):
  own = [f"--{flag}={value}" for flag, value in OWN[name].items()]
  return run(folder, "charlm", *argv, *own, f"--workdir={name}", "--json", **options)


def records(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  stripped = ({k: v for k, v in json.loads(x).items() if k not in TIMES} for x in lines)
  return [record for record in stripped if record.keys() > {"step"}]


def leaves(workdir):
  from orbax.checkpoint import v1 as ocp

  newest = max(int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*"))
  return ocp.load(workdir / "checkpoints" / str(newest))


def same_run(a, b, tolerance=0.0):
  one, other = records(a), records(b)
  assert [r.keys() for r in one] == [r.keys() for r in other]
  for x, y in zip(one, other):
    assert x == (pytest.approx(y, rel=tolerance, abs=tolerance) if tolerance else y)
  one, other = leaves(a), leaves(b)
  assert one.keys() == other.keys()
  for name, array in one.items():
    np.testing.assert_allclose(
      array, other[name], rtol=tolerance, atol=tolerance, err_msg=name
    )


def names(workdir):
  """The files of a run, but for what differs from one run to the next."""
  paths = (str(p.relative_to(workdir)) for p in workdir.rglob("*"))
  return sorted(p for p in paths if "tfevents" not in p and "/ocdbt" not in p)


@pytest.mark.slow
def test_an_arm_is_the_run_alone(trained, folder):
  there, done = trained
  name = "b"
  solo = alone(folder, name, *TINY)
  assert solo.code == 0, solo.err
  same_run(there / name, folder / name, 1e-5)
  for file in ("config.json", "vocab.json"):
    assert (there / name / file).read_text() == (folder / name / file).read_text()
  kept = ("metrics.jsonl", "curves.png", "sample.txt", "checkpoints/23", "vocab.json")
  for workdir in (there / name, folder / name):
    assert len([*workdir.glob("events.out.tfevents.*")]) == 1
    assert all((workdir / file).exists() for file in kept)
  assert {p.name for p in (there / name).iterdir() if "tfevents" not in p.name} == {
    p.name for p in (folder / name).iterdir() if "tfevents" not in p.name
  }
  summary = next(s for s in done.json if s["workdir"] == name)
  assert summary.keys() == solo.json.keys() and summary["finished"] is True
  for key in summary.keys() - TIMES - {"workdir"}:
    assert summary[key] == pytest.approx(solo.json[key], rel=1e-5)
  # A finished arm is a finished run.
  again = alone(there, name, *TINY)
  assert again.code == 0 and again.json["val/loss"] == summary["val/loss"]


def interrupt(step, number):
  """Sends this process a signal once every arm has written the record of a step."""
  from unroll.runlog import RunLog

  write, seen = RunLog.write, []

  def write_then_interrupt(self, record):
    write(self, record)
    if record["step"] == step and "train/loss" in record:
      seen.append(step)
      if len(seen) == len(OWN):
        os.kill(os.getpid(), number)

  RunLog.write = write_then_interrupt


@pytest.mark.slow
def test_interrupted_and_resumed_is_uninterrupted(trained, folder):
  first = partial(interrupt, 9, signal.SIGTERM)
  cut = together(folder, *TINY, first=first)
  assert cut.code == 0 and "interrupted" in cut.err, cut.err
  assert [s["workdir"] for s in cut.json] == [*OWN]
  assert all(s["finished"] is False and 9 <= s["steps"] < 23 for s in cut.json)
  # One of them goes on alone, one is as a kill between two saves leaves it.
  assert alone(folder, "a", *TINY).code == 0
  behind = folder / "b" / "checkpoints"
  newest = max(behind.glob("[0-9]*"), key=lambda p: int(p.name))
  newest.rename(folder / "gone")
  on = together(folder, *TINY)
  assert on.code == 0, on.err
  assert all(s["finished"] and s["steps"] == 23 for s in on.json)
  same_run(folder / "a", trained[0] / "a", 1e-5)
  for name in ("b", "c"):
    same_run(folder / name, trained[0] / name)


@pytest.mark.slow
def test_arms_go_on_to_an_end_that_one_is_beyond(trained, folder):
  for name in OWN:
    shutil.copytree(trained[0] / name, folder / name)
  far = alone(folder, "a", *TINY, "--steps=35")
  assert far.code == 0 and far.json["steps"] == 35, far.err
  on = together(folder, *TINY, "--steps=30")
  assert on.code == 0 and "it is to end at step 30" in on.err, on.err
  assert [(s["steps"], s["finished"]) for s in on.json] == [
    *((35, True), (30, True), (30, True)),
  ]
  assert [r["step"] for r in records(folder / "b") if "grad_norm" in r] == [
    *range(1, 31)
  ]


@pytest.mark.slow
def test_one_that_blows_up_leaves_the_others(folder):
  flags = [*TINY, "--steps=70"]
  assert together(folder, *flags).code == 0
  for name in OWN:
    (folder / name).rename(folder / f"{name}-good")
  write(folder, {**OWN, "b": {**OWN["b"], "learning_rate": "1e38"}})
  done = together(folder, *flags)
  assert done.code == 0 and "Traceback" not in done.err
  good, bad, other = done.json
  assert good["finished"] and other["finished"]
  assert bad.keys() == {"error", "workdir"} and "50 steps in a row" in bad["error"]
  assert f"b: {bad['error']}" in done.err
  for name in ("a", "c"):
    same_run(folder / name, folder / f"{name}-good")


@pytest.mark.skipif(devices.cores() < 2, reason="needs two cores")
def test_arms_on_two_devices():
  script = """
import sys
from unroll.devices import divide_arms
assert divide_arms("auto", 3) == 2
import jax, numpy as np
from unroll.arms import Arms
group = Arms(3, 2, looped=True)
numbers = group.stack([np.float32(x) for x in (1, 2, 5)])
assert numbers.shape == (4,) and numbers.sharding.num_devices == 2
product = group.program(lambda x, y: x * y, (0, None), donate=(0,))
three = np.float32(3)
text = product.lower(numbers, three).compile().as_text()
assert group.split(product(numbers, three)) == [3, 6, 15] and numbers.is_deleted()
assert "all-" not in text and "collective" not in text
"""
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
  subprocess.run([sys.executable, "-c", script], check=True, env=environment)


# Bad input.

A = {"workdir": "a", "flags": {}}
FILES = {
  "{": "cannot be read as JSON",
  "{}": "holds no list",
  "[]": "holds no list",
  '["a"]': 'arm 0: give {"workdir"',
  json.dumps([A, {"workdir": "b"}]): "arm 1: give",
  json.dumps([{**A, "workdir": ""}]): "arm 0: give",
  json.dumps([{**A, "name": "x"}]): "arm 0: give",
  json.dumps([A, {**A, "workdir": "./a"}]): "two arms share",
  json.dumps([{**A, "flags": {"hidden": "8"}}]): "--hidden makes another program",
  json.dumps([{**A, "flags": {"seed": "one"}}]): "seed=one",
  json.dumps([{**A, "flags": {"seed": "-1"}}]): "seed=-1",
  json.dumps([{**A, "flags": {"clip_norm": None}}]): "clip_norm=None",
}


@pytest.mark.parametrize("content", FILES)
def test_a_bad_file_is_refused(tmp_path, content):
  path = tmp_path / "arms.json"
  path.write_text(content)
  with pytest.raises(BadInput) as refused:
    arms_of(path)
  assert FILES[content] in str(refused.value) and "\n" not in str(refused.value)


def arms_of(path):
  return armfile.read(Settings.of(charlm.PAGE, arms=str(path)))


def test_an_arm_may_live_at_home(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  path = tmp_path / "arms.json"
  path.write_text(json.dumps([{**A, "workdir": "~/a"}]))
  assert [own[Folder].workdir for own in arms_of(path)] == ["/home/me/a"]
  path.write_text(json.dumps([A, {**A, "workdir": "~nobody-here/a"}]))
  with pytest.raises(BadInput, match="arm 1: there is no home ~nobody-here"):
    arms_of(path)


REFUSED = [
  (["--arms=nowhere.json"], "nowhere.json", "No such file"),
  (["--workdir=x"], "--workdir=x", "drop it"),
  (["--minutes=1"], "--minutes", "--steps"),
  (["--patience=2"], "--patience=2"),
  (["--devices=9"], "--devices=9"),
  (["--mode=eval"], "--arms", "--mode=train"),
  (["--learning_rate=nan"], "learning_rate"),
]


@pytest.mark.parametrize(
  ("flags", "words"), [pytest.param(f, w, id=f[0]) for f, *w in REFUSED]
)
def test_refused(folder, flags, words):
  before = sorted(folder.rglob("*"))
  done = run(folder, "charlm", "--arms=arms.json", *TINY, *flags)
  assert done.code == 2 and done.err.count("\n") == 1, done.err
  assert all(word in done.err for word in words), done.err
  assert sorted(folder.rglob("*")) == before


def test_one_strange_folder_leaves_all_unwritten(folder):
  Path(folder / "c").mkdir()
  (folder / "c" / "diary.txt").write_text("dear diary")
  before = sorted(folder.rglob("*"))
  done = together(folder, *TINY)
  assert done.code == 2 and "--workdir=c holds diary.txt" in done.err
  assert sorted(folder.rglob("*")) == before


def test_epochs_that_differ_by_seed_are_refused(folder):
  flags = [*TINY, "--truncation=random:8", "--steps=9999", "--epochs=1"]
  done = together(folder, *flags)
  assert done.code == 2 and "give --steps" in done.err, done.err
