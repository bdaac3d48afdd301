"""Pairs of texts from files: two parallel ones, or one with a tab in each line."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unroll.data import text as text_lib
from unroll.data.splits import NAMES, by_fractions
from unroll.types import BadInput

SPLIT = "0.9,0.05,0.05"


class Pair(NamedTuple):
  """A text, and what it becomes; either may be empty."""

  source: str
  target: str


def read(source: Path, target: Path | None = None) -> list[Pair]:
  """The pairs of two parallel files, or of one with a tab in each line.

  Args:
    source: a text a line, or with `target` None a pair a line, UTF-8; `.gz` is
      unpacked.
    target: what line i of `source` becomes, in line i.

  Raises:
    BadInput: a file cannot be read, holds nothing, or does not fit the other.
  """
  if target is None:
    return tabbed(_bytes(source), str(source))
  return parallel(_bytes(source), _bytes(target), str(source), str(target))


def parallel(source: bytes, target: bytes, where: str, other: str) -> list[Pair]:
  """Line i of one file with line i of the other, blank lines too.

  Args:
    source: a file.
    target: the other.
    where: the name of `source`; after `.gz` it is unpacked.
    other: the name of `target`.

  Raises:
    BadInput: not UTF-8, no line, or not as many in both.
  """
  sources, targets = _lines(source, where), _lines(target, other)
  if len(sources) != len(targets):
    raise BadInput(
      f"{where} has {len(sources)} lines and {other} has {len(targets)}: line by line "
      "one must be what the other becomes; give files of as many lines"
    )
  return list(map(Pair, sources, targets))


def tabbed(data: bytes, where: str) -> list[Pair]:
  """A pair a line: a text, a tab, what it becomes; columns after these are left out.

  Raises:
    BadInput: not UTF-8, no line, or a line without a tab.
  """
  found = []
  for number, line in enumerate(_lines(data, where), 1):
    source, tab, rest = line.partition("\t")
    if not tab:
      raise BadInput(
        f"{where}, line {number} has no tab: give a text, a tab and what it becomes"
      )
    found.append(Pair(source, rest.partition("\t")[0]))
  return found


def parted(pairs: Sequence[Pair], spec: str, where: str) -> dict[str, list[Pair]]:
  """Training, validation and perhaps test pairs of a set without parts of its own.

  Args:
    pairs: all there are.
    spec: counts, "512,128", which take pairs in order; or fractions, "0.9,0.1", which
      take them at random, always in the same way, all pairs of a source together;
      "" for `SPLIT`.
    where: what to call the set in `BadInput`.

  Raises:
    BadInput: it is neither, or leaves a part empty.
  """
  parts = (spec or SPLIT).split(",")
  if not 2 <= len(parts) <= len(NAMES):
    raise BadInput(f"split={spec} has {len(parts)} parts; it takes train,val[,test]")
  if all(part.isascii() and part.isdigit() for part in parts):
    counts = list(map(int, parts))
    if 0 in counts or sum(counts) > len(pairs):
      raise BadInput(
        f"split={spec} does not fit the {len(pairs)} pairs of {where}: give counts of "
        "at least 1 that add up to no more"
      )
    ends = np.cumsum(counts).tolist()
    order, edges = np.arange(len(pairs)), list(zip([0, *ends], ends))
  else:
    draw = np.random.default_rng(0)
    ids: dict[str, int] = {}
    groups = np.array([ids.setdefault(pair.source, len(ids)) for pair in pairs], int)
    order = np.argsort(draw.permutation(len(ids))[groups], kind="stable")
    edges = by_fractions(parts, len(pairs), spec)
    drawn = groups[order]
    starts = np.flatnonzero(np.diff(drawn, prepend=-1, append=-1))
    cuts = {c: int(starts[np.searchsorted(starts, c)]) for edge in edges for c in edge}
    edges = [(cuts[start], cuts[stop]) for start, stop in edges]
  found = {}
  for name, (start, stop) in zip(NAMES, edges):
    if start == stop:
      raise BadInput(
        f"split={spec or SPLIT} of the {len(pairs)} pairs of {where} leaves none for "
        f"{name}: give more"
      )
    found[name] = [pairs[row] for row in sorted(order[start:stop].tolist())]
  return found


def digest(parts: Mapping[str, Sequence[Pair]]) -> str:
  """The sha256 of the pairs of all parts."""
  found = hashlib.sha256()
  for name, pairs in parts.items():
    found.update(json.dumps([name, list(pairs)]).encode())
  return found.hexdigest()


def _bytes(path: Path) -> bytes:
  try:
    return path.expanduser().read_bytes()
  except OSError as error:
    raise BadInput(
      f"{path} cannot be read ({error.strerror}): give a readable file"
    ) from None


def _lines(data: bytes, where: str) -> list[str]:
  if where.endswith(".gz"):
    try:
      data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
      raise BadInput(f"{where} cannot be unpacked ({error}): restore it") from None
  lines = text_lib.read_lines(data, where)
  if not lines:
    raise BadInput(f"{where} is empty: give a file with a text a line")
  return lines
