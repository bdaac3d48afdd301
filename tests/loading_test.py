"""A run folder opened in one call: what the run saved, or a sentence says why not."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import run
from orbax.checkpoint import v1 as ocp
from tables import close, reals, same

import unroll
from unroll.checkpoint import best_steps, steps
from unroll.data.series.horizons import Horizon
from unroll.types import BadInput

pytestmark = pytest.mark.slow  # runs of several pages are trained for all of them

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
TEXT = [
  *("--corpus=book.txt", "--embedding=4", "--batch=4", "--cell=gru", "--steps=14"),
  *("--truncation=tbptt:8", "--eval_every=4", "--checkpoint_every=3"),
  *("--learned_carry", "--learning_rate=0.05"),
]
SERIES = [
  *("--series=sine", "--layers=1", "--hidden=5", "--window=7", "--horizon=3"),
  *("--batch=4", "--steps=4", "--eval_every=2"),
]
RUNS = {
  "language": ("charlm", [*TEXT, "--dropout=0.2", "--hidden=6,5", "--length=5"]),
  "cloze": ("cloze", [*TEXT, "--layers=1", "--hidden=7"]),
  "forecast": ("forecast", [*SERIES, "--ema=0.9"]),
}
T, B = 9, 3


def book():
  """The end, on which runs are validated, is nothing like the rest."""
  draw = random.Random(0)
  rest = "".join(draw.choice(["the ", "quick ", "fox ", "\n"]) for _ in range(800))
  return rest + "".join(draw.choice("thequickfox \n") for _ in range(len(rest) // 7))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A folder with the runs."""
  folder = tmp_path_factory.mktemp("loading")
  (folder / "book.txt").write_text(book(), "utf-8")
  for name, (page, flags) in RUNS.items():
    done = run(folder, page, *flags, f"--workdir={name}")
    assert done.code == 0, done.err
  return folder


@pytest.fixture
def copied(folder, tmp_path):
  """The language model's run with its newest checkpoint alone, to be spoiled."""
  shutil.copytree(folder / "language", tmp_path / "run")
  for step in steps(tmp_path / "run" / "checkpoints")[:-1]:
    shutil.rmtree(tmp_path / "run" / "checkpoints" / str(step))
  return tmp_path / "run"


def saved(path, step, part):
  """The arrays of a part of the state, by name, as orbax reads them."""
  arrays = ocp.load(path.absolute() / "checkpoints" / str(step))
  return {n.removeprefix(part): a for n, a in arrays.items() if n.startswith(part)}


def named(tree):
  return {jax.tree_util.keystr(p): leaf for p, leaf in jax.tree.leaves_with_path(tree)}


def equal(found, expected):
  assert found.keys() == expected.keys()
  for name, leaf in found.items():
    np.testing.assert_array_equal(leaf, expected[name], err_msg=name, strict=True)


def tokens_of(model, length=T):
  size = (length, B)
  return np.random.default_rng(1).integers(len(model.vocabulary), size=size, dtype="i4")


# What is loaded is what was saved.


@pytest.mark.parametrize("name", ["language", "cloze"])
def test_the_parameters_are_those_that_the_run_saved(folder, name):
  model = unroll.load(folder / name, checkpoint="newest")
  equal(named(model.params), saved(folder / name, model.at, ".params"))
  config = json.loads((folder / name / "config.json").read_text())
  assert model.config["flags"] == config["flags"]


def test_the_average_of_the_parameters_is_what_counts(folder):
  model = unroll.load(folder / "forecast")
  average = saved(folder / "forecast", model.at, ".opt_state.average")
  last = saved(folder / "forecast", model.at, ".params")
  found = named(model.params)
  equal(found, average)
  assert any((found[name] != last[name]).any() for name in last)


def test_the_checkpoint_is_the_best_the_newest_or_that_of_a_step(folder):
  where = folder / "language" / "checkpoints"
  newest, best = steps(where)[-1], best_steps(where)[-1]
  assert best < newest  # or this test shows nothing
  lines = (folder / "language" / "metrics.jsonl").read_text().splitlines()
  losses = {r["step"]: r["val/loss"] for r in map(json.loads, lines) if "val/loss" in r}
  assert best == min(losses, key=losses.__getitem__)
  for which, at in {"best": best, "newest": newest, best: best, newest: newest}.items():
    model = unroll.load(folder / "language", checkpoint=which)
    assert model.at == at
    equal(named(model.params), saved(folder / "language", at, ".params"))
  assert unroll.load(folder / "language").at == best


def test_without_a_best_checkpoint_it_is_the_newest_and_says_so(copied):
  newest = steps(copied / "checkpoints")[-1]
  with pytest.warns(UserWarning, match="has no best checkpoint") as warned:
    assert unroll.load(copied).at == newest
  assert len(warned) == 1
  said = []
  unroll.load(copied, warn=said.append)
  assert len(said) == 1 and f"of step {newest}" in said[0]


