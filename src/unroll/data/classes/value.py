"""Things with a label, and how they are split."""

import collections
import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.splits import by_fractions
from unroll.types import BadInput

NAMES = ("train", "val", "test")
SPLIT = "0.8,0.1,0.1"


class Labelled(NamedTuple):
  """Things with a label each.

  Attributes:
    inputs: texts, or float32 arrays `[T_i, D]`.
    labels: of each.
    places: where each stands, to name in an error: "names.tsv, line 3".
  """

  inputs: Sequence[str] | Sequence[NDArray[np.float32]]
  labels: Sequence[str]
  places: Sequence[str]

  def some(self, rows: Sequence[int]) -> "Labelled":
    """Those of some rows."""
    inputs: list = [self.inputs[i] for i in rows]
    labels, places = ([c[i] for i in rows] for c in (self.labels, self.places))
    return Labelled(inputs, labels, places)

  def digest(self) -> str:
    """The sha256 of inputs and labels."""
    found = hashlib.sha256()
    for thing, label in zip(self.inputs, self.labels):
      if isinstance(thing, str):
        found.update(thing.encode("utf-8", "surrogateescape"))
      else:
        found.update(np.ascontiguousarray(thing).data)
      found.update(b"\0" + label.encode() + b"\0")
    return found.hexdigest()


# "train", "val" and, where there is one, "test".
Parts = Mapping[str, Labelled]


def split(whole: Labelled, spec: str = "") -> dict[str, Labelled]:
  """Splits at random, always in the same way, with the classes in proportion.

  Args:
    whole: all there is.
    spec: fractions of train, val and perhaps test: "0.9,0.1".

  Raises:
    BadInput: these are no fractions, or a part is empty.
  """
  spec = spec or SPLIT
  parts = spec.split(",")
  if not 2 <= len(parts) <= len(NAMES):
    raise BadInput(f"split={spec} has {len(parts)} parts; it takes train,val[,test]")
  order = _interleaved(whole.labels)
  edges = by_fractions(parts, len(order), spec)
  found = {}
  for name, (start, stop) in zip(NAMES, edges):
    if start == stop:
      raise BadInput(
        f"split={spec} of {len(order)} examples leaves none for {name}: give more"
      )
    found[name] = whole.some(sorted(order[start:stop].tolist()))
  return found


def _interleaved(labels: Sequence[str]) -> NDArray[np.int64]:
  """A random order in which each stretch has all classes in proportion."""
  drawn = np.random.default_rng(0).permutation(len(labels))
  counts, seen = collections.Counter(labels), collections.Counter[str]()
  place = np.empty(len(labels))
  for row in drawn.tolist():
    label = labels[row]
    place[row] = (seen[label] + 0.5) / counts[label]
    seen[label] += 1
  return drawn[np.argsort(place[drawn], kind="stable")]


def check(parts: Parts) -> tuple[str, ...]:
  """The classes of the training part, in order.

  Raises:
    BadInput: there are fewer than two, or another part has one that training has not.
  """
  classes = sorted(set(parts["train"].labels), key=_natural)
  if len(classes) < 2:
    raise BadInput(
      f"all {len(parts['train'].labels)} training examples have the label "
      f"{classes[0] if classes else ''!r}: give two classes or more"
    )
  for part in parts.values():
    for label, place in zip(part.labels, part.places):
      if label not in classes:
        shown = ", ".join(map(repr, classes[:8])) + (" …" if len(classes) > 8 else "")
        raise BadInput(
          f"{place}: no training example has the label {label!r}, only {shown}"
        )
  return tuple(classes)


def _natural(label: str) -> tuple[bool, int, str]:
  """Numbers by their value, before words."""
  number = label.isascii() and label.isdigit()
  return (not number, int(label) if number else 0, label)
