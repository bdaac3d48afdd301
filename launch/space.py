"""What a sweep varies: `--name=a,b` lists values, `--name=log:0.1:10` gives a range.

| written | is |
|---|---|
| `--cell=rnn,gru` | either value |
| `--hidden=[256,128],[512]` | either value: what holds a comma stands in brackets |
| `--truncation=uoro:8,ok:2,4` | either value: numbers that follow a spec are its own |
| `--clip_norm=log:0.1:10` | a number from 0.1 to 10, drawn evenly on a log scale |
| `--clip_norm=0,log:0.1:10:5` | 0, or one of 5 numbers so spaced from 0.1 to 10 |
| `--dropout=linear:0:0.5` | a number, drawn evenly |
| `--layers=int:1:4` | a whole number; `logint:16:512` on a log scale |
"""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from unroll.errors import BadInput

KINDS = ("linear", "log", "int", "logint")
_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)"
_RANGE = re.compile(rf"({'|'.join(KINDS)}):{_NUMBER}:{_NUMBER}(?::(\d+))?", re.I)
_OPTION = re.compile(r"\w+=[^:=]*")  # of a spec, as in lstm:forget_bias=2

Values = Mapping[str, str]  # flag -> text


class Choice(NamedTuple):
  """One of some texts."""

  values: tuple[str, ...]


class Range(NamedTuple):
  """A number between two others, both included.

  Attributes:
    low: the least.
    high: the greatest.
    log: whether its logarithm is what is drawn evenly.
    whole: whether it is a whole number.
  """

  low: float
  high: float
  log: bool
  whole: bool

  def points(self, count: int) -> tuple[str, ...]:
    """So many numbers, evenly spaced from the least to the greatest."""
    low, high = (
      (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
    )
    between = [low + (high - low) * i / max(count - 1, 1) for i in range(count)]
    values = [math.exp(value) if self.log else value for value in between]
    return tuple(dict.fromkeys(map(self.text, values)))

  def text(self, value: float) -> str:
    """The number as a flag says it."""
    return str(round(value)) if self.whole else f"{value:.6g}"


Domain = Choice | Range


class Space(NamedTuple):
  """The flags of one line.

  Attributes:
    fixed: those with one value.
    swept: those with several.
  """

  fixed: Values
  swept: Mapping[str, Domain]

  def grid(self) -> list[dict[str, str]]:
    """Every combination of the swept flags, the last one varying fastest.

    Raises:
      BadInput: for a range, which has no points to combine.
    """
    for name, domain in self.swept.items():
      if isinstance(domain, Range):
        raise BadInput(
          f"--{name} is a range, and a grid takes points: give their number, as in "
          f"log:0.1:10:5, or another --search"
        )
    lists = [d.values for d in self.swept.values() if isinstance(d, Choice)]
    return [dict(zip(self.swept, values)) for values in itertools.product(*lists)]


def read(arguments: Iterable[str]) -> Space:
  """Reads flags as they stand on a command line.

  Raises:
    BadInput: for what is no flag, one given twice, or a range that is none.
  """
  fixed: dict[str, str] = {}
  swept: dict[str, Domain] = {}
  for argument in arguments:
    name, given, text = argument.removeprefix("-").removeprefix("-").partition("=")
    if not argument.startswith("-") or not name:
      raise BadInput(f"{argument!r} is not a flag: write --name=value")
    if name in fixed or name in swept:
      raise BadInput(f"--{name} is given twice: list its values, as in --{name}=a,b")
    domain = _domain(name, text if given else "true")
    if isinstance(domain, Choice) and len(domain.values) == 1:
      fixed[name] = domain.values[0]
    else:
      swept[name] = domain
  return Space(fixed, swept)


def merged(lines: Sequence[Space]) -> tuple[dict[str, str], list[dict[str, str]]]:
  """Several grids as one list: what they all share, and what each point has besides."""
  points = [{**line.fixed, **point} for line in lines for point in line.grid()]
  shared = {
    name: value
    for name, value in points[0].items()
    if all(point.get(name) == value for point in points)
  }
  return shared, [
    {name: value for name, value in point.items() if name not in shared}
    for point in points
  ]


def _domain(name: str, text: str) -> Domain:
  values: list[str] = []
  parts = _split(name, text)
  for part in parts:
    found = _RANGE.fullmatch(part)
    if found is None:
      values.append(part)
      continue
    domain = _range(name, part, *found.groups())
    if found[4]:
      values.extend(domain.points(int(found[4])))
    elif len(parts) == 1:
      return domain
    else:
      raise BadInput(
        f"--{name}={text}: a range in a list needs its number of points, as in {part}:5"
      )
  return Choice(tuple(dict.fromkeys(values)))


def _range(name: str, part: str, kind: str, low: str, high: str, count: str) -> Range:
  least, most = float(low), float(high)
  log, whole = "log" in kind.lower(), "int" in kind.lower()
  if not least < most or (log and least <= 0) or count == "0":
    raise BadInput(
      f"--{name}={part}: give a lower and a higher number, above 0 on a log scale, "
      "and one point or more"
    )
  if whole and not (least.is_integer() and most.is_integer()):
    raise BadInput(f"--{name}={part}: give whole numbers")
  return Range(least, most, log, whole)


def _split(name: str, text: str) -> list[str]:
  """The values between commas that stand in no brackets."""
  parts, depth = [""], 0
  for letter in text:
    depth += (letter == "[") - (letter == "]")
    if depth < 0:
      break
    if letter == "," and depth == 0:
      parts.append("")
    else:
      parts[-1] += letter
  if depth:
    raise BadInput(f"--{name}={text}: its brackets do not match")
  if len(parts) > 1 and {"", "[]"} & {*parts}:
    raise BadInput(f"--{name}={text}: there is nothing between two commas")
  values: list[str] = []
  for part in parts:
    if values and _goes_on(values[-1], part):
      values[-1] += f",{part}"
    else:
      values.append(part)
  return [
    value[1:-1] if value.startswith("[") and value.endswith("]") else value
    for value in values
  ]


def _goes_on(spec: str, part: str) -> bool:
  """Whether a part is one more number, or `option=value`, of the spec before it."""
  _, colon, given = spec.partition(":")
  if not colon or _RANGE.fullmatch(spec):
    return False
  last = given.rpartition(",")[2]
  numbers = re.fullmatch(_NUMBER, last, re.I) and re.fullmatch(_NUMBER, part, re.I)
  return bool(numbers) or bool(_OPTION.fullmatch(last) and _OPTION.fullmatch(part))
