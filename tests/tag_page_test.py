"""The page of tagging, as commands: trained, resumed, evaluated, used on plain text."""

import json

import numpy as np
import pytest

from experiments.parts import tagged
from experiments.parts.tagged import Tagged
from tests.commands import run
from unroll.checkpoint import sealed, steps
from unroll.data import conll
from unroll.data.lexicon import Lexicon, batches
from unroll.loading import load
from unroll.records import METRICS, read
from unroll.types import BadInput

SMALL = [
  *("--layers=1", "--hidden=8", "--word_embedding=8", "--char_embedding=4"),
  *("--char_hidden=4", "--width=6", "--batch=4", "--buckets=1"),
]
TRAIN = "--train=train.conll"
NAMES = ("Ann", "Bo", "Cy", "Dee")
PLACES = ("York", "Rome", "Oslo")


def names(number, size=40):
  """Sentences of columns with names of people and places."""
  draw = np.random.default_rng(number)
  text = ""
  for _ in range(size):
    name, place = draw.choice(NAMES), draw.choice(PLACES)
    text += f"{name}\tB-per\nLee\tI-per\nsaw\tO\n"
    if draw.random() < 0.7:
      text += f"New\tB-loc\n{place}\tI-loc\n"
    text += "\t\n"
  return text


def parts_of_speech(size=30):
  """Sentences of CoNLL-U."""
  rows = []
  for number in range(size):
    words = [("the", "DET"), ("cat", "NOUN"), ("sat", "VERB")][: 1 + number % 3]
    rows.append(conll.written(*zip(*words), conll.CONLLU))
  return "".join(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A run in a folder with the files that it learned from."""
  folder = tmp_path_factory.mktemp("tag")
  (folder / "train.conll").write_text(names(1))
  (folder / "dev.conll").write_text(names(2, 9) + "it\tB-ship\n")
  (folder / "lines.txt").write_text("Ann Lee saw New York\n\nDee\n")
  flags = ["--train=train.conll", "--val=dev.conll", *SMALL, "--learning_rate=0.05"]
  flags += ["--steps=40", "--eval_every=20", "--workdir=run", "--json"]
  done = run(folder, "tag", *flags)
  assert done.code == 0, done.err
  (folder / "out").write_text(done.out)
  (folder / "err").write_text(done.err)
  return folder


@pytest.mark.slow
def test_a_run_says_how_well_it_finds_each_type(folder):
  out = (folder / "out").read_text()
  for part in ("span F1 (strict, IOB2)", "span F1 (conlleval)", "per", "loc", "ship"):
    assert part in out
  said = "val has B-ship, which training has not: each counts as an error"
  assert said in (folder / "err").read_text()
  for name in ("curves.png", "report.html", "lexicon.json"):
    assert (folder / "run" / name).is_file()


@pytest.mark.slow
def test_plain_text_is_tagged_line_by_line(folder):
  flags = ["--mode=tag", "--workdir=run"]
  done = run(folder, "tag", *flags, "--input=lines.txt")
  assert done.code == 0, done.err
  first, second = conll.read(done.out.encode(), "out")
  assert first.words == ("Ann", "Lee", "saw", "New", "York")
  assert first.labels == ("B-per", "I-per", "O", "B-loc", "I-loc")
  assert second.words == ("Dee",)
  piped = run(folder, "tag", *flags, stdin=(folder / "lines.txt").read_bytes())
  assert piped.out == done.out
  rows = run(folder, "tag", *flags, "--input=lines.txt", "--json").json["sentences"]
  assert [len(row["labels"]) for row in rows] == [5, 0, 1]


@pytest.mark.slow
def test_a_loaded_run_scores_as_the_page_tags(folder):
  model = load(folder / "run")
  lexicon = Lexicon.from_json(model.files["lexicon.json"])
  words = ["Ann", "Lee", "saw", "New", "York"]
  batch = batches(lexicon, [conll.Sentence(tuple(words), (), ())])(np.array([0]), 5)
  carry = model.initial_carry(model.params, 1)
  _, scores = model.apply(model.params, carry, batch.inputs)
  assert scores.shape == (5, 1, len(lexicon.labels))
  labels = model.module.apply(model.params, batch.inputs, method="labels")
  found = [lexicon.labels[number] for number in labels[:, 0].tolist()]
  assert found == ["B-per", "I-per", "O", "B-loc", "I-loc"]


@pytest.mark.slow
def test_a_run_is_evaluated_as_it_was_while_it_trained(folder):
  found = run(folder, "tag", "--mode=eval", "--workdir=run", "--json").json
  best = [row for row in read(folder / "run" / METRICS) if "val/f1" in row]
  wanted = next(row for row in best if row["step"] == found["step"])
  for name in ("f1", "conlleval_f1", "accuracy", "unknown_accuracy", "loss"):
    assert found[f"val/{name}"] == pytest.approx(wanted[f"val/{name}"], rel=1e-5)


@pytest.mark.slow
def test_parts_of_speech_are_written_as_conllu(tmp_path):
  (tmp_path / "pos.conllu").write_text(parts_of_speech())
  flags = ["--train=pos.conllu", *SMALL, "--learning_rate=0.05", "--output=softmax"]
  done = run(tmp_path, "tag", *flags, "--steps=30", "--workdir=run")
  assert "1.0000 accuracy" in done.out, done.err
  tagged = run(tmp_path, "tag", "--mode=tag", "--workdir=run", stdin=b"the cat\n")
  assert tagged.out.splitlines()[1] == "2\tcat\t_\tNOUN\t_\t_\t_\t_\t_\t_"


def left(run):
  """The log but for the times, and the digests of the newest checkpoint."""
  times = {"seconds", "start_seconds", "words_per_second"}
  rows = [{k: row[k] for k in row.keys() - times} for row in read(run / METRICS)]
  log = [row for row in rows if row.keys() != {"step"}]
  newest = (run / "checkpoints" / str(steps(run / "checkpoints")[-1])).absolute()
  return log, newest.name, sealed.content(newest)["digests"]


@pytest.mark.parametrize(
  "flags", [[], ["--output=softmax", "--learn=BIOES", "--cell=gru"]]
)
@pytest.mark.slow
def test_two_steps_and_two_more_are_four(folder, tmp_path, flags):
  for name in ("train.conll", "dev.conll"):
    (tmp_path / name).write_text((folder / name).read_text())
  flags = ["--train=train.conll", "--val=dev.conll", *SMALL, *flags, "--dropout=0.3"]
  flags += ["--eval_every=1", "--seed=3", "--ema=0.9", "--buckets=2"]
  for last, name in ((4, "whole"), (2, "cut"), (4, "cut")):
    done = run(tmp_path, "tag", *flags, f"--steps={last}", f"--workdir={name}")
    assert done.code == 0, done.err
  assert "resumed cut at step 2" in done.err
  log, step, digests = left(tmp_path / "whole")
  assert left(tmp_path / "cut") == (log, step, digests)
  assert step == "4" and sum("val/f1" in row for row in log) == 4 and digests


@pytest.mark.slow
def test_arms_train_side_by_side(folder):
  arms = [{"workdir": f"arm{n}", "flags": {"seed": n}} for n in (1, 2)]
  (folder / "arms.json").write_text(json.dumps(arms))
  flags = ["--train=train.conll", "--val=dev.conll", *SMALL, "--steps=2"]
  done = run(folder, "tag", *flags, "--arms=arms.json", "--json")
  assert done.code == 0, done.err
  assert all(0 <= one["val/f1"] <= 1 for one in done.json)


def settings(folder, **files):
  for name, text in files.items():
    (folder / name).write_text(text)
  return Tagged(**{name: str(folder / name) for name in files})


@pytest.mark.parametrize(
  "files, said",
  [
    ({"val": "a\tO\n"}, "`val` and `test` are files and `train` is none"),
    ({"train": "a\tX\n\nb\tY\n"}, "has 2 sentences, too few to keep one in 10"),
    ({"train": "a\tB-x\n" * 2, "val": "a\tNOUN\n"}, "has labels of another kind than"),
    ({"train": "a\tB-x\n\nb\tO\nc\tI-x\n"}, "is not IOB2: line 4 has I-x after O"),
    ({"train": "a\tX\n\nb\n"}, "train, line 3 has 1 column, not 2"),
    ({"train": "a\tX\n", "val": "\n"}, "val holds no line of a word and its label"),
  ],
)  # fmt: skip
def test_faulty_files_end_in_one_sentence(tmp_path, files, said):
  with pytest.raises(BadInput) as error:
    tagged.load(settings(tmp_path, **files))
  assert said in str(error.value) and "\n" not in str(error.value)


def test_a_file_without_spans_goes_by_the_scheme_of_training(tmp_path):
  files = {"train": "a\tI-x\nb\tB-x\nc\tO\n", "val": "c\tO\n", "test": "d\tI-x\n"}
  data = tagged.load(settings(tmp_path, **files))
  assert data.lexicon.scheme == "IOB2" and data.lexicon.labels == ("B-x", "O")
  assert [s.labels for s in data.parts["train"]] == [("B-x", "B-x", "O")]
  assert [s.labels for s in data.parts["test"]] == [("B-x",)]


def test_a_tenth_of_training_validates_where_no_file_does(tmp_path):
  rows = "".join(f"w{number}\tX\n\n" for number in range(25))
  data = tagged.load(settings(tmp_path, train=rows))
  assert [s.words for s in data.parts["val"]] == [("w9",), ("w19",)]
  assert len(data.parts["train"]) == 23 and "w9" not in data.lexicon.words


@pytest.mark.slow
@pytest.mark.parametrize(
  "flags, said",
  [
    (["--sentences=wnut"], "--sentences=wnut: choose one of ud_english_ewt, wnut17"),
    (["--train=none.conll"], "--train=none.conll cannot be read"),
    (
      [TRAIN, "--word_embedding=0", "--char_hidden=0"],
      "leave nothing: give one of them",
    ),
    ([TRAIN, "--remat=sqrt"], "--remat=sqrt: layers from both sides take none"),
    ([TRAIN, "--label_column=9"], "column 9: the file has columns 1 to 2"),
  ],
)
def test_bad_flags_end_in_one_sentence(folder, flags, said):
  done = run(folder, "tag", *flags)
  assert done.code == 2 and said in done.err and done.err.count("\n") == 1, done.err
