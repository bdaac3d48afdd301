"""The page of translation, as commands: trained, resumed, evaluated, used on lines."""

import json

import numpy as np
import pytest

from tests.commands import run
from unroll import translating
from unroll.data.pairs import Reader
from unroll.loading import load
from unroll.records import METRICS, read
from unroll.writing import Beam

SMALL = [
  *("--layers=1", "--hidden=16", "--embedding=8", "--source_embedding=8"),
  *("--batch=16", "--buckets=2", "--learning_rate=0.02"),
]
WORDS = ("one", "two", "three", "four", "five")
MEANS = ("eins", "zwei", "drei", "vier", "fünf")


def lines(number, size):
  """Pairs of texts, word for word; some with a mark."""
  draw = np.random.default_rng(number)
  text = ""
  for _ in range(size):
    chosen = draw.integers(len(WORDS), size=draw.integers(1, 5)).tolist()
    end = draw.choice(["", "!"])
    one, other = (" ".join(w[i] for i in chosen) + end for w in (WORDS, MEANS))
    text += f"{one}\t{other}\n"
  return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A run in a folder with the files that it learned from."""
  folder = tmp_path_factory.mktemp("translate")
  for part, number, size in (("train", 1, 400), ("dev", 2, 30), ("test", 3, 30)):
    (folder / f"{part}.tsv").write_text(lines(number, size))
  files = ["--train=train.tsv", "--val=dev.tsv", "--test=test.tsv"]
  flags = [*files, *SMALL, "--steps=120", "--eval_every=60", "--workdir=run", "--json"]
  done = run(folder, "translate", *flags)
  assert done.code == 0, done.err
  (folder / "out").write_text(done.out)
  return folder


@pytest.mark.slow
def test_a_run_says_how_right_it_is_and_under_which_signature(folder):
  out = (folder / "out").read_text()
  for part in ("BLEU", "chrF2", "TER", "exact matches", "case:lc", "tok:13a"):
    assert part in out, part
  for name in ("curves.png", "report.html", "attention.png", "pairs.json"):
    assert (folder / "run" / name).is_file()
  last = json.loads(out.splitlines()[-1])
  assert last["val/bleu"] > 60
  rows = read(folder / "run" / METRICS)
  assert any("val/bleu" in row for row in rows)


@pytest.mark.slow
def test_lines_are_translated_in_their_order(folder):
  flags = ["--mode=translate", "--workdir=run"]
  (folder / "lines.txt").write_text("two two\n\nfive six!\n")
  done = run(folder, "translate", *flags, "--input=lines.txt")
  assert done.code == 0, done.err
  first, *rest = done.out.splitlines()
  assert len(rest) == 2 and first == "zwei zwei"
  assert "line 3: training has not six" in done.err
  piped = run(folder, "translate", *flags, stdin=b"two two\n\nfive six!\n")
  assert piped.out == done.out
  asked = ["--beams=3", "--best=2", "--length_penalty=1", "--coverage_penalty=0.1"]
  rows = run(folder, "translate", *flags, "--input=lines.txt", *asked, "--json").json
  assert [len(row["translations"]) for row in rows["lines"]] == [2, 2, 2]
  assert rows["lines"][0]["translations"][0]["text"] == "zwei zwei"


@pytest.mark.slow
def test_an_evaluation_is_that_of_the_run(folder):
  done = run(folder, "translate", "--mode=eval", "--workdir=run", "--json")
  assert done.code == 0, done.err
  last = json.loads((folder / "out").read_text().splitlines()[-1])
  assert done.json["val/bleu"] == pytest.approx(last["val/bleu"])
  assert "test/bleu" in done.json


@pytest.mark.slow
def test_a_stopped_run_goes_on_as_if_it_had_not(folder):
  files = ["--train=train.tsv", "--val=dev.tsv", "--teacher_forcing=linear:1,0.5,20"]
  flags = [*files, *SMALL, "--steps=20", "--eval_every=10", "--json"]
  whole = run(folder, "translate", *flags, "--workdir=whole").json
  first = run(folder, "translate", *flags, "--steps=10", "--workdir=half")
  assert first.code == 0, first.err
  rest = run(folder, "translate", *flags, "--workdir=half").json
  assert rest["val/loss"] == whole["val/loss"] and rest["val/bleu"] == whole["val/bleu"]


@pytest.mark.slow
def test_a_loaded_run_writes_whatever_stands_beside_a_line(folder):
  model = load(folder / "run")
  reader = Reader.from_files(model.files)
  texts = ["two two", "", "five one three two", "one"]
  for how in (Beam(), Beam(beams=3)):
    together = translating.writer(model.module, reader, reader.read(texts), how)
    found = [some[0] for some in together(model.params)]
    for text, one in zip(texts, found):
      alone = translating.writer(model.module, reader, reader.read([text]), how)
      [[own]] = alone(model.params)
      assert own.text == one.text
      assert own.log_prob == pytest.approx(one.log_prob, abs=1e-4)
  source = reader.read(texts)[2]
  weights = translating.looked(model.module, model.params, source, found[2].tokens)
  assert weights.shape == (len(found[2].tokens), 4)
  np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)


BAD = [
  (["--attention=dot"], "compares keys of width 32 with states of width 16"),
  (["--bridge=copy"], "drop --bidirectional"),
  (["--teacher_forcing=fast"], "--teacher_forcing=fast"),
  (["--fed=drawn"], "--fed=drawn says nothing to --teacher_forcing=1"),
  (["--train=none.tsv"], "none.tsv cannot be read"),
  (["--train_target=train.tsv", "--train="], "--train"),
  (["--cell=lstn"], "--cell=lstn"),
  (["--share_embeddings"], "--joint"),
  (["--mode=translate"], "--workdir"),
  (["--mode=translate", "--workdir=run", "--best=3"], "beams"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "said"), BAD)
def test_what_is_wrong_is_said_in_one_sentence(folder, flags, said):
  done = run(folder, "translate", "--train=train.tsv", *SMALL, "--steps=1", *flags)
  assert done.code == 2 and said in done.err and "Traceback" not in done.err
