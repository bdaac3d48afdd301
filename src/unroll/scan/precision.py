"""Half-precision values that every step of a loop reads: their gradients add up wide.

The gradient of what a scan reads at every step is summed step by step, in the type of
what enters the scan. A sum of bfloat16 numbers stops growing at 256 of them. Values
therefore enter as float32, and are rounded back, exactly, in the step.
"""

import jax
import jax.numpy as jnp

from unroll.types import Array, Carry


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


def at_least_as_wide(carry: Carry, zs: Array) -> Carry:
  """The carry in the type of the projected inputs, where that is the wider one."""

  def promoted(leaf):
    wider = _is_real(leaf) and leaf.dtype.itemsize < zs.dtype.itemsize
    return leaf.astype(zs.dtype) if wider else leaf

  return jax.tree.map(promoted, carry) if _is_real(zs) else carry


def cast_like(carry: Carry, like: Carry) -> Carry:
  """The carry in the types of another."""
  return jax.tree.map(
    lambda leaf, old: leaf.astype(old.dtype) if _is_real(old) else leaf, carry, like
  )


def _is_real(leaf) -> bool:
  return jnp.issubdtype(leaf.dtype, jnp.floating)


def _is_half(leaf) -> bool:
  return _is_real(leaf) and leaf.dtype.itemsize < 4
