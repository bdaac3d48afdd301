"""A model that backs off as an ARPA file, which every n-gram toolkit reads."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from unroll import files
from unroll.ngram.backoff import Backoff
from unroll.ngram.spelling import END, START, spelled

TEN = math.log(10)
NEVER = -99.0  # as toolkits write the logarithm of 0


def write(model: Backoff, tokens: Sequence[str], path: Path, end: str) -> None:
  """Writes an ARPA file: logarithms of base 10, to nine digits.

  The start of a sentence is `<s>`, a line end `</s>`; both are there in any case.

  Args:
    model: what is written.
    tokens: `[V]`, the vocabulary.
    path: of the file, which appears whole.
    end: the token of a line end.

  Raises:
    BadInput: a token cannot be a word.
    OSError: the file cannot be written.
  """
  files.write(path, "".join(_sections(model, tokens, end)))


def _sections(model: Backoff, tokens: Sequence[str], end: str) -> Iterator[str]:
  words = [*(spelled(token, end) for token in tokens), START]
  trie, extra = model.trie, [] if END in words else [f"{NEVER:g}\t{END}\n"]
  yield "\\data\\\n"
  for order in range(1, trie.order + 1):
    count = trie.count(order) + (len(extra) if order == 1 else 0)
    yield f"ngram {order}={count}\n"
  grams = words
  for order in range(1, trie.order + 1):
    if order > 1:
      contexts, last = trie.contexts(order).tolist(), trie.tokens(order).tolist()
      grams = [f"{grams[c]} {words[t]}" for c, t in zip(contexts, last)]
    logs = (model.log_probs[order - 1] / TEN).tolist()
    yield f"\n\\{order}-grams:\n"
    if order < trie.order:
      weights = (model.weights[order - 1] / TEN).tolist()
      rows = zip(logs, grams, weights)
      yield from (
        f"{_decimal(max(p, NEVER))}\t{g}\t{_decimal(w)}\n" for p, g, w in rows
      )
    else:
      yield from (f"{_decimal(max(p, NEVER))}\t{g}\n" for p, g in zip(logs, grams))
    if order == 1:
      yield from extra
  yield "\n\\end\\\n"


def _decimal(number: float) -> str:
  """To nine digits or decimals, without an exponent: not every reader heeds one."""
  return f"{number:.9f}" if 0 < abs(number) < 1e-4 else f"{number:.9g}"
