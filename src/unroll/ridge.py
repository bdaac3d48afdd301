"""A linear read-out in closed form: ridge regression of targets on states."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.types import Array


class Moments(NamedTuple):
  """Sums over what counts; those of parts add up to those of the whole.

  Attributes:
    gram: `[H + 1, H + 1]`, of products of states, the last of which is a constant 1.
    cross: `[H + 1, K]`, of products of states and targets.
  """

  gram: Array
  cross: Array

  def __add__(self, other: "Moments") -> "Moments":  # type: ignore[override]
    return Moments(self.gram + other.gram, self.cross + other.cross)


def moments(states: Array, targets: Array, valid: Array | None = None) -> Moments:
  """What `solved` needs of some steps.

  Args:
    states: `[T, B, H]`.
    targets: `[T, B, K]`.
    valid: `[T, B]`, true where a step counts: a washout is a start that does not.
  """
  ones = jnp.ones((*states.shape[:-1], 1), states.dtype)
  states = jnp.concatenate([states, ones], axis=-1)
  if valid is not None:
    count = valid.astype(bool)[..., None]
    states, targets = (
      jnp.where(count, part, jnp.zeros_like(part)) for part in (states, targets)
    )
  rows, wanted = (part.reshape(-1, part.shape[-1]) for part in (states, targets))
  exact = jax.lax.Precision.HIGHEST
  return Moments(
    jnp.matmul(rows.T, rows, precision=exact),
    jnp.matmul(rows.T, wanted, precision=exact),
  )


def solved(sums: Moments, penalty: float = 1e-6) -> tuple[Array, Array]:
  """The kernel `[H, K]` and bias `[K]` of least squares (Hoerl & Kennard 1970).

  They minimise Σ |states · kernel + bias - targets|² + penalty · |kernel|²; the bias
  is not penalised.

  Args:
    sums: the `moments` of all steps.
    penalty: above 0, in units of a squared state.
  """
  size = sums.gram.shape[-1]
  held = penalty * jnp.eye(size, dtype=sums.gram.dtype).at[-1, -1].set(0)
  found = jax.scipy.linalg.solve(sums.gram + held, sums.cross, assume_a="pos")
  return found[:-1], found[-1]
