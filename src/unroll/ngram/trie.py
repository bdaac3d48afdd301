"""Which n-grams there are: sorted keys, one array an order.

An n-gram is the number of its context, the n-gram without its last token, times a
radix, plus that token. Sorted, the tokens that follow a context lie side by side: the
arrays are a trie, and the number of an n-gram is its place in the array of its order.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Number = TypeVar("Number", np.int64, np.float64)


class Trie(NamedTuple):
  """The n-grams of orders 1 to n.

  The number of an n-gram of order 1 is its token, there or not. `size` itself stands
  for the start of a sentence, which is no token of the vocabulary: it begins n-grams,
  and is nowhere else in them.

  Attributes:
    size: V, the tokens of the vocabulary.
    keys: of orders 2 to n, sorted: context * (V + 1) + token.
  """

  size: int
  keys: tuple[Ids, ...]

  @property
  def radix(self) -> int:
    """What separates context and token in a key: V + 1."""
    return self.size + 1

  @property
  def order(self) -> int:
    """n, the tokens of the longest n-grams."""
    return len(self.keys) + 1

  def count(self, order: int) -> int:
    """How many n-grams there are of an order; of order 1, V + 1."""
    return self.radix if order == 1 else self.keys[order - 2].size

  def contexts(self, order: int) -> Ids:
    """The numbers of the contexts of all n-grams of an order above 1."""
    return self.keys[order - 2] // self.radix

  def tokens(self, order: int) -> Ids:
    """The last tokens of all n-grams of an order."""
    return np.arange(self.radix) if order == 1 else self.keys[order - 2] % self.radix

  def find(self, order: int, contexts: Ids, tokens: Ids) -> Ids:
    """The numbers of n-grams of an order above 1; -1 where there is none.

    Args:
      order: of the n-grams.
      contexts: their contexts' numbers; -1 for one that is not there.
      tokens: their last tokens.
    """
    keys = self.keys[order - 2]
    wanted = contexts * self.radix + tokens
    places = np.searchsorted(keys, wanted)
    places[places == keys.size] = -1
    # After a context of -1 the key is below all.
    return np.where(at(keys, places, -1) == wanted, places, -1)

  def walk(self, stream: NDArray[np.integer]) -> Iterator[Ids]:
    """For each order in turn, the n-gram that ends at each token of a stream, or -1.

    Args:
      stream: `[T]`, tokens and starts of sentences.
    """
    ending = stream.astype(np.int64)
    yield ending
    for order in range(2, self.order + 1):
      before = np.concatenate([[-1], ending[:-1]])  # what ends at the token before
      ending = self.find(order, before, stream.astype(np.int64))
      yield ending

  def following(self, order: int, context: int) -> slice:
    """Which n-grams of an order above 1 have a context: they lie side by side."""
    edges = (context * self.radix, (context + 1) * self.radix)
    return slice(*np.searchsorted(self.keys[order - 2], edges))

  def starting(self) -> list[int]:
    """For each order, the first n-gram that begins a sentence; it and all after it do.

    The start of a sentence has the highest number of all, so that they come last.
    """
    first = [self.size]
    for keys in self.keys:
      first.append(int(np.searchsorted(keys, first[-1] * self.radix)))
    return first

  def suffixes(self) -> list[Ids]:
    """For each order above 1, the numbers of its n-grams without their first tokens.

    -1 where those are not there, which no n-gram that was counted has.
    """
    found = [self.tokens(2)] if self.order > 1 else []
    for order in range(3, self.order + 1):
      contexts = found[-1][self.contexts(order)]
      found.append(self.find(order - 1, contexts, self.tokens(order)))
    return found

  def longest(self, context: Sequence[int]) -> list[int]:
    """The numbers of the ends of a context, from one token to n - 1; -1 if not there.

    Args:
      context: tokens, the last n - 1 of which count.
    """
    numbers = []
    for length in range(1, min(len(context), self.order - 1) + 1):
      number = int(context[-length])
      for order, token in enumerate(context[len(context) - length + 1 :], 2):
        (number,) = self.find(order, np.array([number]), np.array([int(token)]))
      numbers.append(int(number))
    return numbers


def at(values: NDArray[Number], places: Ids, missing: int) -> NDArray[Number]:
  """Values at places, and `missing` at -1; there may be no values at all."""
  if not values.size:
    return np.full(places.shape, missing, values.dtype)
  return np.where(places < 0, values.dtype.type(missing), values[places])
