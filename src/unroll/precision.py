"""Numbers of several types in one computation."""

from typing import Any

import jax
import jax.numpy as jnp

from unroll.types import Array, Params


def in_one_type(*trees: Any) -> tuple[Any, ...]:
  """The trees, their floating leaves in the widest type among them."""
  # NumPy's float64 is what JAX makes of it, float32 by default.
  floating = {
    jax.dtypes.canonicalize_dtype(leaf.dtype)
    for leaf in jax.tree.leaves(trees)
    if _is_floating(leaf)
  }
  if len(floating) < 2:
    return trees
  with jax.numpy_dtype_promotion("standard"):
    widest = jnp.result_type(*floating)
  return jax.tree.map(
    lambda leaf: jnp.asarray(leaf, widest) if _is_floating(leaf) else leaf, trees
  )


def type_of_matrices(params: Params) -> Any:
  """The widest type among the matrices `[N, M]`; None if there are none."""
  types = {leaf.dtype for leaf in jax.tree.leaves(params) if leaf.ndim == 2}
  with jax.numpy_dtype_promotion("standard"):
    return jnp.result_type(*types) if types else None


def _is_floating(leaf: Array) -> bool:
  return jnp.issubdtype(leaf.dtype, jnp.floating)
