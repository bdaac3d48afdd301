"""Laws of CIDEr-D: values by hand, and what it does not depend on."""

import math

import pytest

from unroll import captioning
from unroll.captioning import cider_d, judged
from unroll.metrics import Measure
from unroll.translation import Scores

RED = ["a", "red", "ball", "on", "grass"]
BLUE = ["two", "blue", "cars", "in", "rain"]


def test_values_by_hand():
  # Of two pictures each piece is in one: all weights are log 2, which cancels.
  assert cider_d([["a", "b"], ["c"]], [[["a", "b"]], [["d"]]]) == [
    pytest.approx(10 * 2 / 4),  # pieces of one and two tokens; of three there are none
    0,
  ]
  # Pieces of one token: a counts 1 of our 2. Of two tokens: ab is one of aa and ab.
  [score, _] = cider_d([["a", "a", "b"], ["c"]], [[["a", "b"]], [["d"]]])
  alike = 2 / math.sqrt(5 * 2) + 1 / math.sqrt(2)
  assert score == pytest.approx(10 * alike / 4 * math.exp(-1 / 72))
  # What both pictures have weighs nothing, and of three pictures two, log 3/2.
  found = [["a", "b"], ["a"], ["x"]]
  wanted = [[["a", "c"]], [["a"]], [["y"], ["z"]]]
  first = math.log(1.5) ** 2 / (math.hypot(math.log(1.5), math.log(3)) ** 2)
  assert cider_d(found, wanted) == [
    pytest.approx(10 * first / 4),
    pytest.approx(10 / 4),
    0,
  ]


def test_an_equal_sentence_has_ten_and_references_are_averaged():
  assert cider_d([RED, BLUE], [[RED], [BLUE]]) == pytest.approx([10, 10])
  alone = cider_d([RED, BLUE], [[RED], [RED, BLUE]])
  assert alone[1] == pytest.approx(5)


def test_one_picture_has_nothing_rare():
  assert cider_d([RED], [[RED]]) == [0]


def test_empty_sentences_and_references():
  assert cider_d([[], RED, []], [[RED], [[]], [[]]]) == [0, 0, 0]


def test_exact_matches_are_of_any_reference():
  found = judged([RED, tuple(BLUE), RED], [[BLUE, RED], [BLUE], [RED[:-1]]])
  assert found.exact == pytest.approx(2 / 3)
  assert found.cider == pytest.approx(
    sum(cider_d([RED, BLUE, RED], [[BLUE, RED], [BLUE], [RED[:-1]]])) / 3
  )


@pytest.mark.parametrize("found, wanted", [([], []), ([RED], []), ([RED], [[]])])
def test_what_cannot_be_compared(found, wanted):
  for judge in (cider_d, judged):
    with pytest.raises(ValueError, match="cannot be compared"):
      judge(found, wanted)


def test_measures_are_those_of_judgements():
  scores = Scores(50.0, 60.0, 0.5, {})
  for exact in (True, False):
    found: dict[str, Measure] = {m.name: m for m in captioning.measures(exact)}
    numbers = judged([RED], [[RED]], None if exact else scores).numbers()
    assert {*numbers, "loss", "perplexity"} == set(found)
    assert next(iter(found)) == ("exact" if exact else "cider")
  with pytest.raises(ValueError, match="give Task"):
    found["cider"].of({})
