"""Runs that learn from what comes in: the numbers of a run on the same text."""

import json

import jax
import numpy as np
import pytest
from commands import run

from unroll import load

TEXT = "the quick brown fox jumps over the lazy dog and it comes back again\n" * 40
SMALL = ("--hidden=6", "--layers=1", "--embedding=4", "--eval_window=32", "--length=9")
ONLINE = (*SMALL, "--truncation=tbptt:8", "--checkpoint_every=40", "--eval_every=60")


def losses(path):
  lines = (path / "metrics.jsonl").read_text().splitlines()
  return [r["train/loss"] for r in map(json.loads, lines) if "train/loss" in r]


def equal(one, other):
  one, other = (load(path, checkpoint="newest").params for path in (one, other))
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_a_stream_teaches_what_a_corpus_does(tmp_path):
  """To the bit; interrupted and taken up; as a file and on standard input."""
  part = TEXT[: int(0.9 * len(TEXT))]  # the training part of the corpus
  (tmp_path / "all.txt").write_text(TEXT)
  (tmp_path / "part.txt").write_text(part)
  steps = (len(part) - 1) // 8
  corpus = ("charlm", "--corpus=all.txt", *ONLINE)
  done = run(tmp_path, *corpus, "--batch=1", f"--steps={steps}", "--workdir=corpus")
  assert done.code == 0, done.err
  file = run(tmp_path, *corpus, "--online=part.txt", "--workdir=file", "--json")
  assert file.code == 0, file.err
  assert file.json["steps"] == steps and file.json["finished"]
  assert file.json["online/loss"] == pytest.approx(np.mean(losses(tmp_path / "file")))
  assert "before learning: loss" in file.out
  equal(tmp_path / "corpus", tmp_path / "file")
  assert losses(tmp_path / "corpus") == losses(tmp_path / "file")

  for limit in ("--steps=70", "--steps=1000"):
    parts = run(tmp_path, *corpus, "--online=part.txt", limit, "--workdir=parts")
    assert parts.code == 0, parts.err
  equal(tmp_path / "corpus", tmp_path / "parts")
  piped = run(tmp_path, *corpus, "--online=-", "--workdir=piped", stdin=part.encode())
  assert piped.code == 0, piped.err
  equal(tmp_path / "corpus", tmp_path / "piped")
  evaluated = run(tmp_path, "charlm", "--mode=eval", "--workdir=file", "--json")
  assert evaluated.json["val/loss"] > 0


@pytest.mark.slow
def test_a_series_that_comes_in(tmp_path):
  values = np.sin(0.3 * np.arange(300)) + 0.01 * np.arange(300)
  rows = [f"{t},{value:.4f}\n" for t, value in enumerate(values)]
  (tmp_path / "past.csv").write_text("t,y\n" + "".join(rows[:200]))
  (tmp_path / "new.csv").write_text("t,y\n" + "".join(rows[200:]))
  flags = ("--csv=past.csv", "--time=t", "--target=y", "--window=12", "--horizon=2")
  done = run(
    *(tmp_path, "forecast", *flags, "--hidden=6", "--layers=1", "--online=new.csv"),
    *("--workdir=run", "--json"),
  )
  assert done.code == 0, done.err
  assert done.json["steps"] == (100 - 12) // 2
  assert done.json["online/mse"] == pytest.approx(np.mean(losses(tmp_path / "run")))
  predicted = run(tmp_path, "forecast", "--mode=predict", "--workdir=run")
  assert predicted.code == 0 and predicted.out.count("\n") == 3


@pytest.mark.parametrize(
  "flags, said",
  [
    (["--online=none.txt"], "--online=none.txt cannot be read"),
    (["--online=-", "--batch=4"], "--online=- is one sequence: drop --batch"),
    (["--online=-", "--truncation=full"], "--truncation=full has no fixed number"),
    (["--online=-", "--epochs=2"], "--epochs=2.0: a stream has no epochs"),
    (["--online=-"], "standard input ended before there was a batch"),
  ],
)
def test_refused(flags, said, tmp_path):
  done = run(tmp_path, "charlm", *SMALL, *flags)
  assert done.code == 2 and said in done.err
