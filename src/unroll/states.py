"""A carry as a vector: its states side by side, `[B, S]`, and back.

The states are the floating leaves of a carry, but for what it notes of its inputs
(`Noted`). Draws are none.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from unroll.types import Array, BadInput, Carry, Cell, Noted, Params, is_draw


def sizes(cell: Cell, params: Params) -> dict[str, int]:
  """The states of a cell by name, `layers/0/h`, and the numbers of each in a row.

  Raises:
    BadInput: the cell has none.
  """
  carry = jax.eval_shape(lambda: cell.carry(params, 1))
  found = {_name(path): leaf.size for path, leaf in _nodes(carry) if is_state(leaf)}
  if not found:
    raise BadInput("this cell has no state that a gradient could flow through")
  return found


def parts(carry: Carry) -> list[Array]:
  """The states of a carry, each `[B, …]`."""
  return list(_of(carry))


def vector(carry: Carry) -> Array:
  """The states of a carry, `[B, S]`."""
  rows = [leaf.reshape(leaf.shape[0], -1) for leaf in _of(carry)]
  return jnp.concatenate(rows, axis=-1)


def moved(carry: Carry, change: Array) -> Carry:
  """The carry with `change [B, S]` added to its states."""
  ends = list(itertools.accumulate(leaf[0].size for leaf in _of(carry)))
  parts = iter(jnp.split(change, ends[:-1], axis=-1))

  def one(leaf: Any) -> Any:
    if not is_state(leaf):
      return leaf
    return leaf + next(parts).reshape(leaf.shape).astype(leaf.dtype)

  return jax.tree.map(one, carry, is_leaf=is_aside)


def named(vectors: Array, of: dict[str, int]) -> dict[str, Array]:
  """Vectors `[…, S]` cut into states by name, `of` as from `sizes`."""
  ends = list(itertools.accumulate(of.values()))
  return dict(zip(of, jnp.split(vectors, ends[:-1], axis=-1)))


def _of(carry: Carry) -> Iterator[Array]:
  return (leaf for _, leaf in _nodes(carry) if is_state(leaf))


def _nodes(carry: Carry) -> list[tuple[tuple, Any]]:
  return jax.tree_util.tree_leaves_with_path(carry, is_leaf=is_aside)


def is_aside(node: Any) -> bool:
  """Whether a node of a carry holds no states of units: a Draw, or a Noted."""
  return is_draw(node) or isinstance(node, Noted)


def is_state(node: Any) -> bool:
  """Whether a node of a carry, or of a gradient to it, is a state."""
  return not is_aside(node) and jnp.issubdtype(node.dtype, jnp.floating)


def _name(path: tuple) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")