# The model is the functions that it was trained as.


def test_a_sequence_is_its_steps_one_after_another(folder):
  model = unroll.load(folder / "language")
  tokens = tokens_of(model)
  start = carry = model.initial_carry(model.params, B)
  step, outputs = jax.jit(model.step), []
  for row in tokens:
    carry, out = step(model.params, carry, row)
    outputs.append(out)
  whole = model.apply(model.params, start, tokens)
  assert whole[1].shape == (T, B, len(model.vocabulary))
  close((carry, np.stack(outputs)), whole, 1e-5)
  # A part ends with the carry that the next one starts with.
  middle, _ = model.apply(model.params, start, tokens[:4])
  close(model.apply(model.params, middle, tokens[4:])[0], whole[0], 1e-5)


def test_padding_moves_no_carry(folder):
  model = unroll.load(folder / "language")
  tokens, start = tokens_of(model), model.initial_carry(model.params, B)
  valid = np.arange(T)[:, None] < np.array([4, 4, 4])
  padded, _ = model.apply(model.params, start, tokens, valid=valid)
  short, _ = model.apply(model.params, start, tokens[:4])
  close(reals(padded), reals(short), 1e-5)


def test_every_sequence_starts_with_the_carry_that_was_learned(folder):
  model = unroll.load(folder / "language")
  arrays = saved(folder / "language", model.at, ".params").values()
  carry = model.initial_carry(model.params, B)
  rows = [leaf for leaf in jax.tree.leaves(carry) if leaf.shape[:1] == (B,)]
  assert [leaf.shape for leaf in rows] == [(B, 6), (B, 5)]
  for leaf in rows:
    assert np.any(leaf != 0)
    same(leaf, np.broadcast_to(leaf[:1], leaf.shape))
    assert any(np.array_equal(leaf[0], array.reshape(-1)) for array in arrays)


def test_the_best_model_has_the_loss_of_its_evaluation(folder):
  """Of the windows of validation, as the run has it."""
  model = unroll.load(folder / "cloze")
  lines = (folder / "cloze" / "metrics.jsonl").read_text().splitlines()
  losses = {r["step"]: r["val/loss"] for r in map(json.loads, lines) if "val/loss" in r}
  text = book()
  tokens = model.vocabulary.encode(text[int(0.9 * len(text)) :])
  total = 0.0
  for i in range(0, len(tokens), 256):
    part = tokens[i : i + 256]
    _, logits = model.apply(model.params, None, part[:, None])
    log_p = jax.nn.log_softmax(logits)[np.arange(len(part)), 0, part]
    total -= float(log_p.sum())
  assert total / len(tokens) == pytest.approx(losses[model.at], rel=1e-3)


def test_what_reads_later_inputs_has_no_step(folder):
  cloze, forecast = (unroll.load(folder / name) for name in ("cloze", "forecast"))
  assert cloze.step is None and forecast.step is None
  assert cloze.vocabulary and forecast.vocabulary is None
  tokens = tokens_of(cloze)
  _, logits = cloze.apply(cloze.params, None, tokens)
  other = tokens.copy()
  other[4] = (tokens[4] + 1) % len(cloze.vocabulary)
  _, moved = cloze.apply(cloze.params, None, other)
  close(logits[4], moved[4], 1e-6)  # the token itself is hidden
  assert (np.abs(logits - moved).max(axis=(1, 2)) > 1e-6).sum() == T - 1
  valid = np.ones((T, B), bool)
  for model, inputs in ((cloze, tokens), (forecast, window())):
    with pytest.raises(ValueError, match="valid: "):
      model.apply(model.params, None, inputs, valid=valid)


def window():
  """Windows of the run of forecasts."""
  past = np.random.default_rng(2).normal(size=(7, B, 1)).astype(np.float32)
  future = np.zeros((3, B, 1), np.float32)
  return Horizon(past, np.zeros((10, B, 0), np.float32), future, future, future)


def test_a_forecast_is_of_its_own_window(folder):
  model = unroll.load(folder / "forecast")
  inputs = window()
  carry = model.initial_carry(model.params, B)
  _, out = model.apply(model.params, carry, inputs)
  assert out.shape == (3, B, 1, 1)
  alone = jax.tree.map(lambda leaf: leaf[:, 1:2], inputs)
  _, single = model.apply(model.params, model.initial_carry(model.params, 1), alone)
  close(single, out[:, 1:2], 1e-5)
  # It was trained to go on from the last value of the past.
  raised = inputs._replace(past=inputs.past + np.float32(2))
  close(model.apply(model.params, carry, raised)[1], out + np.float32(2), 1e-5)


# What cannot be loaded ends in one sentence.


