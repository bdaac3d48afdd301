"""Laws of files with a word a line: what is a word, and what is refused, and where."""

import itertools
import re

import numpy as np
import pytest

from unroll.data import conll
from unroll.types import BadInput

CONLLU = (
  "# sent_id = 1\n"
  "# text = vámonos al mar\n"
  "1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n"
  "1\tvamos\tir\tVERB\tV\t_\t0\troot\t_\t_\n"
  "2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t_\t_\n"
  "2.1\tque\t_\tSCONJ\t_\t_\t_\t_\t1:mark\t_\n"
  "3-4\tal\t_\t_\t_\t_\t_\t_\t_\t_\n"
  "3\ta\ta\tADP\tE\t_\t5\tcase\t_\t_\n"
  "4\tel\tel\tDET\tD\t_\t5\tdet\t_\t_\n"
  "5\tmar\tmar\tNOUN\tN\t_\t1\tobl\t_\t_\n"
  "\n"
  "# sent_id = 2\n"
  "1\t#\t#\tSYM\tS\tFoo=1\t0\troot\t_\t_\n"
)
COLUMNS = "U.N.\tNNP\tB-org\n#tag\tNN\tO\n\t\nthe\tDT\tO\n\n\n  \nsea\tNN\tB-loc\n"


def found(text, **options):
  return conll.read(text.encode(), "f.txt", **options)


def pairs(sentences):
  return [list(zip(s.words, s.labels)) for s in sentences]


def test_the_words_of_conllu_are_the_numbered_ones():
  first, second = found(CONLLU)
  assert first.words == ("vamos", "nos", "a", "el", "mar")
  assert first.labels == ("VERB", "PRON", "ADP", "DET", "NOUN")
  assert first.lines == (4, 5, 8, 9, 10)
  assert second == (("#",), ("SYM",), (13,))


@pytest.mark.parametrize(
  "column, labels",
  [("xpos", "VPEDN"), ("5", "VPEDN"), ("UPOS", ["VERB", "PRON", "ADP", "DET", "NOUN"])],
)
def test_a_column_goes_by_its_name_or_number(column, labels):
  assert found(CONLLU, label=column)[0].labels == tuple(labels)
  assert found(COLUMNS, label="2", word=3)[0] == (("B-org", "O"), ("NNP", "NN"), (1, 2))


def test_columns_have_tabs_or_spaces_and_blank_lines_may_hold_either():
  there = [[("U.N.", "B-org"), ("#tag", "O")], [("the", "O")], [("sea", "B-loc")]]
  assert pairs(found(COLUMNS)) == there
  assert pairs(found(re.sub(r"(\S)\t", r"\1  ", COLUMNS))) == there
  documents = "-DOCSTART-\t-X-\tO\n\n" + COLUMNS.replace("\t\n", "\t\n# doc 2\n")
  assert pairs(found("# a comment\n" + documents)) == there


@pytest.mark.parametrize("text", [CONLLU, COLUMNS])
def test_marks_and_line_ends_of_other_systems_change_nothing(text):
  assert found("\ufeff" + text) == found(text)
  assert found(text.replace("\n", "\r\n")) == found(text)
  assert found(text.rstrip("\n")) == found(text)
  assert found("\n\n" + text)[0][:2] == found(text)[0][:2]


@pytest.mark.parametrize("format", [conll.COLUMNS, conll.CONLLU])
def test_what_is_written_is_read_again(format):
  draw = np.random.default_rng(1)
  letters = ["#", "1", "é", "\u00a0", "\u2028", "-", "_", "語", '"', "a"]
  words = [["".join(draw.choice(letters, 3)) for _ in range(n)] for n in (1, 4, 2)]
  labels = [[f"L{draw.integers(9)}" for _ in own] for own in words]
  text = "".join(conll.written(*both, format) for both in zip(words, labels))
  again = found(text, format=format)
  assert pairs(again) == [list(zip(*both)) for both in zip(words, labels)]
  assert conll.format_of(text.encode(), "f.txt") == format
  assert conll.written([], [], format) == ""


LINES = CONLLU.splitlines()


@pytest.mark.parametrize(
  "text, said",
  [
    ("", "f.txt holds no line of a word and its label"),
    ("alone\n\nwords\n", "f.txt holds no line of a word and its label"),
    (
      "a\tO\n\nb O\n",
      "f.txt, line 3 has 1 column, not 2: put tabs where it has spaces",
    ),
    ("a\tO\nb\tNN\tO\n", "f.txt, line 2 has 3 columns, not 2"),
    ("a\tO\nb\t\n", "f.txt, line 2 has no label in column 2"),
    ("a\tO\n\tO\n", "f.txt, line 2 has no word in column 1"),
    (CONLLU.replace("\t", " "), "f.txt, line 3 has 1 column, not 10: put tabs"),
    (CONLLU.replace("NOUN", "_"), "f.txt, line 10 has no label in column 4"),
    ("\n".join(LINES[:4] + LINES[5:]), "f.txt, line 7 has the ID 3 where word 2"),
    ("\n".join(LINES[:10] + LINES[12:]), "f.txt, line 11 has the ID 1 where word 6"),
  ],
)
def test_a_faulty_line_is_named(text, said):
  with pytest.raises(BadInput, match=re.escape(said)):
    found(text)


@pytest.mark.parametrize("column", ["4", "0", "upos", "-1"])
def test_a_column_that_is_not_there_is_refused(column):
  with pytest.raises(BadInput, match="columns 1 to 3, choose one"):
    found(COLUMNS, label=column)


def test_bytes_that_are_no_text_are_refused():
  with pytest.raises(BadInput, match=r"f.txt, line 2 is not UTF-8"):
    conll.read(b"a\tO\n\xff\tO\n", "f.txt")


def test_the_lines_of_a_sentence_are_in_order():
  lines = list(itertools.chain(*(s.lines for s in found(COLUMNS))))
  assert lines == [1, 2, 4, 8]
