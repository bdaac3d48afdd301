"""Texts made by rules: the rule holds, parts share nothing, a seed gives the pairs."""

import datetime
import re

import pytest

from unroll.data.pairs import named
from unroll.data.synthetic import transductions
from unroll.data.synthetic.transductions import MONTHS, ORDINALS, WEEKDAYS, load
from unroll.types import BadInput


def added(text):
  one, other = text.split("+")
  assert str(int(one)) == one and str(int(other)) == other
  return str(int(one) + int(other))


def of_date(text):
  """The date by words alone, whatever their order."""
  words = re.findall(r"[\w-]+", text)
  [year] = [int(w) for w in words if re.fullmatch("[0-9]{4}", w)]
  [month] = [
    n for n, name in enumerate(MONTHS, 1) for w in words if w in (name, name[:3])
  ]
  days = [
    int(m[1]) for w in words if (m := re.fullmatch("([0-9]{1,2})(st|nd|rd|th)?", w))
  ]
  endings = [m[0] for w in words if (m := re.fullmatch("[0-9]+[a-z]+", w))]
  assert all(e in ENDINGS or e[-2:] == "th" for e in endings)
  assert not {"1th", "2th", "3th", "21th", "22th", "23th", "31th"} & set(endings)
  days += [ORDINALS.index(w) + 1 for w in words if w in ORDINALS]
  [day] = days
  date = datetime.date(year, month, day)
  told = [WEEKDAYS.index(w) for w in words if w in WEEKDAYS]
  assert told in ([], [date.weekday()])
  return date.isoformat()


ENDINGS = ("1st", "2nd", "3rd", "21st", "22nd", "23rd", "31st")
RULES = {
  "copy:2,6": (str, len, 2, 6),
  "reverse:1,5": (lambda text: text[::-1], len, 1, 5),
  "sort:3,4": (lambda text: "".join(sorted(text)), len, 3, 4),
  "addition:2": (added, lambda text: max(map(len, text.split("+"))), 1, 2),
  "dates": (of_date, lambda text: 1, 1, 1),
}


@pytest.fixture(autouse=True)
def few(monkeypatch):
  monkeypatch.setattr(transductions, "TRAIN", 400)
  monkeypatch.setattr(transductions, "OTHER", 50)


@pytest.mark.parametrize("spec", RULES)
def test_the_rule_holds_in_parts_that_share_nothing(spec):
  rule, length, least, most = RULES[spec]
  parts = load(spec)
  assert [len(own) for own in parts.values()][:3] == [400, 50, 50]
  for name, own in parts.items():
    lengths = {length(pair.source) for pair in own}
    bounds = (most + 1, 2 * most) if name == "longer" else (least, most)
    assert bounds[0] <= min(lengths) and max(lengths) <= bounds[1]
    assert all(rule(pair.source) == pair.target for pair in own)
  sources = [pair.source for own in parts.values() for pair in own]
  assert len(set(sources)) == len(sources)
  assert ("longer" in parts) == (spec != "dates")


def test_more_pairs_are_the_same_and_others():
  few, many = load("copy"), load("copy", pairs=900)
  assert many["train"][:400] == few["train"] and len(many["train"]) == 900
  assert [many[part] == few[part] for part in ("val", "test", "longer")] == [True] * 3
  assert named.load("copy", first=900) == many


def test_dates_of_a_part_are_in_no_other():
  targets = [pair.target for own in load("dates").values() for pair in own]
  assert len(set(targets)) == len(targets)


@pytest.mark.parametrize("spec", RULES)
def test_a_seed_gives_the_pairs(spec):
  assert load(spec, 3) == load(spec, 3) != load(spec, 4)


def test_few_sources_are_shared_out():
  parts = load("copy:1,1")
  assert {name: len(own) for name, own in parts.items()} == {
    **{"train": 22, "val": 2, "test": 2},
    "longer": 50,
  }
  assert load("copy") == load("copy:1,10")


@pytest.mark.parametrize(
  "spec",
  [
    *("copy:0,5", "copy:5,2", "copy:1.5,2", "copy:1,1001", "copy:1,inf", "copy:nan,2"),
    *("copy:3", "addition", "addition:0", "addition:2,3", "dates:1", "sort:1,2,3"),
  ],
)
def test_what_is_no_length_is_refused(spec):
  with pytest.raises(BadInput, match=f"^data={spec}"):
    load(spec)


def test_a_rule_is_a_set_of_pairs():
  assert named.synthetic("addition:5") and not named.synthetic("multi30k:de-en")
  assert named.load("addition:2") == load("addition:2")
  with pytest.raises(BadInput, match="split=8,2: addition has parts of its own"):
    named.load("addition:2", "8,2")
