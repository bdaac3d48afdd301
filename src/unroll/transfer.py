"""From one model to another: parameters taken by name, and how far each is trained."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from unroll.data import tokens
from unroll.data.vocabulary import VOCABULARY, Vocabulary
from unroll.loading import Loaded
from unroll.names import Names, by_name
from unroll.types import Array, BadInput, Params

TABLE = ("embed", "embedding")  # the parameter with a row for each token


class Taken(NamedTuple):
  """What was taken.

  Attributes:
    params: the parameters, completed by those of another model.
    names: those that were taken whole, or row by row.
    left: those that were not.
    rows: the rows of the embedding that were found, by their tokens; None where it was
      taken whole or not at all.
  """

  params: Params
  names: tuple[str, ...]
  left: tuple[str, ...]
  rows: int | None


def taken(params: Params, donor: Loaded, files: Mapping[str, str]) -> Taken:
  """Takes the parameters of another model that have the name and shape of these.

  The rows of an embedding go by their tokens: those of tokens that the other model does
  not have stay as they are.

  Args:
    params: as they start.
    donor: the other model.
    files: what accompanies this one, by name; of it the vocabulary is read.

  Returns:
    Parameters of the structure and types of `params`.
  """
  mine = tokens.from_json(files[VOCABULARY]) if VOCABULARY in files else None
  theirs = donor.vocabulary
  held = {_bare(name): leaf for name, leaf in by_name(donor.params).items()}
  leaves, treedef = jax.tree.flatten(params)
  found, names, left, rows = [], [], [], None
  for (name, own), leaf in zip(by_name(params).items(), leaves):
    bare = _bare(name)
    new: Array | NDArray | None = held.get(bare)
    if bare == TABLE and new is not None and mine is not None and theirs is not None:
      new, rows = _by_token(own, new, mine, theirs)
    if new is None or new.shape != own.shape:
      left.append("/".join(bare))
      found.append(leaf)
    else:
      names.append("/".join(bare))
      found.append(jnp.asarray(new, own.dtype))
  return Taken(jax.tree.unflatten(treedef, found), tuple(names), tuple(left), rows)


def _by_token(
  own: Array, new: Array | NDArray, mine: Vocabulary, theirs: Vocabulary
) -> tuple[Array | NDArray | None, int | None]:
  """A table with the rows of another for the tokens that both have."""
  if own.shape[1:] != new.shape[1:]:
    return None, None
  if mine.tokens == theirs.tokens:
    return new, None
  places = {token: i for i, token in enumerate(theirs.tokens)}
  both = [(i, places[token]) for i, token in enumerate(mine.tokens) if token in places]
  if not both:
    return None, None
  table = np.array(own)
  here, there = map(list, zip(*both))
  table[here] = np.asarray(new)[there]
  return table, len(both)


def multiples(
  params: Params,
  updates: Array,
  *,
  rates: Mapping[str, float],
  unfreeze: int = 0,
) -> Params:
  """What the learning rate of each parameter is multiplied by.

  Args:
    params: the parameters.
    updates: how many there were.
    rates: by the start of a name, such as "embed" or "recurrent/core/0"; the longest
      start counts. 0 freezes, other numbers are discriminative rates (Howard & Ruder,
      ULMFiT, 2018).
    unfreeze: the updates after which the next layer joins in (gradual unfreezing, from
      the same paper): what stands above the recurrent layers from the first update on,
      then these from the top, the embedding last. 0: all from the first on.

  Returns:
    A scalar for each parameter.
  """
  names = [_bare(name) for name in by_name(params)]
  layers = set(map(_layer, names)) - {None}

  def multiple(name: Names) -> Array:
    rate = jnp.float32(_rate("/".join(name), rates))
    if not unfreeze:
      return rate
    layer = _layer(name)
    below = len(layers) + 1 if name[0] == "embed" else 0
    turn = below if layer is None else len(layers) - layer
    return jnp.where(updates >= turn * unfreeze, rate, 0)

  return jax.tree.unflatten(jax.tree.structure(params), map(multiple, names))


def check(params: Params, rates: Mapping[str, float]) -> None:
  """Refuses names that no parameter starts with.

  Raises:
    BadInput: there is one.
  """
  names = ["/".join(_bare(name)) for name in by_name(params)]
  for start in rates:
    if not any(_starts(name, start) for name in names):
      raise BadInput(f"no parameter is called {start}: there are {', '.join(names)}")


def _rate(name: str, rates: Mapping[str, float]) -> float:
  starts = [start for start in rates if _starts(name, start)]
  return rates[max(starts, key=len)] if starts else 1.0


def _starts(name: str, start: str) -> bool:
  return name == start or name.startswith(f"{start}/")


def _bare(name: Names) -> Names:
  return name[1:] if name[:1] == ("params",) else name


def _layer(name: Names) -> int | None:
  """The recurrent layer that a parameter belongs to, from 0 at the bottom."""
  if name[:2] != ("recurrent", "core"):
    return None
  inner = name[3:] if name[2:3] == ("blocks",) else name[2:]
  return int(inner[0]) if inner and inner[0].isdigit() else None
