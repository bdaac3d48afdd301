"""ARPA files: written and read, by a plain reader too; the bad line is named."""

import math

import numpy as np
import pytest
from ngram_test import text

from unroll.ngram import arpa, written
from unroll.ngram.counts import count
from unroll.ngram.estimates import DISCOUNTED, discounted
from unroll.ngram.sentences import Sentences
from unroll.ngram.spelling import spelled, token
from unroll.types import BadInput

TOKENS = ("<unk>", "\n", " ", "a", "é", "\u3000", "\x1c")  # the last was never seen
SIZE, END = len(TOKENS), 1


def model_of(smoothing="modified_kneser_ney", interpolated=True, order=3, end=END):
  stream = Sentences(SIZE, end).to_count(text(3, 6, 300))
  counts = count(stream, order, SIZE)
  options = {"interpolated": interpolated, "warn": lambda said: None}
  return discounted(counts, smoothing, **options).model


def plain(path):
  """n-gram -> (log10 p, weight), of all orders, as the format has them."""
  grams = {}
  for line in path.read_text("utf-8").split("\n"):
    fields = line.split("\t")
    if len(fields) > 1:
      weight = float(fields[2]) if len(fields) > 2 else 0.0
      grams[tuple(fields[1].split(" "))] = float(fields[0]), weight
  return grams


def log10(grams, context, word):
  """log10 p(word | context) by backing off alone."""
  if (*context, word) in grams:
    return grams[(*context, word)][0]
  return grams.get(context, (0, 0.0))[1] + log10(grams, context[1:], word)


@pytest.mark.parametrize("interpolated", [True, False])
@pytest.mark.parametrize("smoothing", DISCOUNTED)
@pytest.mark.parametrize("end", [END, None])
def test_a_model_is_the_same_in_a_file(tmp_path, smoothing, interpolated, end):
  """Ours read again, and read by the plainest reader: backing off is all it needs."""
  model = model_of(smoothing, interpolated, end=end)
  path = tmp_path / "model.arpa"
  written.write(model, TOKENS, path, "\n")
  found = arpa.read(path, "\n")
  assert found.tokens == TOKENS
  stream = Sentences(SIZE, end).to_score(np.random.default_rng(4).integers(0, SIZE, 90))
  ours, again = model.score(stream), found.model.score(stream)
  np.testing.assert_allclose(again, ours, atol=1e-7)
  words = [*(spelled(token, "\n") for token in TOKENS), "<s>"]
  grams = plain(path)
  for place in range(2, stream.size):
    if stream[place] != SIZE:
      context = tuple(words[i] for i in stream[place - 2 : place])
      expected = log10(grams, context, words[stream[place]])
      assert ours[place] / math.log(10) == pytest.approx(expected, abs=1e-7)


def test_a_written_file_reads_as_toolkits_expect(tmp_path):
  path = tmp_path / "model.arpa"
  model = model_of(order=2)
  written.write(model, TOKENS, path, "\n")
  lines = path.read_text("utf-8").split("\n")
  bigrams = model.trie.count(2)
  assert lines[:5] == ["\\data\\", "ngram 1=8", f"ngram 2={bigrams}", "", "\\1-grams:"]
  assert [line.split("\t")[1] for line in lines[5:13]] == [
    "<unk>",
    "</s>",
    "<U+0020>",
    "a",
    "é",
    "<U+3000>",
    "<U+001C>",
    "<s>",
  ]
  assert lines[12].split("\t")[0] == "-99"
  assert lines[13:15] == ["", "\\2-grams:"]
  assert all(line.count("\t") == 1 for line in lines[15 : 15 + bigrams])
  assert lines[15 + bigrams :] == ["", "\\end\\", ""]


def test_no_number_of_a_written_file_has_an_exponent(tmp_path):
  """The package `arpa` 0.1.0b4 reads the weight -2.5e-05 as -2.5, without a word:
  `findings/arpa_drops_exponents_of_weights.sh`."""
  model = model_of(order=2)
  small = np.resize([-5.7e-5, 5.7e-5, -3e-9, -1e-13, 0, -0.5], model.weights[0].shape)
  sure = np.where(model.log_probs[1] < -0.1, model.log_probs[1], -5.7e-5)
  model = model._replace(log_probs=(model.log_probs[0], sure), weights=(small,))
  path = tmp_path / "model.arpa"
  written.write(model, TOKENS, path, "\n")
  numbers = [one for one in path.read_text("utf-8").split() if one[:2] in ("-0", "0.")]
  assert "-0.000024755" in numbers and not any("e" in one for one in numbers)
  found = arpa.read(path, "\n").model
  np.testing.assert_allclose(found.weights[0], small, rtol=0, atol=3e-9)


def test_the_end_of_a_sentence_is_there_for_toolkits_that_insist(tmp_path):
  path = tmp_path / "model.arpa"
  written.write(model_of(), ("<unk>", "b", *TOKENS[2:]), path, "\n")
  assert plain(path)[("</s>",)] == (-99, 0)
  assert arpa.read(path, "\n").model.log_probs[0][SIZE] == -np.inf


@pytest.mark.parametrize("one", ["<s>", "</s>", "<U+0020>"])
def test_tokens_that_mean_something_else_are_refused(one):
  with pytest.raises(BadInput, match="means something else"):
    spelled(one, "\n")


@pytest.mark.parametrize("one", [*map(chr, range(256)), "word", "<U+20>", "<eos>"])
def test_a_token_is_one_word(one):
  word = spelled(one, "\n")
  assert word and not any(c.isspace() for c in word) and word.isprintable()
  assert token(word, "\n") == one


