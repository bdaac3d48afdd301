"""Influence balancing: a system of which truncated gradients have the wrong sign."""

import jax.numpy as jnp
import numpy as np

from unroll.types import Array, Cell


def influence_balancing(units: int = 23, positive: int = 10) -> Cell:
  """s' = A s + θ (1, …, 1, -1, …, -1), with A = ½ I + ½ on the diagonal above.

  What the first unit is told of θ comes from the units behind it, one after another:
  those nearby push it up, and the more numerous ones further back push it down. The
  derivative of s_1 to θ is therefore positive through the 40 steps before, of 23 units
  of which 10 are positive, and -6 through all of them (Tallec & Ollivier 2018). The
  loss is ½ (s_1 - 1)²; its least is at θ = -1/6.

  Args:
    units: n.
    positive: p, of the signs of θ.

  Returns:
    The cell. Its parameter is the scalar θ; it reads nothing of its input `[T, B, …]`;
    its output is s_1, `[B, 1]`.
  """
  transition = 0.5 * (np.eye(units) + np.eye(units, k=1))
  signs = np.where(np.arange(units) < positive, 1.0, -1.0)

  def step(theta: Array, s: Array, z: Array) -> tuple[Array, Array]:
    del z
    read = s @ jnp.asarray(transition.T, s.dtype)
    s = read + jnp.broadcast_to(theta * jnp.asarray(signs, theta.dtype), s.shape)
    return s, s[:, :1]

  return Cell(
    init=lambda key: jnp.asarray(0.5, float),
    carry=lambda theta, batch: jnp.zeros((batch, units), theta.dtype),
    project=lambda theta, xs: xs,
    step=step,
  )
