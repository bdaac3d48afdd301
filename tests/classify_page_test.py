"""The page of labels, as commands: trained, resumed, evaluated, used on new things."""

import csv
import io

import numpy as np
import pytest
from commands import run
from scipy.io import wavfile

from unroll.loading import load
from unroll.records import METRICS, read

SMALL = [
  "--cell=rnn",
  "--layers=1",
  "--hidden=6",
  "--embedding=5",
  "--batch=8",
  "--buckets=1",
]
DRAW = np.random.default_rng(0)


def table(rows):
  """A text is of the class of its first word; some are empty."""
  lines = ["review,stars"]
  for i in range(rows):
    label = ("up", "down", "so so")[i % 3]
    words = " ".join(f"w{n}" for n in DRAW.integers(9, size=i % 5))
    lines.append(f'"{label.split()[0]} {words}",{label}' if i % 31 else f",{label}")
  return "\n".join(lines) + "\n"


FILE = ["--data=reviews.csv", "--text=review", "--label=stars"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A run of 40 steps in a folder with the table it learned from."""
  folder = tmp_path_factory.mktemp("classify")
  (folder / "reviews.csv").write_text(table(120))
  flags = [*FILE, *SMALL, "--bidirectional", "--steps=40", "--eval_every=20"]
  done = run(
    folder, "classify", *flags, "--learning_rate=0.03", "--workdir=run", "--json"
  )
  assert done.code == 0, done.err
  (folder / "out").write_text(done.out)
  return folder


@pytest.mark.slow
def test_a_run_says_how_well_each_class_is_found(folder):
  out = (folder / "out").read_text()
  for text in ("precision", "so so", "the commonest class alone", "calibration error"):
    assert text in out
  for name in ("confusion.png", "calibration.png", "curves.png", "report.html"):
    assert (folder / "run" / name).is_file()
  rows = read(folder / "run" / METRICS)
  assert {"val/accuracy", "val/loss", "val/macro_f1"} <= set().union(*rows)


def predicted(folder, text, *flags):
  (folder / "lines.txt").write_text(text)
  call = ["--mode=predict", "--workdir=run", "--input=lines.txt", *flags]
  done = run(folder, "classify", *call)
  assert done.code == 0, done.err
  return list(csv.reader(io.StringIO(done.out), delimiter="\t"))


@pytest.mark.slow
def test_labels_of_new_lines_come_with_probabilities(folder):
  header, *rows = predicted(folder, "up w1\n\ndown w3 w3\nso never seen\n")
  classes = ["down", "so so", "up"]
  assert header == ["label", "probability", *(f"p({c})" for c in classes), "input"]
  assert [row[-1] for row in rows] == ["up w1", "", "down w3 w3", "so never seen"]
  chances = np.array([row[1:-1] for row in rows], float)
  np.testing.assert_allclose(chances[:, 1:].sum(1), 1, atol=2e-4)
  np.testing.assert_array_equal(chances[:, 0], chances[:, 1:].max(1))
  assert [rows[i][0] for i in (0, 2)] == ["up", "down"]


@pytest.mark.slow
def test_a_table_is_read_by_the_column_that_training_read(folder):
  (folder / "new.csv").write_text('label,review\n?,"up, w1"\n?,w3\n')
  call = ["--mode=predict", "--workdir=run", "--input=new.csv"]
  done = run(folder, "classify", *call)
  assert done.code == 0, done.err
  rows = list(csv.reader(io.StringIO(done.out), delimiter="\t"))
  assert [row[-1] for row in rows[1:]] == ["up, w1", "w3"]


@pytest.mark.slow
def test_a_loaded_run_gives_the_same(folder):
  model = load(folder / "run")
  [_, row] = predicted(folder, "up w1 w2\n")
  tokens = model.vocabulary.encode("up w1 w2")[:, None]
  _, logits = model.apply(model.params, None, tokens)
  chances = np.exp(logits[0]) / np.exp(logits[0]).sum()
  np.testing.assert_allclose(np.array(row[2:-1], float), chances, atol=1e-4)


@pytest.mark.slow
def test_a_run_is_evaluated_on_both_parts(folder):
  done = run(folder, "classify", "--mode=eval", "--workdir=run", "--json")
  assert done.code == 0, done.err
  assert {"val/accuracy", "test/accuracy", "test/macro_f1"} <= done.json.keys()


@pytest.mark.slow
def test_two_steps_and_two_more_are_four(folder):
  flags = [*FILE, *SMALL, "--eval_every=2", "--dropout=0.3", "--class_weights=balanced"]
  for steps in (2, 4):
    done = run(folder, "classify", *flags, f"--steps={steps}", "--workdir=halves")
    assert done.code == 0, done.err
  assert run(folder, "classify", *flags, "--steps=4", "--workdir=whole").code == 0
  halves, whole = (load(folder / name, checkpoint=4) for name in ("halves", "whole"))
  import jax

  for one, other in zip(jax.tree.leaves(halves.params), jax.tree.leaves(whole.params)):
    np.testing.assert_array_equal(one, other)


def refused(done, *said):
  assert done.code == 2, done.out
  for text in said:
    assert text in done.err
  assert done.err.count("\n") == 1


def test_wrong_input_is_refused_in_a_sentence(folder):
  (folder / "other.csv").write_text("review,stars\nup,never\n")
  refused(
    run(folder, "classify", *FILE, "--val=other.csv", "--workdir=no"),
    "other.csv, line 2",
    "'never'",
  )
  refused(run(folder, "classify", "--data=sst", "--workdir=no"), "did you mean sst2")
  refused(
    run(folder, "classify", *FILE, "--label=star", "--workdir=no"),
    "--label=star",
    "review, stars",
  )
  (folder / "bad.bin").write_bytes(b"x")
  refused(
    run(folder, "classify", "--data=bad.bin", "--workdir=no"), "bad.bin", ".jsonl"
  )
  assert not (folder / "no").exists()


@pytest.mark.slow
def test_sounds_and_series_have_labels_too(tmp_path):
  for name, tone in (("low", 300), ("high", 1500)):
    (tmp_path / "sounds" / name).mkdir(parents=True)
    for i in range(10):
      wave = np.sin(2 * np.pi * tone * (1 + i / 50) * np.arange(800 + 80 * i) / 8000)
      wavfile.write(tmp_path / "sounds" / name / f"{i}.wav", 8000, np.float32(wave))
  flags = ["--data=sounds", "--split=0.6,0.4", *SMALL, "--steps=4", "--workdir=tones"]
  done = run(tmp_path, "classify", *flags)
  assert done.code == 0, done.err
  (tmp_path / "paths").write_text("sounds/low/0.wav\nsounds/high/9.wav\n")
  call = ["--mode=predict", "--workdir=tones", "--input=paths", "--json"]
  done = run(tmp_path, "classify", *call)
  assert done.code == 0, done.err
  assert [row.keys() for row in done.json["probabilities"]] == [{"high", "low"}] * 2

  x = DRAW.normal(size=(30, 7, 3)).astype(np.float32)
  np.savez(tmp_path / "some.npz", x=x, y=x[:, 0, 0] > 0)
  flags = ["--data=some.npz", *SMALL, "--steps=4", "--workdir=series"]
  done = run(tmp_path, "classify", *flags)
  assert done.code == 0, done.err
  call = ["--mode=predict", "--workdir=series", "--input=some.npz", "--json"]
  done = run(tmp_path, "classify", *call)
  assert done.code == 0 and len(done.json["probabilities"]) == 30
