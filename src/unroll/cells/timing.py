"""The time between steps, as cells read it: the last column of their inputs.

A cell that is `timed` takes `[T, B, D]` of D - 1 features and, last, the time since the
step that was read before. A cell that is not takes D features, and every step takes 1.
A time below 0 counts as 0. Where a scan runs in reverse, the step that was read before
is that to the right.
"""

from collections.abc import Callable

import jax.numpy as jnp

from unroll.types import Array, BadInput


def features(input_size: int, timed: bool) -> int:
  """How many of D inputs are features.

  Raises:
    BadInput: if the time is the only input.
  """
  if timed and input_size < 2:
    raise BadInput(
      f"timed: the last input is the time since the step before, and there are "
      f"{input_size} in all: give features before it"
    )
  return input_size - timed


def projected(make: Callable[[Array], Array], xs: Array, timed: bool) -> Array:
  """`make` of the features, and behind it the time where there is one.

  Args:
    make: `[T, B, features] -> [T, B, G]`.
    xs: `[T, B, D]`.
    timed: whether the last column is the time.

  Returns:
    `[T, B, G]`, or `[T, B, G + 1]`.
  """
  if not timed:
    return make(xs)
  time = jnp.maximum(xs[..., -1:], 0)
  return jnp.concatenate([make(xs[..., :-1]), time], axis=-1)


def parted(z: Array, timed: bool) -> tuple[Array, Array | float]:
  """What `projected` made at one step `[B, G]`, and its time `[B, 1]`, or 1."""
  return (z[..., :-1], z[..., -1:]) if timed else (z, 1.0)
