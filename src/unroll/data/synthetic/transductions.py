"""Texts and what becomes of them, made from a seed: copies, orders, sums, dates."""

import datetime
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from unroll import specs
from unroll.data.pairs.files import Pair
from unroll.types import BadInput

SYMBOLS = "abcdefghijklmnopqrstuvwxyz"
MONTHS = (
  *("January", "February", "March", "April", "May", "June", "July", "August"),
  *("September", "October", "November", "December"),
)
WEEKDAYS = (
  *("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
)
_ONES = (
  *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"),
  *("ninth", "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth"),
  *("sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth"),
)
ORDINALS = (
  *_ONES,
  *(f"twenty-{one}" for one in _ONES[:9]),
  *("thirtieth", "thirty-first"),
)
FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
TRAIN = 30_000  # pairs of training, unless it is said how many
OTHER = 1_000  # pairs of each other part, at the most
LONGEST = 1000


class Transduction(NamedTuple):
  """A rule for texts.

  Attributes:
    draw: (generator, least, most) -> a pair whose source is of such a length.
    numbers: of a spec, see `specs.Forms`: the longest length of training is the last
      of them, and the shortest the one before, or 1; () where there are no lengths.
  """

  draw: Callable[[np.random.Generator, int, int], Pair]
  numbers: tuple[float | str, ...]


def _symbols(rule: Callable[[str], str]) -> Transduction:
  def draw(random: np.random.Generator, least: int, most: int) -> Pair:
    size = random.integers(least, most, endpoint=True)
    text = "".join(SYMBOLS[i] for i in random.integers(len(SYMBOLS), size=size))
    return Pair(text, rule(text))

  return Transduction(draw, (1, 10))


def _sum(random: np.random.Generator, least: int, most: int) -> Pair:
  longer, any_ = (random.integers(low, most, endpoint=True) for low in (least, 1))
  sizes = random.permutation([longer, any_]).tolist()
  one, other = (_number(random, size) for size in sizes)
  return Pair(f"{one}+{other}", str(one + other))


def _number(random: np.random.Generator, digits: int) -> int:
  """A number of so many digits, which starts with no 0 but as 0 itself."""
  first = random.integers(0 if digits == 1 else 1, 10)
  rest = random.integers(10, size=digits - 1).tolist()
  return int("".join(map(str, [first, *rest])))


def _date(random: np.random.Generator, least: int, most: int) -> Pair:
  del least, most
  number = random.integers(FIRST.toordinal(), LAST.toordinal(), endpoint=True)
  date = datetime.date.fromordinal(int(number))
  month = MONTHS[date.month - 1]
  ending = {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10, "th")
  ending = "th" if date.day in (11, 12, 13) else ending
  day = random.choice([str(date.day), f"{date.day}{ending}", ORDINALS[date.day - 1]])
  month = month[:3] if random.random() < 0.3 else month
  form = random.choice(
    [
      "{day} {month} {year}",
      "{month} {day}, {year}",
      "{month} {day} {year}",
      "the {day} of {month}, {year}",
      "{day} of {month} {year}",
      "{year}, {month} {day}",
    ]
  )
  text = form.format(day=day, month=month, year=date.year)
  if random.random() < 0.3:
    text = f"{WEEKDAYS[date.weekday()]}, {text}"
  return Pair(text, date.isoformat())


TRANSDUCTIONS: dict[str, Transduction] = {
  "copy": _symbols(str),
  "reverse": _symbols(lambda text: text[::-1]),
  "sort": _symbols(lambda text: "".join(sorted(text))),
  "addition": Transduction(_sum, ("DIGITS",)),
  "dates": Transduction(_date, ()),
}
FORMS: specs.Forms = {name: rule.numbers for name, rule in TRANSDUCTIONS.items()}


def load(spec: str, seed: int = 0, *, pairs: int = 0) -> dict[str, list[Pair]]:
  """The pairs of a rule, drawn from a seed; no source is there twice.

  - `copy`, `reverse`, `sort`, each perhaps with LEAST,MOST letters of a source: the
    letters as they are, from last to first, in order of the alphabet.
  - `addition:DIGITS`: "123+45" becomes "168"; a number has up to so many digits.
  - `dates`: a date in English, in one of many ways, becomes that of ISO 8601.

  Args:
    spec: one of these.
    seed: with the spec it gives the pairs.
    pairs: of training, if there are so many, fewer being the first of more; 0: 30,000.

  Returns:
    "train", "val", "test", and "longer": as "test", and up to twice as long as what
    training has, where there are lengths.

  Raises:
    BadInput: it is none of these, or its lengths do not fit.
  """
  name, numbers = specs.read("data", spec, FORMS)
  whole = all(1 <= number <= LONGEST and number % 1 == 0 for number in numbers)
  least, most = map(int, (1, 1, *numbers)[-2:]) if whole else (1, 0)
  if least > most:
    raise BadInput(
      f"data={spec}: lengths must be whole numbers from 1 to {LONGEST}, the least first"
    )
  number = list(TRANSDUCTIONS).index(name)
  random = np.random.default_rng((seed, number))
  found = _drawn(name, random, least, most, (pairs or TRAIN) + 2 * OTHER)
  size = min(OTHER, len(found) // 10)
  parts = {
    "train": found[2 * size :],
    "val": found[:size],
    "test": found[size : 2 * size],
  }
  if numbers:
    other = np.random.default_rng((seed, number, 1))
    parts["longer"] = _drawn(name, other, most + 1, 2 * most, OTHER)
  return parts


def _drawn(
  name: str, random: np.random.Generator, least: int, most: int, count: int
) -> list[Pair]:
  """Pairs with a source each, or a target where it says the same in many ways."""
  found: dict[str, Pair] = {}
  for _ in range(2 * count):
    pair = TRANSDUCTIONS[name].draw(random, least, most)
    found.setdefault(pair.target if name == "dates" else pair.source, pair)
    if len(found) == count:
      break
  return list(found.values())
