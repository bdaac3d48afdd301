"""Half-precision values that every step of a loop reads: their gradients add up wide.

The gradient of what a scan reads at every step is summed step by step, in the type of
what enters the scan. A sum of bfloat16 numbers stops growing at 256 of them. Values
therefore enter as float32, and are rounded back, exactly, in the step.
"""

import jax
import jax.numpy as jnp

from unroll.parameters import matrices
from unroll.types import Carry, Params


def widened(tree):
  """The tree with its leaves of less than 32 bits as float32."""
  return jax.tree.map(
    lambda leaf: leaf.astype(jnp.float32) if _is_half(leaf) else leaf, tree
  )


def narrowed(tree, like):
  """A `widened` tree with the types that it had, those of `like`."""
  return jax.tree.map(
    lambda leaf, old: leaf.astype(old.dtype) if _is_half(old) else leaf, tree, like
  )


def widest_type(*trees):
  """The widest of the floating types of the trees' leaves."""
  types = {leaf.dtype for leaf in jax.tree.leaves(trees) if is_real(leaf)}
  types = {jax.dtypes.canonicalize_dtype(dtype) for dtype in types}  # of NumPy's
  with jax.numpy_dtype_promotion("standard"):
    return jnp.result_type(*types)


def in_type(tree, dtype):
  """The tree with its floating leaves in a type."""
  return jax.tree.map(lambda leaf: leaf.astype(dtype) if is_real(leaf) else leaf, tree)


def vectors_in_type(params: Params, dtype) -> Params:
  """Parameters with those in a type that are no matrices.

  What a matrix multiplies is rounded to its own type, by the products of `linear`.
  """
  return jax.tree.map(
    lambda leaf, matrix: leaf if matrix else in_type(leaf, dtype),
    params,
    matrices(params),
  )


def in_one_type(params: Params, carry: Carry, xs, context):
  """The inputs of a scan, all but matrices in the widest type of all."""
  dtype = widest_type(params, carry, xs, context)
  return vectors_in_type(params, dtype), *in_type((carry, xs, context), dtype)


def cast_like(carry: Carry, like: Carry) -> Carry:
  """The carry in the types of another."""
  return jax.tree.map(
    lambda leaf, old: leaf.astype(old.dtype) if is_real(old) else leaf, carry, like
  )


def is_real(leaf) -> bool:
  """Whether a leaf is of floating numbers."""
  return jnp.issubdtype(leaf.dtype, jnp.floating)


def _is_half(leaf) -> bool:
  return is_real(leaf) and leaf.dtype.itemsize < 4
