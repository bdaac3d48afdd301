"""The page of captions: from scenes or pictures of a folder to sentences."""

import json

import numpy as np
import pytest
from commands import run
from PIL import Image

from unroll.data.captions import Reader
from unroll.loading import load
from unroll.records import METRICS, read

SMALL = [
  *("--layers=1", "--cell=gru", "--hidden=24", "--embedding=8", "--channels=8,16"),
  *("--memory=16", "--batch=16", "--buckets=1", "--longest=24"),
]
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 230)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A run in a folder with the pictures that it learned from: one colour each."""
  folder = tmp_path_factory.mktemp("caption")
  (folder / "pictures").mkdir()
  draw, rows = np.random.default_rng(0), ["image,caption"]
  for number in range(60):
    name = list(COLOURS)[number % 3]
    noise = draw.integers(-20, 20, (20, 24, 3))
    pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "pictures" / f"{number:02}.png")
    texts = f"this is a {name} picture", f"It is all {name} here"
    rows += [f"{number:02}.png,{text}" for text in texts]
  (folder / "captions.csv").write_text("\n".join(rows) + "\n")
  flags = ["--data=pictures", "--captions=captions.csv", "--size=16", *SMALL]
  flags += ["--steps=60", "--eval_every=30", "--learning_rate=0.01", "--json"]
  done = run(folder, "caption", *flags, "--workdir=run")
  assert done.code == 0, done.err
  (folder / "out").write_text(done.out)
  return folder


@pytest.mark.slow
def test_a_run_says_how_right_it_is_and_draws_where_it_looked(folder):
  pytest.importorskip("sacrebleu")
  out = (folder / "out").read_text()
  for part in (
    "BLEU",
    "CIDEr-D",
    "exact matches",
    "wanted  this is a ",
    " / It is all ",
  ):
    assert part in out, part
  for name in ("curves.png", "report.html", "attention.png", "captions.json"):
    assert (folder / "run" / name).is_file()
  last = json.loads(out.splitlines()[-1])
  assert last["val/exact"] == 1 and last["val/bleu"] > 99
  assert any("val/cider" in row for row in read(folder / "run" / METRICS))


@pytest.mark.slow
def test_an_evaluation_is_that_of_the_run(folder):
  done = run(folder, "caption", "--mode=eval", "--workdir=run", "--json")
  assert done.code == 0, done.err
  last = json.loads((folder / "out").read_text().splitlines()[-1])
  assert done.json["val/cider"] == pytest.approx(last["val/cider"])
  assert "test/bleu" in done.json


@pytest.mark.slow
def test_files_are_captioned_in_their_order(folder):
  flags = ["--mode=caption", "--workdir=run"]
  done = run(folder, "caption", *flags, "--input=pictures/02.png,pictures/00.png")
  assert done.code == 0, done.err
  (first, one), (second, other) = (line.split("\t") for line in done.out.splitlines())
  assert (first, second) == ("pictures/02.png", "pictures/00.png")
  assert "blue" in one and "red" in other
  whole = run(folder, "caption", *flags, "--input=pictures").out.splitlines()
  assert len(whole) == 60 and whole[2] == done.out.splitlines()[0]
  piped = run(folder, "caption", *flags, stdin=b"pictures/02.png\n").out
  assert piped.splitlines() == [whole[2]]
  rows = run(
    folder, "caption", *flags, "--input=pictures/01.png", "--beams=3", "--best=2"
  )
  assert [len(line.split("\t")) for line in rows.out.splitlines()] == [3, 3]
  bad = run(folder, "caption", *flags, "--input=captions.csv")
  assert bad.code == 2 and "is no picture" in bad.err


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not(folder):
  flags = [*SMALL, "--scenes=64", "--dropout=0.2", "--eval_every=3", "--json"]
  flags += ["--teacher_forcing=linear:1,0,6", "--fed=drawn"]
  whole = run(folder, "caption", *flags, "--steps=6", "--workdir=whole").json
  first = run(folder, "caption", *flags, "--steps=3", "--workdir=half")
  assert first.code == 0, first.err
  rest = run(folder, "caption", *flags, "--steps=6", "--workdir=half").json
  assert (
    rest["val/loss"] == whole["val/loss"] and rest["val/cider"] == whole["val/cider"]
  )
  assert "held_out" in first.out and "BLEU" not in first.out


@pytest.mark.slow
def test_a_loaded_run_gives_the_chances_of_a_caption(folder):
  model = load(folder / "run")
  reader = Reader.from_files(model.files)
  assert reader.side == 16 and reader.lower
  assert model.module.grid == (4, 4)


BAD = [
  (["--scenes=64", "--attention=dot", "--hidden=32"], "make keys as wide"),
  (["--scenes=64", "--bridge=copy"], "bridge=dense or zero"),
  (["--scenes=64", "--size=20"], "--size=20: scenes need 24"),
  (["--scenes=64", "--captions=captions.csv"], "--captions"),
  (["--scenes=64", "--data=pictures"], "--scenes=64 is of scenes that are made"),
  (["--data=pictures"], "--captions"),
  (["--mode=caption"], "--workdir"),
  (["--mode=caption", "--workdir=run", "--best=3"], "beams"),
  (["--mode=caption", "--workdir=run", "--input=none.png"], "none.png"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "said"), BAD)
def test_what_is_wrong_is_said_in_one_sentence(folder, flags, said):
  small = [] if "--workdir=run" in flags else SMALL
  done = run(folder, "caption", *small, "--steps=1", *flags)
  assert done.code == 2 and said in done.err and "Traceback" not in done.err
