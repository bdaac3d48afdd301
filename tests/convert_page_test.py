"""experiments.convert: a run's weights out, and the same back as another run."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import run, shared

from unroll import convert
from unroll.convert import language
from unroll.convert import tokens as token_files
from unroll.data import tokens
from unroll.data.vocabulary import Vocabulary
from unroll.loading import load
from unroll.types import BadInput

SMALL = ("--corpus=book.txt", "--batch=4", "--truncation=tbptt:16", "--length=20")
TEXT = "the quick brown fox jumps over it.\n" * 80


@pytest.fixture(scope="module")
def folder():
  """A folder with a text and a run on it."""
  path = Path(shared("convert").name)
  (path / "book.txt").write_text(TEXT)
  flags = (*SMALL, "--cell=gru", "--hidden=6", "--layers=2", "--embedding=4")
  done = run(path, "charlm", *flags, "--steps=20", "--workdir=RUN")
  assert done.code == 0, done.err
  return path


def scores(folder, workdir):
  lines = b"the fox.\nquick!\n"
  flags = (f"--workdir={workdir}", "--mode=score", "--json")
  done = run(folder, "charlm", *flags, stdin=lines)
  assert done.code == 0, done.err
  return [one["log_prob"] for one in done.json["sentences"]]


@pytest.mark.slow
def test_out_and_in_is_the_same_model(folder):
  out = ("--workdir=RUN", "--to=torch:a.safetensors", "--json")
  done = run(folder, "convert", *out)
  assert done.code == 0, done.err
  assert "encoder.weight" in done.json["arrays"] and done.json["step"] == 20
  vocabulary = "--vocabulary=RUN/vocab.json"
  back = ("--from=torch:a.safetensors", vocabulary, "--to=SAME")
  done = run(folder, "convert", *SMALL[:3], *back, "--json")
  assert done.code == 0, done.err
  assert done.json["workdir"] == "SAME"
  done = run(folder, "convert", *SMALL[:3], *back)
  assert done.code == 2 and "--to=SAME holds a run: give a new folder" in done.err
  one, other = load(folder / "RUN", checkpoint="newest"), load(folder / "SAME")
  for name, array in language.written(convert.framework("torch"), of(one)).items():
    again = language.written(convert.framework("torch"), of(other))[name]
    np.testing.assert_array_equal(array, again)
  assert other.config["flags"]["hidden"] == [6]
  assert other.config["flags"]["tokenizer"] == "char"  # what the text gives as well


def of(loaded):
  return language.of_params(loaded.config["flags"]["cell"], loaded.params)


@pytest.mark.slow
def test_it_scores_as_before_and_trains_on(folder):
  out = ("--workdir=RUN", "--checkpoint=newest", "--to=keras:b.npz")
  assert run(folder, "convert", *out).code == 0
  # Tokens in another order, without <unk>, as another program had them.
  model = convert.files.read(folder / "b.npz")
  known = tokens.from_json((folder / "RUN" / "vocab.json").read_text()).tokens
  rows = np.arange(len(known))[:0:-1]
  table = "layers/embedding/vars/0"
  for name in (table, "layers/dense/vars/0", "layers/dense/vars/1"):
    array = model[name]
    model[name] = array[:, rows] if name.endswith("dense/vars/0") else array[rows]
  convert.files.write(folder / "c.npz", model)
  (folder / "chars.json").write_text(json.dumps([known[row] for row in rows]))
  flags = (*SMALL[:3], "--from=keras:c.npz", "--vocabulary=chars.json", "--to=TURNED")
  done = run(folder, "convert", *flags)
  assert done.code == 0, done.err
  [command] = [line for line in done.err.splitlines() if "further" in line]
  given = command.partition("experiments.charlm ")[2].replace("=N", "=5").split()
  done = run(folder, "charlm", *given, "--json")
  assert done.code == 0, done.err
  assert done.json["steps"] == 5 and "resumed TURNED at step 0" in done.err


@pytest.mark.slow
def test_flax_is_measured_and_scores_are_the_same(folder):
  done = run(folder, "convert", "--workdir=RUN", "--to=linen:a.msgpack", "--json")
  assert done.code == 0, done.err
  assert done.json["outputs"] < 1e-6 and done.json["gradients"] < 1e-5
  flags = ("--from=linen:a.msgpack", "--vocabulary=RUN/vocab.json", "--to=FLAX")
  done = run(folder, "convert", *SMALL[:3], *flags)
  assert done.code == 0, done.err
  assert "largest differences from linen" in done.err
  assert scores(folder, "RUN") == scores(folder, "FLAX")


@pytest.mark.slow
def test_a_classifier_that_reads_from_both_sides_goes_out(folder):
  lines = (f"{number} one\t{'odd' if number % 2 else 'even'}\n" for number in range(60))
  (folder / "lines.tsv").write_text("text\tlabel\n" + "".join(lines))
  flags = ("--data=lines.tsv", "--bidirectional", "--layers=1", "--hidden=4")
  done = run(folder, "classify", *flags, "--steps=2", "--workdir=BOTH")
  assert done.code == 0, done.err
  done = run(folder, "convert", "--workdir=BOTH", "--to=linen:both.npz", "--json")
  assert done.code == 0, done.err
  assert "rnns_0/backward_rnn/cell/hf/bias" in done.json["arrays"]
  assert done.json["outputs"] < 1e-6 and done.json["states"] < 1e-6
  flags = ("--corpus=book.txt", "--layers=1", "--steps=0", "--workdir=CLOZE")
  assert run(folder, "cloze", *flags).code == 0
  done = run(folder, "convert", "--workdir=CLOZE", "--to=torch:a.npz")
  assert done.code == 2 and "is a run of cloze: those of charlm, classify" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
  "to, said",
  [
    ("nnx:a.npz", "nnx.GRUCell has no bias within"),
    ("haiku:a.npz", "its GRU resets before the product"),
    ("torch:a.keras", "is read, not written"),
  ],
)
def test_what_a_run_cannot_become(to, said, folder):
  done = run(folder, "convert", "--workdir=RUN", f"--to={to}")
  assert done.code == 2 and said in done.err, done.err


@pytest.mark.parametrize(
  "flags, said",
  [
    ((), "give --workdir=RUN and --to=FRAMEWORK:FILE for weights out"),
    (("--workdir=RUN", "--to=a.npz"), "--to=a.npz: give FRAMEWORK:FILE, of torch"),
    (("--workdir=RUN", "--to=mxnet:a.npz"), "framework mxnet is none of torch"),
    (("--from=torch:no.npz", "--to=NEW"), "no.npz cannot be read"),
  ],
)
def test_what_is_refused(flags, said, tmp_path):
  done = run(tmp_path, "convert", *flags)
  assert done.code == 2 and said in done.err, done.err
  assert not (tmp_path / "NEW").exists()


def test_tokens_of_other_models():
  def numbered(data, tokenizer="char"):
    return token_files.numbered(token_files.read(data, "a"), tokenizer)

  ours = Vocabulary.build("abca")
  assert numbered(ours.to_json().encode())[0] == ours
  vocabulary, rows = numbered(b'["b", "a"]')
  assert vocabulary.tokens == ("<unk>", "b", "a") and rows.tolist() == [-1, 0, 1]
  vocabulary, rows = numbered(b'{"b": 1, "[UNK]": 2, "a": 0}')
  assert vocabulary.tokens == ("<unk>", "a", "b") and rows.tolist() == [2, 0, 1]
  vocabulary, rows = numbered(b"the\n<eos>\n<unk>\n", "whitespace")
  assert vocabulary.tokens == ("<unk>", "the", "<eos>") and rows.tolist() == [2, 0, 1]
  assert len(numbered(b"[]", "byte")[0]) == 256
  for data, said in (
    (b'{"a": 0, "b": 2}', "each of the numbers 0 to 1 once"),
    (b"[1]", "a list of tokens"),
    (b"the\ncat", "'the' is no character: give a tokenizer"),
    (b"a\nb\na", "'a' is 2 times"),
  ):
    with pytest.raises(BadInput, match=said):
      numbered(data)


def test_a_tokenizer_may_be_the_vocabulary_of_a_run(tmp_path):
  ours = Vocabulary.build("b a b c", "whitespace")
  (tmp_path / "vocab.json").write_text(ours.to_json())
  assert tokens.build("other words", str(tmp_path / "vocab.json")) == ours
