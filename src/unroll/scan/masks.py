"""The masks of a step: `valid` holds the carry, `reset` starts it again."""

import jax
import jax.numpy as jnp

from unroll.scan.precision import narrowed, widened
from unroll.types import Array, Carry, is_draw


def where(mask: Array, new: Array, old: Array) -> Array:
  """`new` where the mask `[..., B]` is true, else `old`, both `[..., B, ...]`."""
  return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - mask.ndim)), new, old)


def masked(xs: Array, valid: Array) -> Array:
  """`xs [T, B, ...]` with zeros, whatever stood there, where `valid` is false."""
  return where(valid.astype(bool), xs, jnp.zeros_like(xs))


def select(mask: Array, new: Carry, old: Carry) -> Carry:
  """`new` where the mask is true, else `old`; a Draw has no rows: the new one."""
  return jax.tree.map(
    lambda n, o: n if is_draw(n) else where(mask, n, o),
    new,
    old,
    is_leaf=is_draw,
  )


def masked_step(step, params, carry, initial, context, z, masks):
  """A step that starts afresh where `reset`, and holds the carry where not `valid`."""
  valid, reset = masks
  if reset is not None:
    carry = select(~reset, carry, initial)
  new, y = step(params, carry, z, *context)
  if valid is not None:
    new, y = select(valid, new, carry), masked(y, valid)
  return new, y


def plain(step, params, carry, initial, context, zs, masks, reverse, every):
  """The scan as JAX has it: the last carry, or every one, and ys."""
  constants = (params, initial, context)
  wide = widened(constants)

  def body(carry, inputs):
    z, masks = inputs
    own, fresh, read = narrowed(wide, constants)
    carry, y = masked_step(step, own, carry, fresh, read, z, masks)
    return carry, (y, carry if every else None)

  carry, (ys, carries) = jax.lax.scan(body, carry, (zs, masks), reverse=reverse)
  return carries if every else carry, ys
