"""From one model to another: parameters taken by name, and how far each is trained."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from unroll.models.built import Meaning, Meanings
from unroll.names import Names, by_name
from unroll.types import Array, BadInput, Params


class Donor(NamedTuple):
  """What parameters are taken from.

  Attributes:
    params: of another model.
    meanings: what their rows and columns stand for.
  """

  params: Params
  meanings: Meanings


class Taken(NamedTuple):
  """What was taken.

  Attributes:
    params: the parameters, completed by those of another model.
    names: those that were taken, whole or in part.
    left: those that were not.
    parts: of those taken in part, by name, how many entries the other model has of all.
  """

  params: Params
  names: tuple[str, ...]
  left: tuple[str, ...]
  parts: Mapping[str, tuple[int, int]]


def taken(params: Params, donor: Donor, own: Meanings) -> Taken:
  """Takes the parameters of another model that have the name and shape of these.

  Rows and columns go by what they stand for, as those of an embedding by their tokens:
  what the other model does not have stays as it is.

  Args:
    params: as they start.
    donor: the other model.
    own: what the rows and columns of `params` stand for.

  Returns:
    Parameters of the structure and types of `params`.
  """
  held = {_bare(name): leaf for name, leaf in by_name(donor.params).items()}
  leaves, treedef = jax.tree.flatten(params)
  found, names, left, parts = [], [], [], {}
  for (name, mine), leaf in zip(by_name(params).items(), leaves):
    bare, free = _bare(name), (None,) * mine.ndim
    whole = "/".join(bare)
    axes = own.get(bare, free), donor.meanings.get(bare, free)
    new: Array | NDArray | None = held.get(bare)
    if new is not None and axes[0] != axes[1]:
      new, count = _by_meaning(mine, new, *axes)
      if new is not None:
        parts[whole] = count
    if new is None or new.shape != mine.shape:
      left.append(whole)
      found.append(leaf)
    else:
      names.append(whole)
      found.append(jnp.asarray(new, mine.dtype))
  return Taken(jax.tree.unflatten(treedef, found), tuple(names), tuple(left), parts)


def _by_meaning(
  own: Array, new: Array | NDArray, mine: Meaning, theirs: Meaning
) -> tuple[NDArray | None, tuple[int, int]]:
  """An array with the entries of another that stand for the same, and their count."""
  none = None, (0, 0)
  here: list[list[int]] = []
  there: list[list[int]] = []
  for size, other, known, given in zip(own.shape, new.shape, mine, theirs, strict=True):
    if known is None or given is None:
      if known is not given or size != other:
        return none
      here.append([*range(size)])
      there.append([*range(size)])
      continue
    if (len(known), len(given)) != (size, other):
      return none
    places = {meaning: i for i, meaning in enumerate(given)}
    both = [(i, places[m]) for i, m in enumerate(known) if m in places]
    if not both:
      return none
    here.append([i for i, _ in both])
    there.append([i for _, i in both])
  table = np.array(own)
  table[np.ix_(*here)] = np.asarray(new)[np.ix_(*there)]
  counts = [(len(at), len(m)) for at, m in zip(here, mine) if m is not None]
  return table, counts[0]


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
