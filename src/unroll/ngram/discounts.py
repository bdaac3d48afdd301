"""How much is taken off a count, estimated from how many n-grams have each count."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.errors import BadInput
from unroll.ngram.trie import Ids

FALLBACK = {1: (0.75,), 3: (0.5, 1.0, 1.5)}  # by how many discounts an order has


class Discounts(NamedTuple):
  """The discounts of an order.

  Attributes:
    amounts: of counts 1, 2, …; the last of all greater counts too.
    estimated: whether they come from the counts, and not from `FALLBACK`.
  """

  amounts: tuple[float, ...]
  estimated: bool = True

  def of(self, counts: Ids) -> NDArray[np.float64]:
    """The discount of each count; 0 of a count of 0."""
    table = np.array([0.0, *self.amounts])
    return table[np.minimum(counts, len(self.amounts))]


def estimated(
  counts: Ids, kinds: int, order: int, warn: Callable[[str], Any]
) -> Discounts:
  """The discounts of an order by the estimators of Ney, and of Chen and Goodman.

  With n_c for how many n-grams have the count c, and Y = n_1 / (n_1 + 2 n_2): the one
  discount is Y (Ney, Essen and Kneser, 1994); the three of modified Kneser–Ney are
  c - (c + 1) Y n_(c+1) / n_c for c of 1, 2 and 3 (Chen and Goodman, 1998, equation 26).
  Where an n_c is 0, as among the single characters of a long text, or a discount is
  not between 0 and its count, the order has those of `FALLBACK`: 0.75, or the 0.5, 1
  and 1.5 of KenLM.

  Args:
    counts: of the n-grams of the order; zeros are none.
    kinds: how many discounts there are, 1 or 3.
    order: of the n-grams, to name.
    warn: called with one sentence where there is no estimate.
  """
  n = np.bincount(np.minimum(counts, kinds + 2), minlength=kinds + 3)
  ordinal = range(1, kinds + 1)
  missing = [c for c in range(1, kinds + 2) if not n[c]]
  if not missing:
    share = n[1] / (n[1] + 2 * n[2])
    amounts = tuple(float(c - (c + 1) * share * n[c + 1] / n[c]) for c in ordinal)
    if all(0 < amount < c for c, amount in zip(ordinal, amounts)):
      return Discounts(amounts)
    shown = ", ".join(f"{amount:.3g}" for amount in amounts)
    why = f"its counts give {shown}, and a count must stay above 0 and lose something"
  else:
    shown = " or ".join(map(str, missing))
    why = f"none of its n-grams has a count of {shown}"
  chosen = FALLBACK[kinds]
  shown = ", ".join(f"{amount:g}" for amount in chosen)
  are = "discounts are" if kinds > 1 else "discount is"
  warn(f"order {order}: {why}; its {are} {shown}")
  return Discounts(chosen, False)


def given(amounts: Sequence[float], kinds: int) -> Discounts:
  """Discounts that a person gives, of all orders.

  Raises:
    BadInput: there are not `kinds` of them, or one is not between 0 and its count.
  """
  fits = all(0 < amount < c for c, amount in enumerate(amounts, 1))
  if len(amounts) != kinds or not fits:
    shown = ",".join(f"{amount:g}" for amount in amounts)
    wanted = "one number between 0 and 1"
    if kinds == 3:
      wanted = "three numbers, between 0 and 1, 0 and 2, 0 and 3: of counts 1, 2 and 3"
    raise BadInput(f"discount={shown}: give {wanted}")
  return Discounts(tuple(amounts))
