"""What attention has read: keys and values of the last positions, in a ring.

It is the carry of a Transformer. Position p stands in slot p mod C, so that a step
overwrites the oldest position and moves nothing. One that grows has the last position
in its last slot.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.types import Array, Draw


class Cache(NamedTuple):
  """The carry of a Transformer.

  Attributes:
    keys: of each block, `[B, heads, C, width]`; none of a model that reads both ways.
    values: the same.
    length: int32 `[B]`, the positions since the sequence started.
    draw: the randomness of dropout.
  """

  keys: tuple[Array, ...]
  values: tuple[Array, ...]
  length: Array
  draw: Draw


class Places(NamedTuple):
  """Where the T steps of a call stand, and what they read.

  Attributes:
    position: int32 `[B, T]`, from 0 at the start of a sequence.
    here: bool `[B, T, T]`, the steps of the call that each reads.
    before: bool `[B, T, C]`, the slots of the cache that each reads.
    slot: int32 `[B, T]`, where a step is kept; C: nowhere; None of one that grows.
    length: int32 `[B]`, of the cache afterwards.
  """

  position: Array
  here: Array
  before: Array
  slot: Array | None
  length: Array


def placed(
  length: Array,
  slots: int,
  valid: Array,
  reset: Array | None,
  reach: int | None,
  grows: bool = False,
) -> Places:
  """Places the steps of a call.

  Args:
    length: of the cache, `[B]`.
    slots: C, of the cache.
    valid: bool `[T, B]`; a step that is not takes no position.
    reset: bool `[T, B]`, a sequence starts before the step; None: nowhere.
    reach: how many positions before its own a step reads; None: both sides, all.
    grows: whether the cache does.
  """
  valid = valid.T
  step = valid.astype(jnp.int32)
  passed = jnp.cumsum(step, axis=1) - step
  start = jnp.broadcast_to(-length[:, None], passed.shape)
  number = jnp.zeros_like(passed)  # of its sequence, within the call
  if reset is not None:
    start = jax.lax.cummax(jnp.where(reset.T, passed, start), axis=1)
    number = jnp.cumsum(reset.T, axis=1, dtype=jnp.int32)
  position = passed - start
  here = valid[:, None] & (number[:, :, None] == number[:, None])
  slot = jnp.arange(slots, dtype=jnp.int32)[None]
  last = length[:, None] - 1
  age = slots - 1 - slot if grows else jnp.mod(last - slot, max(slots, 1))
  held = last - age  # below 0: of no step
  before = (held >= 0)[:, None] & (number == 0)[:, :, None]
  if reach is not None:
    time = jnp.arange(passed.shape[1])
    here &= (time[None] <= time[:, None])[None]
    here &= position[:, :, None] - position[:, None] <= reach
    before &= position[:, :, None] - held[:, None] <= reach
  after = position[:, -1] + step[:, -1]
  if grows:
    return Places(position, here, before, None, after)
  kept = valid & (number == number[:, -1:]) & (position >= after[:, None] - slots)
  own = jnp.where(kept, jnp.mod(position, max(slots, 1)), slots)
  return Places(position, here, before, own, after)


def written(old: Array, new: Array, slot: Array) -> Array:
  """`old [B, heads, C, width]` with the steps of `new [B, heads, T, width]` kept."""
  if not old.shape[2]:
    return old
  row = jnp.arange(slot.shape[0])[:, None]
  steps = jnp.swapaxes(new, 1, 2).astype(old.dtype)
  return old.at[row, :, slot].set(steps, mode="drop")


def grown(old: Array, new: Array, valid: Array | None) -> Array:
  """`old [B, heads, C, width]` and behind it `new [B, heads, T, width]`.

  Args:
    old: of the cache.
    new: of a call.
    valid: bool `[T, B]`; the steps of a row that are not stand behind the others, and
      become slots before all others, which nothing reads. None: all are.
  """
  both = jnp.concatenate([old, new.astype(old.dtype)], axis=2)
  if valid is None:
    return both
  left = jnp.sum(~valid, axis=0, dtype=jnp.int32)[:, None]
  place = jnp.maximum(jnp.arange(both.shape[2], dtype=jnp.int32)[None] - left, 0)
  return jnp.take_along_axis(both, place[:, None, :, None], axis=2)
