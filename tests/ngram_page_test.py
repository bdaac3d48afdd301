"""The page of n-gram models: counted, evaluated, sampled, scored, written and read."""

import json
import math
import os
from collections import Counter

import numpy as np
import pytest

import unroll
from experiments import ngram
from experiments.session.messages import with_flags
from experiments.session.settings import Settings
from tests.commands import run
from unroll.ngram import arpa, saved
from unroll.ngram.estimates import DISCOUNTED
from unroll.records import METRICS, read
from unroll.types import BadInput

LINES = {"tokenizer": "word", "sentences": "lines"}
BOOK = {"corpus": "book.txt", "split": "0.8,0.1,0.1"}


def book(seed=0, lines=120):
  random = np.random.default_rng(seed)
  words = ["the", "cat", "dog", "sees", "a", "hears", "bird", "old", "grey", "sings"]
  chances = 1 / np.arange(1, 11)
  chances /= chances.sum()
  return "".join(
    " ".join(random.choice(words, random.integers(1, 8), p=chances)) + "\n"
    for _ in range(lines)
  )


def flags(values):
  return [f"--{name}={value}" for name, value in values.items()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Runs of words by line and of characters, and an ARPA file of the former."""
  folder = tmp_path_factory.mktemp("ngram")
  (folder / "book.txt").write_text(book())
  for name, own in (("words", {**LINES, "order": 3}), ("chars", {"order": 4})):
    done = run(folder, "ngram", *flags({**BOOK, **own, "workdir": name}), "--json")
    assert done.code == 0, done.err
    (folder / f"{name}.out").write_text(done.out)
  done = run(folder, "ngram", "--mode=export", "--workdir=words", "--arpa=words.arpa")
  assert done.code == 0, done.err
  return folder


@pytest.fixture
def page(folder, monkeypatch, capsys):
  """The page in this process, in the folder of the runs: values -> what it prints."""
  monkeypatch.chdir(folder)

  def page(**values):
    ngram.main(Settings.of(ngram.PAGE, json=True, **values))
    return json.loads(capsys.readouterr().out.splitlines()[-1])

  return page


def refused(page, *said, **values):
  with pytest.raises(BadInput) as caught:
    page(**values)
  message = with_flags(str(caught.value), set(ngram.PAGE.settings))
  for text in said:
    assert text in message
  assert "\n" not in message


def test_a_run_leaves_what_a_user_wants(folder):
  for name in ("words", "chars"):
    out = (folder / f"{name}.out").read_text()
    summary = json.loads(out.splitlines()[-1])
    assert summary["finished"] and summary["workdir"] == name
    assert f"perplexity {summary['val/perplexity']:.2f}\n" in out
    for file in ("config.json", "vocab.json", "counts.npz", "orders.txt", "zipf.png"):
      assert (folder / name / file).stat().st_size
    assert (folder / name / "orders.txt").read_text() in out
    (record,) = read(folder / name / METRICS)
    assert record["val/loss"] == summary["val/loss"]
    report = (folder / name / "report.html").read_text()
    assert "Zipf" in report and "n-grams" in report and "not finished" not in report


def test_its_targets_are_those_of_a_recurrent_model(folder):
  """Running text: every character but the first; lines: every token."""
  characters = len((folder / "book.txt").read_text())
  chars = json.loads((folder / "chars.out").read_text().splitlines()[-1])
  assert chars["val/targets"] == int(0.9 * characters) - int(0.8 * characters) - 1
  nats = chars["val/loss"]
  assert chars["val/perplexity"] == pytest.approx(math.exp(nats))
  assert chars["val/bits_per_char"] == pytest.approx(nats / math.log(2))
  text = (folder / "book.txt").read_text()
  part = text[int(0.8 * characters) : int(0.9 * characters)]
  words = json.loads((folder / "words.out").read_text().splitlines()[-1])
  assert words["val/targets"] == len(part.replace("\n", " <eos> ").split())


def test_an_evaluation_is_that_of_the_run_and_of_its_file(folder, page):
  run = page(mode="eval", workdir="words")
  trained = json.loads((folder / "words.out").read_text().splitlines()[-1])
  assert run["val/loss"] == trained["val/loss"] and "test/perplexity" in run
  file = page(mode="eval", arpa="words.arpa", **BOOK, **LINES)
  for name in ("val/loss", "test/loss", "val/bits_per_char"):
    assert file[name] == pytest.approx(run[name], abs=1e-7)
  assert file["val/targets"] == run["val/targets"]


def test_scores_of_lines_and_of_running_text(folder, page):
  (folder / "lines.txt").write_text("the old cat\n\nzebra sees\n")
  lines = {"mode": "score", "input": "lines.txt"}
  found = page(**lines, workdir="words")["sentences"]
  assert [one["tokens"] for one in found] == [4, 1, 3]  # with their ends
  tokens, model = arpa.read(folder / "words.arpa", "<eos>")
  ids = [len(tokens), *(tokens.index(w) for w in ("the", "old", "cat", "<eos>"))]
  assert found[0]["log_prob"] == pytest.approx(model.score(np.array(ids))[1:].sum())
  for one, two in zip(found, page(**lines, arpa="words.arpa", **LINES)["sentences"]):
    assert one["log_prob"] == pytest.approx(two["log_prob"], abs=1e-7)
  chars = page(**lines, workdir="chars")["sentences"]
  assert [one["tokens"] for one in chars] == [11, 0, 10]
  assert chars[1] == {"text": "", "log_prob": 0, "tokens": 0, "perplexity": None}
  (folder / "rest.txt").write_text("old cat")
  prompted = {**lines, "input": "rest.txt", "prompt": "the "}
  (after,) = page(**prompted, workdir="chars")["sentences"]
  (folder / "whole.txt").write_text("the \nthe old cat")
  whole = page(**{**lines, "input": "whole.txt"}, workdir="chars")["sentences"]
  parts = whole[0]["log_prob"] + after["log_prob"]
  assert parts == pytest.approx(whole[1]["log_prob"])


def test_standard_input_is_scored(folder):
  done = run(folder, "ngram", "--mode=score", "--workdir=words", stdin=b"the cat\n")
  assert done.code == 0 and done.out.splitlines()[1].endswith("\tthe cat")


def test_samples_repeat_and_continue_the_prompt(page):
  values = {"mode": "sample", "workdir": "words", "length": 20, "samples": 2}
  one = page(**values, prompt="the old", seed=3)["samples"]
  assert one == page(**values, prompt="the old", seed=3)["samples"]
  assert one != page(**values, prompt="the old", seed=4)["samples"]
  assert len(one) == 2 and one[0] != one[1]
  for sample in one:
    assert sample.startswith("the old") and "<unk>" not in sample
  cold = {"mode": "sample", "workdir": "chars", "length": 9, "temperature": 0.0}
  assert page(**cold, prompt="th")["samples"][0].startswith("the ")


@pytest.mark.parametrize("name", ["words", "chars"])
def test_a_loaded_run_expects_what_it_scores(folder, page, name):
  model = unroll.load(folder / name)
  text = "the cat sees" if name == "words" else "the ca"
  more = " a" if name == "words" else "t"
  given = {"context": "the dog "} if name == "words" else {}
  end = model.vocabulary.encode(text + more)[-1]
  chances = model.predict(model.params, [given.get("context", "\n") + text])
  assert chances.shape == (1, len(model.vocabulary))
  np.testing.assert_allclose(chances.sum(), 1, rtol=1e-6)
  few, many = model.score(model.params, [text, text + more], **given).log_prob
  if name == "words":  # both end with a line end, which follows other words
    ends = [
      np.log(model.predict(model.params, [given["context"] + own])[0])
      for own in (text, text + more)
    ]
    last = model.vocabulary.encode("\n")[0]
    few, many = few - ends[0][last], many - ends[1][last]
  np.testing.assert_allclose(many - few, np.log(chances[0, end]), rtol=1e-6)
  drawn = model.generate(model.params, text, length=9, samples=2, seed=3)
  own = page(mode="sample", workdir=name, prompt=text, length=9, samples=2, seed=3)
  assert own["samples"] == drawn and all(one.startswith(text) for one in drawn)
  with pytest.raises(BadInput, match="n-gram model has no carry: use predict"):
    model.initial_carry(model.params, 1)


def test_a_run_is_made_again_but_never_another(folder, page):
  values = {**BOOK, **LINES, "workdir": "words"}
  before = (folder / "words" / saved.NAME).read_bytes()
  page(**values, order=3)
  assert (folder / "words" / saved.NAME).read_bytes() == before
  refused(page, "another run", "--order (there 3", **values, order=2)
  refused(page, "--order=2 contradicts", mode="eval", workdir="words", order=2)


@pytest.mark.parametrize("smoothing", ["laplace", "add_k", *DISCOUNTED])
def test_every_smoothing_has_a_perplexity(page, tmp_path, smoothing):
  path = str(tmp_path / "run")
  options = {"tokenizer": "word", "order": 2, "smoothing": smoothing}
  found = page(corpus="book.txt", workdir=path, **options)
  assert 3 < found["val/perplexity"] < 12
  assert page(mode="eval", workdir=path)["val/loss"] == found["val/loss"]


def test_a_perplexity_by_hand(page, folder, tmp_path):
  """Of single words, one added to their counts; 0.5 where that is asked for."""
  text = (folder / "book.txt").read_text()
  train, val = text[: int(0.8 * len(text))], text[int(0.8 * len(text)) :]
  seen = Counter(train.replace("\n", " <eos> ").split())
  targets = (
    val[: int(0.9 * len(text)) - len(train)].replace("\n", " <eos> ").split()[1:]
  )
  for smoothing, k in (("laplace", 1.0), ("add_k", 0.5)):
    values = {**BOOK, "tokenizer": "word", "order": 1, "smoothing": smoothing}
    values |= {"k": k} if smoothing == "add_k" else {}
    found = page(**values, workdir=str(tmp_path / smoothing))
    total = seen.total() + k * (len(seen) + 1)  # and <unk>
    nats = -sum(math.log((seen[word] + k) / total) for word in targets) / len(targets)
    assert found["val/loss"] == pytest.approx(nats)


ADDED = {"corpus": "book.txt", "smoothing": "add_k"}
# What is said, and of which values.
REFUSED = [
  ("has no use for --discount: drop it", {**ADDED, "discount": (0.5,)}),
  ("has no use for --interpolate: drop it", {**ADDED, "interpolate": False}),
  ("--k=0: give a number above 0", {**ADDED, "k": 0.0}),
  ("--smoothing=kneser_ney has no use for --k", {"smoothing": "kneser_ney", "k": 0.1}),
  ("--discount=0.5: give three numbers", {"corpus": "book.txt", "discount": (0.5,)}),
  ("--checkpoint=newest: an n-gram model has none", {"checkpoint": "newest"}),
  ("--arpa=x.arpa: --mode=export writes it", {"arpa": "x.arpa"}),
  (
    "--tokenizer=bpe:300: an ARPA file is read with one of",
    {"mode": "eval", "arpa": "words.arpa", "tokenizer": "bpe:300"},
  ),
  ("needs line ends, and the training text has", {**BOOK, "normalize": "letters"}),
  ("--mode=eval needs --workdir", {"mode": "eval"}),
  ("--workdir or --arpa, not both", {"mode": "eval", "workdir": "w", "arpa": "a"}),
  ("--mode=export needs --arpa, the file to write", {"mode": "export"}),
  ("several characters, such as the: say", {"mode": "eval", "arpa": "words.arpa"}),
  ("book.txt, line ", {"mode": "eval", "arpa": "book.txt"}),
  ("--arpa=a.arpa cannot be read: No such file", {"mode": "score", "arpa": "a.arpa"}),
  (
    "--input=empty.txt holds no line",
    {"mode": "score", "workdir": "words", "input": "empty.txt"},
  ),
]


@pytest.mark.parametrize(("said", "values"), REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(folder, page, said, values):
  (folder / "empty.txt").touch()
  before = sorted(os.listdir(folder))
  if "normalize" in values:
    values = {**values, "sentences": "lines"}
  refused(page, said, **values)
  assert sorted(os.listdir(folder)) == before  # and nothing is written


def test_models_that_do_not_back_off_have_no_file(folder, page, tmp_path):
  path = str(tmp_path / "run")
  page(corpus="book.txt", smoothing="laplace", workdir=path)
  said = "--smoothing=laplace is no model that backs off"
  refused(page, said, mode="export", workdir=path, arpa="x.arpa")
  assert not (folder / "x.arpa").exists()


def test_damage_is_seen(folder, page, tmp_path):
  (tmp_path / "own.txt").write_text(book(1))
  path = tmp_path / "run"
  run = {"workdir": str(path)}
  train = {**run, "corpus": str(tmp_path / "own.txt"), "order": 2}
  page(**train)
  data = (path / saved.NAME).read_bytes()
  (path / saved.NAME).write_bytes(data[:400])
  refused(page, "counts.npz is damaged: restore it", mode="eval", **run)
  (path / saved.NAME).unlink()
  refused(page, "counts.npz cannot be read", mode="eval", **run)
  # The same command mends it; this process keeps others out of where it trained.
  (tmp_path / "run" / ".lock").unlink()
  page(**train)
  assert (path / saved.NAME).read_bytes() == data
  (tmp_path / "own.txt").write_text(book(2))
  refused(page, "not the data", mode="eval", **run)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("UNROLL_DATA"), reason="UNROLL_DATA is not set")
def test_the_published_perplexity_of_ptb(page, tmp_path):
  """Mikolov's KN5 has 141.2, KN3 148.3, by SRILM: modified Kneser–Ney, interpolated."""
  for order, published in ((5, 141.2), (3, 148.3)):
    path = str(tmp_path / str(order))
    page(corpus="ptb", **LINES, order=order, workdir=path)
    found = page(mode="eval", workdir=path)
    assert found["test/perplexity"] == pytest.approx(published, abs=0.05)
    assert found["test/targets"] == 82430
