"""The leaves of a saved state: what they are called, their types, and back again."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unroll.types import BadInput


def check_same_model(path: Path, saved: dict[str, str], like: dict[str, str]) -> None:
  """Refuses the checkpoint of another model.

  Args:
    path: the checkpoint, for the error.
    saved: `specs` of the state that was saved.
    like: `specs` of the state to restore into.

  Raises:
    BadInput: if a leaf has another name, shape or type.
  """
  for name in [*like, *saved]:
    there, here = saved.get(name, "missing"), like.get(name, "missing")
    if there != here:
      raise BadInput(
        f"checkpoint {path} is of another model: state{name} is {there} there and "
        f"{here} here; give the options it was trained with, or another directory"
      )


def specs(state: Any) -> dict[str, str]:
  """The type of each leaf by its path, as "float32[2, 3]": what `like` must share."""
  found = {}
  for path, leaf in jax.tree.leaves_with_path(state):
    name = jax.tree_util.keystr(path)
    if hasattr(leaf, "dtype"):
      found[name] = f"{leaf.dtype}{list(leaf.shape)}"
    elif isinstance(leaf, (bool, int, float, complex)):
      found[name] = type(leaf).__name__
    else:
      raise TypeError(f"state{name} is a {type(leaf).__name__}, not an array or number")
  return found


def raw(leaf: Any) -> Any:
  """A leaf as an array that can be saved: the data of a key."""
  return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _is_key(leaf: Any) -> bool:
  return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def placed(array: np.ndarray | None, like: Any) -> Any:
  """A leaf of the same kind as `like`, where `like` lives."""
  if array is None:
    array = np.empty(like.shape, like.dtype)  # of size zero, see `save`
  if isinstance(like, np.ndarray):
    return array
  if isinstance(like, (bool, int, float, complex, np.generic)):
    return type(like)(array.item())
  # An uncommitted array stays so: committing it would compile the step a second time.
  placed = getattr(like, "committed", True)
  leaf = jax.device_put(array, like.sharding if placed else None)
  return jax.random.wrap_key_data(leaf, impl=like.dtype) if _is_key(like) else leaf
