"""ARPA files read: the models of KenLM, SRILM and others, checked line by line."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from unroll.errors import BadInput, sentence
from unroll.ngram.backoff import Backoff
from unroll.ngram.model import Floats
from unroll.ngram.spelling import START, UNKNOWN, token
from unroll.ngram.trie import Ids, Trie
from unroll.ngram.written import NEVER, TEN


class Arpa(NamedTuple):
  """What an ARPA file holds.

  Attributes:
    tokens: the vocabulary, `<unk>` first, whether the file has it or not.
    model: over them.
  """

  tokens: tuple[str, ...]
  model: Backoff


class _Section(NamedTuple):
  """The n-grams of one order, as they stand in the file.

  Attributes:
    start: the line of the first.
    words: n of each, flat.
    log_probs: in nats.
    weights: in nats, 0 where none is given.
  """

  start: int
  words: list[bytes]
  log_probs: Floats
  weights: Floats


def read(path: Path, end: str, known: Sequence[str] = ()) -> Arpa:
  """Reads an ARPA file.

  Args:
    path: of the file.
    end: the token of a line end, which is `</s>` there.
    known: the vocabulary, where only one is possible, such as that of bytes.

  Raises:
    BadInput: the file cannot be read, or is no ARPA file: it says which line, and why.
  """
  lines = _Lines(path)
  counts = lines.header()
  sections = [lines.section(order, *count) for order, count in enumerate(counts, 1)]
  lines.close(len(counts))
  tokens, ids = _vocabulary(lines, sections[0], end, known)
  size = len(tokens)
  keys: list[Ids] = []
  log_probs, weights = [np.full(size + 1, -np.inf)], [np.zeros(size + 1)]
  for order, section in enumerate(sections, 1):
    found = np.fromiter((ids.get(w, -1) for w in section.words), np.int64)
    grams = found.reshape(-1, order)
    if order == 1:
      log_probs[0][grams[:, 0]] = section.log_probs
      weights[0][grams[:, 0]] = section.weights
      continue
    placed = _placed(lines, section, grams, Trie(size, tuple(keys)))
    sort = placed.argsort(kind="stable")
    keys.append(placed[sort])
    if (twice := np.flatnonzero(keys[-1][1:] == keys[-1][:-1])).size:
      lines.fail(section.start + int(sort[twice[0] + 1]), "stands there twice")
    log_probs.append(section.log_probs[sort])
    weights.append(section.weights[sort])
  log_probs[0][size] = -np.inf  # of <s>, which is predicted by nothing
  trie = Trie(size, tuple(keys))
  return Arpa(tokens, Backoff(trie, tuple(log_probs), tuple(weights[:-1])))


def _vocabulary(
  lines: "_Lines", unigrams: _Section, end: str, known: Sequence[str]
) -> tuple[tuple[str, ...], dict[bytes, int]]:
  """The tokens, and the number of each word; of `<s>` how many tokens there are."""
  numbers = {name: i for i, name in enumerate(known or (UNKNOWN,))}
  ids: dict[bytes, int] = {}
  for place, word in enumerate(unigrams.words):
    if word in ids:
      lines.fail(unigrams.start + place, "stands there twice")
    ids[word] = -1
    if word == START.encode():
      continue
    try:
      name = token(word.decode(), end)
    except UnicodeDecodeError:
      lines.fail(unigrams.start + place, "is not UTF-8: convert the file")
    if known and name not in numbers:
      lines.fail(unigrams.start + place, "is no byte: read it with tokenizer=char")
    ids[word] = numbers.setdefault(name, len(numbers))
  ids[START.encode()] = len(numbers)
  return tuple(numbers), ids


def _placed(lines: "_Lines", section: _Section, grams: Ids, trie: Trie) -> Ids:
  """The keys of n-grams, each of which continues one that is there."""
  if (unknown := np.flatnonzero((grams < 0).any(1))).size:
    row = int(unknown[0])
    word = section.words[row * grams.shape[1] + int(np.argmin(grams[row]))]
    lines.fail(
      section.start + row, f"has {word.decode(errors='replace')}, which is no 1-gram"
    )
  if (within := np.flatnonzero((grams[:, 1:] == trie.size).any(1))).size:
    lines.fail(section.start + int(within[0]), f"has {START} after its start")
  contexts = grams[:, 0]
  for order in range(2, grams.shape[1]):
    contexts = trie.find(order, contexts, grams[:, order - 1])
  if (missing := np.flatnonzero(contexts < 0)).size:
    row, order = int(missing[0]), grams.shape[1] - 1
    shorter = b" ".join(section.words[row * (order + 1) :][:order]).decode()
    lines.fail(section.start + row, f"continues {shorter!r}, which is no {order}-gram")
  return contexts * trie.radix + grams[:, -1]


class _Lines:
  """The lines of a file, read from its start on."""

  def __init__(self, path: Path):
    self._path, self._at = path, 0
    try:
      self._lines = path.read_bytes().split(b"\n")
    except OSError as error:
      raise BadInput(f"arpa={path} cannot be read: {sentence(error)}") from None

  def fail(self, number: int, why: str) -> NoReturn:
    """Refuses the file for its line of that number, counted from 1."""
    text = self._lines[number - 1].strip().decode(errors="replace")[:60]
    shown = repr(text) if text else "the end of the file"
    raise BadInput(
      f"{self._path}, line {number}: {shown} {why}; give an ARPA file as KenLM and "
      "SRILM write them"
    )

  def _next(self) -> bytes:
    """The next line that is not blank; empty after the last."""
    while self._at < len(self._lines):
      self._at += 1
      if line := self._lines[self._at - 1].strip():
        return line
    return b""

  def header(self) -> list[tuple[int, int]]:
    """For each order how many n-grams there should be, and the line that says so."""
    while (line := self._next()) != b"\\data\\":  # comments may stand before
      if not line or line.startswith(b"\\"):
        self.fail(self._at, "stands where \\data\\ must")
    counts: list[tuple[int, int]] = []
    while match := re.fullmatch(rb"ngram +(\d+) *= *(\d+)", self._next()):
      if int(match[1]) != len(counts) + 1:
        self.fail(self._at, f"stands where the count of order {len(counts) + 1} must")
      counts.append((int(match[2]), self._at))
    if not counts:
      self.fail(self._at, "stands where a line such as ngram 1=1000 must")
    self._at -= 1
    return counts

  def section(self, order: int, count: int, said: int) -> _Section:
    """The n-grams of an order, of which line `said` says that there are `count`."""
    head = f"\\{order}-grams:"
    if self._next() != head.encode():
      self.fail(self._at, f"stands where {head} must")
    start = self._at + 1
    rows = []
    while self._at < len(self._lines):
      row = self._lines[self._at].split()
      if not row or (row[0].startswith(b"\\") and len(row) == 1):
        break
      rows.append(row)
      self._at += 1
    if len(rows) != count:
      self.fail(said, f"is wrong: {head[1:-1]} from line {start} on are {len(rows)}")
    wrong = [i for i, row in enumerate(rows) if len(row) - order not in (1, 2)]
    if wrong:
      many = "a word" if order == 1 else f"{order} words"
      self.fail(start + wrong[0], f"has not a logarithm, {many} and maybe a weight")
    log_probs = self._numbers(start, (row[0] for row in rows), count)
    if (above := np.flatnonzero(~(log_probs <= 0))).size:
      self.fail(
        start + int(above[0]), "has a log-probability that is not below 0, or 0"
      )
    log_probs[log_probs <= NEVER] = -np.inf
    given = (row[-1] if len(row) == order + 2 else b"0" for row in rows)
    weights = self._numbers(start, given, count)
    if (infinite := np.flatnonzero(~(np.abs(weights) < np.inf))).size:
      self.fail(start + int(infinite[0]), "has a weight that is no finite number")
    words = [word for row in rows for word in row[1 : order + 1]]
    return _Section(start, words, log_probs * TEN, weights * TEN)

  def _numbers(self, start: int, texts: Iterable[bytes], count: int) -> Floats:
    listed = list(texts)
    try:
      return np.fromiter(map(float, listed), np.float64, count)
    except ValueError:
      for row, text in enumerate(listed):
        try:
          float(text)
        except ValueError:
          shown = text.decode(errors="replace")
          self.fail(start + row, f"has {shown!r} where a number must stand")
      raise

  def close(self, order: int) -> None:
    """Refuses a file whose end is missing."""
    if self._next() != b"\\end\\":
      why = f"stands where \\end\\ must, after the {order}-grams"
      self.fail(self._at, why)