def flip(path):
  """Turns a bit in the middle of the arrays."""
  files = path.glob("checkpoints/*/state/d/*")
  file = max(files, key=lambda file: file.stat().st_size)
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 0x10
  file.write_bytes(data)


def change(path):
  """Turns a bit of a parameter, and writes the arrays as orbax does."""
  (step,) = path.absolute().glob("checkpoints/[0-9]*")
  arrays = {name: np.array(array) for name, array in ocp.load(step).items()}
  name = next(name for name in arrays if name.startswith(".params"))
  arrays[name].view(np.int32).reshape(-1)[0] ^= 1
  ocp.save(path.absolute() / "other", arrays)
  shutil.rmtree(step / "state")
  (path / "other" / "state").rename(step / "state")


def config(**changes):
  def spoil(path):
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))

  return spoil


def without(*names):
  def spoil(path):
    file = path / "config.json"
    content = json.loads(file.read_text())
    for name in names:
      del content["flags"][name]
    file.write_text(json.dumps(content))

  return spoil


def respell(path):
  file = path / "vocab.json"
  file.write_text(file.read_text().replace("q", "Q"))


# name -> (what happens to the run, what is asked for, what is said)
SPOILED = {
  "flipped bit": (flip, "best", ["damaged"]),
  "flipped parameter": (change, "best", ["damaged"]),
  "no arrays": (lambda p: shutil.rmtree(p / "checkpoints"), "best", ["no checkpoint"]),
  "no config": (lambda p: (p / "config.json").unlink(), "best", ["no config.json"]),
  "torn config": (
    lambda p: (p / "config.json").write_text('{"experiment": '),
    "best",
    ["config.json is not JSON", "restore it"],
  ),
  "another config": (
    lambda p: (p / "config.json").write_text("[1]"),
    "best",
    ["not the configuration of a run"],
  ),
  "no vocabulary": (lambda p: (p / "vocab.json").unlink(), "best", ["is missing"]),
  "changed vocabulary": (respell, "best", ["vocab.json is not the one that the run"]),
  "vocabulary of bytes": (
    lambda p: (p / "vocab.json").write_bytes(b"\xff"),
    "best",
    ["vocab.json is not UTF-8"],
  ),
  "unknown kind": (config(model="moon"), "best", ["model=moon is not one of "]),
  "no kind": (config(model="", experiment="moon"), "best", ["model= is not one of"]),
  "setting lost": (without("embedding"), "best", ["has no `embedding`"]),
  "setting changed": (without("hidden"), "best", ["is of another model"]),
  "another step": (lambda p: None, 1000, ["checkpoint=1000: ", "of step 14"]),
}


@pytest.mark.parametrize("name", SPOILED)
@pytest.mark.filterwarnings("ignore")
def test_what_is_spoiled_ends_in_one_sentence(copied, name):
  spoil, which, said = SPOILED[name]
  spoil(copied)
  with pytest.raises(BadInput) as found:
    unroll.load(copied, checkpoint=which)
  sentence = str(found.value)
  assert "\n" not in sentence and all(part in sentence for part in said), sentence


def test_a_damaged_newest_checkpoint_is_passed_over(folder, tmp_path):
  shutil.copytree(folder / "language", tmp_path / "run")
  *_, older, newest = steps(tmp_path / "run" / "checkpoints")
  (tmp_path / "run" / "checkpoints" / str(newest) / "_CHECKPOINT_METADATA").unlink()
  said = []
  model = unroll.load(tmp_path / "run", checkpoint="newest", warn=said.append)
  assert model.at == older and len(said) == 1 and "passed over" in said[0]


# Where it is used.


def test_no_flags_are_parsed_and_no_page_is_imported(folder):
  program = """
import sys
import unroll
model = unroll.load("language")
from absl import flags
assert not flags.FLAGS.is_parsed()
assert not any(name.split(".")[0] in ("experiments", "launch") for name in sys.modules)
print(model.at)
"""
  done = subprocess.run(
    [sys.executable, "-c", program, "--workdir=none", "--nonsense"],
    cwd=folder,
    env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert int(done.stdout) == best_steps(folder / "language" / "checkpoints")[-1]


def test_the_examples_of_the_readme_load_a_run(folder):
  model = unroll.load(folder / "language")
  path = str((folder / "language").absolute())
  names = {}
  found = [example for example in EXAMPLES if "RUN" in example]
  assert len(found) == 2
  for example in found:
    exec(example.replace("RUN", path).replace("STEP", str(model.at)), names)
  assert names["logits"].shape == (1, len(model.vocabulary))
  arrays = names["arrays"]
  assert all(isinstance(array, np.ndarray) for array in arrays.values())
  params = {n: a for n, a in arrays.items() if n.startswith(".params")}
  equal({f".params{n}": leaf for n, leaf in named(model.params).items()}, params)
