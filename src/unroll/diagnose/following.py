"""What units follow: their states along a text beside properties of the text.

As in Karpathy, Johnson & Fei-Fei (2016), who found by eye a cell that counts the
characters of a line and one that is on within quotes; here all of them are ranked.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

BRACKETS = {"(": ")", "[": "]", "{": "}"}


class Follower(NamedTuple):
  """A unit and how well it follows a property.

  Attributes:
    unit: its number among the states.
    correlation: Pearson's, of its state and the property over all tokens.
  """

  unit: int
  correlation: float


def properties(tokens: Sequence[str]) -> dict[str, NDArray[np.float64]]:
  """What can be said of a text after each of its tokens, by name, `[N]` each.

  Those that are the same everywhere are left out.

  Args:
    tokens: as they stand in the text one after another, spaces included.
  """
  ends = np.cumsum([len(token) for token in tokens]) - 1
  text = "".join(tokens)
  found = {name: values[ends] for name, values in _by_character(text).items()}
  return {name: values for name, values in found.items() if np.ptp(values) > 0}


def followers(
  states: ArrayLike, of: Mapping[str, ArrayLike], most: int = 5
) -> dict[str, list[Follower]]:
  """The units that follow each property best, the best first.

  Args:
    states: `[N, S]`, after each token.
    of: the properties, `[N]` each.
    most: how many of each.

  Returns:
    By property. A unit that never moves follows nothing.
  """
  units = _standard(np.asarray(states, np.float64))
  found = {}
  for name, values in of.items():
    correlations = _standard(np.asarray(values, np.float64)[:, None])[:, 0] @ units
    order = np.argsort(-np.abs(correlations), kind="stable")[:most]
    found[name] = [Follower(int(i), float(correlations[i])) for i in order]
  return found


def _standard(columns: NDArray) -> NDArray:
  """Columns `[N, S]` of mean 0 and length 1; zeros where they are constant."""
  columns = columns - columns.mean(axis=0)
  length = np.linalg.norm(columns, axis=0)
  return columns / np.where(length > 0, length, 1)


def _by_character(text: str) -> dict[str, NDArray[np.float64]]:
  """The properties after each character."""
  lines, words = _since(text, "\n"), _since(text, r"\W")
  quoted = np.cumsum([c == '"' for c in text]) % 2
  found = {
    "place in the line": lines,
    "place in the word": words,
    "indentation of the line": _indentation(text),
    "within double quotes": quoted,
    "within brackets": np.array([depth > 0 for depth in _depth(text)]),
    "depth of brackets": np.array(_depth(text)),
    "line break": np.array([c == "\n" for c in text]),
    "space": np.array([c == " " for c in text]),
    "letter": np.array([c.isalpha() for c in text]),
    "capital letter": np.array([c.isupper() for c in text]),
    "digit": np.array([c.isdigit() for c in text]),
    "punctuation": np.array([not (c.isalnum() or c.isspace()) for c in text]),
    "vowel": np.array([c in "aeiouAEIOU" for c in text]),
  }
  return {name: np.asarray(values, np.float64) for name, values in found.items()}


def _since(text: str, what: str) -> NDArray[np.int_]:
  """Characters since the last match of a pattern of one character; 0 at a match."""
  at = np.arange(len(text))
  matches = np.zeros(len(text), bool)
  matches[[match.start() for match in re.finditer(what, text)]] = True
  last = np.maximum.accumulate(np.where(matches, at, -1))
  return at - last


def _indentation(text: str) -> list[int]:
  """The spaces that the line of each character begins with, as far as it goes."""
  found = []
  for line in text.splitlines(keepends=True):
    inner = len(line) - len(line.lstrip(" "))
    found += [min(place + 1, inner) for place in range(len(line))]
  return found


def _depth(text: str) -> list[int]:
  """How many brackets are open after each character."""
  open_, found = [], []
  for character in text:
    if character in BRACKETS:
      open_.append(BRACKETS[character])
    elif open_ and character == open_[-1]:
      open_.pop()
    found.append(len(open_))
  return found
