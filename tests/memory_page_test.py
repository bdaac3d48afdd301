"""The page of long memory, as commands: trained, resumed, evaluated, loaded."""

import json

import jax
import numpy as np
import pytest
from commands import run

from unroll.checkpoint import sealed, steps
from unroll.data.synthetic.named import TASKS
from unroll.data.synthetic.task import EVALUATION, Sequences
from unroll.loading import load
from unroll.records import METRICS, read

SMALL = ["--layers=1", "--hidden=8", "--length=20", "--batch=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A run of 20 steps, and what its command wrote."""
  folder = tmp_path_factory.mktemp("memory")
  flags = ["--task=parity", *SMALL, "--cell=gru", "--steps=20", "--eval_every=10"]
  done = run(folder, "memory", *flags, "--workdir=run", "--json")
  assert done.code == 0, done.err
  return folder, done


@pytest.mark.slow
def test_the_trivial_loss_stands_beside_every_result(folder):
  folder, done = folder
  assert "0.6931 by the trivial guess (odd or even alike)" in done.out
  assert "of its loss" in done.out
  loss, trivial = done.json["val/loss"], np.log(2)
  assert done.json["val/trivial"] == pytest.approx(trivial)
  assert done.json["val/of_trivial"] == pytest.approx(loss / trivial, rel=1e-6)
  for name in ("curves.png", "report.html"):
    assert (folder / "run" / name).is_file()


@pytest.mark.slow
def test_a_loaded_run_has_the_loss_of_its_evaluation(folder):
  folder, done = folder
  model = load(folder / "run")
  fixed = Sequences(TASKS["parity"], 20, 128, seed=EVALUATION, batches=8)
  total = right = 0
  for batch in fixed:
    carry = model.initial_carry(model.params, 128)
    _, out = model.apply(model.params, carry, batch.inputs)
    log_p = jax.nn.log_softmax(out)
    total -= np.take_along_axis(np.asarray(log_p), batch.targets[..., None], -1).sum()
    right += (np.argmax(out, -1) == batch.targets).all(axis=0).sum()
  assert total / (8 * 128 * 20) == pytest.approx(done.json["best/val/loss"], rel=1e-5)
  assert right / (8 * 128) == pytest.approx(done.json["best/val/accuracy"])


@pytest.mark.slow
def test_a_run_is_evaluated(folder):
  folder, done = folder
  found = run(folder, "memory", "--mode=eval", "--workdir=run", "--json").json
  for name in ("loss", "of_trivial", "accuracy"):
    assert found[f"val/{name}"] == pytest.approx(
      done.json[f"best/val/{name}"], rel=1e-5
    )


def left(run):
  """The log but for the times, and the digests of the newest checkpoint."""
  times = {"seconds", "start_seconds", "answers_per_second"}
  rows = [{k: row[k] for k in row.keys() - times} for row in read(run / METRICS)]
  newest = (run / "checkpoints" / str(steps(run / "checkpoints")[-1])).absolute()
  log = [row for row in rows if row.keys() != {"step"}]
  return log, newest.name, sealed.content(newest)["digests"]


@pytest.mark.parametrize("task", ["multiplication", "dyck"])
@pytest.mark.slow
def test_two_steps_and_two_more_are_four(tmp_path, task):
  flags = [f"--task={task}", *SMALL, "--dropout=0.3", "--eval_every=1", "--seed=3"]
  for last, name in ((4, "whole"), (2, "cut"), (4, "cut")):
    done = run(tmp_path, "memory", *flags, f"--steps={last}", f"--workdir={name}")
    assert done.code == 0, done.err
  assert "resumed cut at step 2" in done.err
  log, step, digests = left(tmp_path / "whole")
  assert left(tmp_path / "cut") == (log, step, digests)
  assert step == "4" and sum("train/loss" in row for row in log) == 4


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.slow
def test_every_task_trains(tmp_path, task):
  flags = [f"--task={task}", *SMALL, "--remat=every:5", "--steps=3", "--workdir=run"]
  done = run(tmp_path, "memory", *flags)
  assert done.code == 0, done.err
  assert "by the trivial guess" in done.out


@pytest.mark.slow
def test_arms_have_other_sequences_and_one_evaluation(tmp_path):
  arms = [{"workdir": f"arm{n}", "flags": {"seed": n}} for n in (0, 1)]
  (tmp_path / "arms.json").write_text(json.dumps(arms))
  flags = ["--task=recall", *SMALL, "--steps=3"]
  done = run(tmp_path, "memory", *flags, "--arms=arms.json", "--json")
  assert done.code == 0, done.err
  alone = run(tmp_path, "memory", *flags, "--seed=1", "--workdir=c", "--json")
  assert done.json[1]["val/loss"] == pytest.approx(alone.json["val/loss"], rel=1e-4)
  assert done.json[0]["val/loss"] != done.json[1]["val/loss"]


@pytest.mark.slow
def test_gru_learns_to_add(tmp_path):
  """A hundredth of the trivial loss at T = 30."""
  flags = ["--task=adding", "--length=30", "--cell=gru", "--layers=1", "--hidden=32"]
  flags += ["--learning_rate=5e-3", "--steps=1500", "--schedule=cosine"]
  done = run(tmp_path, "memory", *flags, "--workdir=run", "--json")
  assert done.json["val/of_trivial"] < 0.01


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["--task=moon"], "--task=moon"),
    (["--task=temporal_order", "--length=19"], "--length=19: this task needs 20"),
    (["--task=recall", "--length=0"], "--length=0"),
    (["--cell=rnn", "--init=chrono:50"], "--init=chrono:50"),
  ],
)
def test_bad_flags_end_in_one_sentence(tmp_path, flags, said):
  done = run(tmp_path, "memory", *flags)
  assert done.code == 2, done.out
  assert said in done.err and done.err.count("\n") == 1
  assert not list(tmp_path.iterdir())
