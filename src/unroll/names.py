"""Pytrees by the names of their leaves: as nested dicts, and back."""

import math
from typing import Any

import jax
from flax import traverse_util

from unroll.types import Array

Names = tuple[str, ...]  # of a leaf, level by level: ("0", "w_x") of a stack


def by_name(tree: Any) -> dict[Names, Array]:
  """The leaves of a pytree, whether its levels are dicts, tuples or NamedTuples."""
  return {
    tuple(jax.tree_util.keystr((key,), simple=True) for key in path): leaf
    for path, leaf in jax.tree.leaves_with_path(tree)
  }


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  """The shapes of the leaves by their names, level by level: `recurrent/0/w_x`."""
  leaves = by_name(tree).items()
  return {"/".join(n for n in name if n != "params"): v.shape for name, v in leaves}


def summary(tree: Any) -> str:
  """Parameters as a table to print: name, shape and count of each, and of all."""
  found = shapes(tree)
  counts = [math.prod(shape) for shape in found.values()]
  sizes = [" by ".join(map(str, shape)) or "a number" for shape in found.values()]
  told = [f"{count:,}" for count in counts]
  rows = [("parameter", "shape", "count"), *zip(found, sizes, told)]
  rows.append(("all", "", f"{sum(counts):,}"))
  wide, long, most = (max(map(len, column)) for column in zip(*rows))
  return "\n".join(f"{a:{wide}}  {b:{long}}  {c:>{most}}" for a, b, c in rows)


def nested(tree: Any) -> Any:
  """The same leaves under the same names in nested dicts; a bare array as it is."""
  leaves = by_name(tree)
  return leaves[()] if () in leaves else traverse_util.unflatten_dict(leaves)


def rebuilt(tree: Any, like: Any, of: Names) -> Any:
  """A pytree of the structure of `like`, from a tree whose leaves have its names.

  Args:
    tree: nested dicts, or the structure itself.
    like: the structure, with the shapes of its leaves.
    of: what the tree is called, for the message.

  Raises:
    ValueError: if a name or a shape is not that of `like`.
  """
  held, wanted = by_name(tree), by_name(like)
  for name in [*wanted, *held]:
    found, needed = (
      list(leaves[name].shape) if name in leaves else "missing"
      for leaves in (held, wanted)
    )
    if found != needed:
      raise ValueError(
        f"{'/'.join(of + name)} is {found} in the given parameters and {needed} in "
        "the module: give the parameters of this module"
      )
  return jax.tree.unflatten(jax.tree.structure(like), [held[name] for name in wanted])