GOOD = """made by hand

\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-99\t<s>\t-0.5
-0.5 a -0.3
-0.75\tb
-1\t</s>
-2\t<unk>

\\2-grams:
-0.25\t<s> a
-0.4\ta b
-0.6\tb </s>

\\end\\
"""


def test_files_of_other_toolkits_are_read(tmp_path):
  """Words before the data, spaces for tabs, and weights that are left out."""
  path = tmp_path / "model.arpa"
  path.write_text(GOOD)
  tokens, model = arpa.read(path, "<eos>")
  assert tokens == ("<unk>", "a", "b", "<eos>")
  sentences = Sentences(4, 3)
  stream = sentences.to_score([1, 2, 3, 2, 1, 0, 3])
  found = model.score(stream)[sentences.targets(stream)] / math.log(10)
  # <s> a, a b, b </s>; <s> b backs off, b a and a <unk> too, <unk> </s> has no weight.
  np.testing.assert_allclose(found, [-0.25, -0.4, -0.6, -1.25, -0.5, -2.3, -1])
  p = np.exp(model.next([4])) / 10.0**-0.5
  np.testing.assert_allclose(p[[0, 2, 3]], [0.01, 10**-0.75, 0.1])


# What is written instead -> the line that is named, and why.
BAD = {
  ("\\data\\", "\\date\\"): (3, "'\\\\date\\\\' stands where \\data\\ must"),
  ("ngram 1=5", "ngram 2=5"): (4, "stands where the count of order 1 must"),
  ("ngram 1=5\nngram 2=3\n", ""): (5, "'\\\\1-grams:' stands where a line such as"),
  ("ngram 2=3", "ngram 2=4"): (
    5,
    "'ngram 2=4' is wrong: 2-grams from line 15 on are 3",
  ),
  ("ngram 2=3\n", ""): (13, "'\\\\2-grams:' stands where \\end\\ must"),
  ("ngram 2=3", "ngram 2=3\nngram 3=0"): (20, "stands where \\3-grams: must"),
  ("\\1-grams:", "\\2-grams:"): (7, "stands where \\1-grams: must"),
  ("-0.5 a -0.3", "0.5 a -0.3"): (9, "has a log-probability that is not below 0"),
  ("-0.5 a -0.3", "nan a -0.3"): (9, "has a log-probability that is not below 0"),
  ("-0.5 a -0.3", "x a -0.3"): (9, "has 'x' where a number must stand"),
  ("-0.5 a -0.3", "-0.5 a x"): (9, "has 'x' where a number must stand"),
  ("-0.5 a -0.3", "-0.5 a inf"): (9, "has a weight that is no finite number"),
  ("-0.5 a -0.3", "-0.5 a b -0.3"): (9, "has not a logarithm, a word and maybe"),
  ("-0.4\ta b", "-0.4\ta"): (16, "has not a logarithm, 2 words and maybe a weight"),
  ("-0.4\ta b", "-0.4\ta c"): (16, "has c, which is no 1-gram"),
  ("-0.4\ta b", "-0.4\ta <s>"): (16, "has <s> after its start"),
  ("-0.4\ta b", "-0.4\tb </s>"): (17, "stands there twice"),
  ("-0.75\tb", "-0.75\ta"): (10, "stands there twice"),
  ("\\end\\\n", ""): (19, "the end of the file stands where \\end\\ must"),
  ("\ta b", "\ta \x00"): (16, "which is no 1-gram"),
}


@pytest.mark.parametrize("change", BAD)
def test_a_bad_line_is_named(tmp_path, change):
  number, why = BAD[change]
  path = tmp_path / "model.arpa"
  assert change[0] in GOOD
  path.write_text(GOOD.replace(*change, 1))
  with pytest.raises(BadInput) as caught:
    arpa.read(path, "\n")
  said = str(caught.value)
  assert said.startswith(f"{path}, line {number}: ") and why in said
  assert said.endswith("give an ARPA file as KenLM and SRILM write them")


def test_a_context_must_be_there(tmp_path):
  path = tmp_path / "model.arpa"
  longer = GOOD.replace("ngram 2=3", "ngram 2=3\nngram 3=2").replace(
    "\\end\\", "\\3-grams:\n-0.1\t<s> a b\n-0.1\tb a b\n\n\\end\\"
  )
  path.write_text(longer)
  with pytest.raises(
    BadInput, match=r"line 22: .* continues 'b a', which is no 2-gram"
  ):
    arpa.read(path, "\n")
  path.write_text(longer.replace("b a b", "a b </s>"))
  assert arpa.read(path, "\n").model.order == 3


def test_what_is_no_file_or_no_text_ends_in_a_sentence(tmp_path):
  with pytest.raises(BadInput, match=r"arpa=.*none\.arpa cannot be read: No such file"):
    arpa.read(tmp_path / "none.arpa", "\n")
  path = tmp_path / "model.arpa"
  path.write_bytes(b"")
  with pytest.raises(BadInput, match="line 1: the end of the file stands where"):
    arpa.read(path, "\n")
  path.write_bytes(GOOD.encode().replace(b"-0.75\tb", b"-0.75\t\xff"))
  with pytest.raises(BadInput, match=r"line 10: .* is not UTF-8"):
    arpa.read(path, "\n")
  path.write_text(GOOD)
  with pytest.raises(BadInput, match=r"line 12: .*<unk>.* is no byte"):
    arpa.read(path, "\n", [*map(chr, range(256))])
