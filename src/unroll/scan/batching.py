"""Results of a `custom_vjp` under `vmap`."""

import functools
import operator

import jax
import jax.numpy as jnp

from unroll.scan.precision import is_real


def batched_alike(results, given):
  """Results that a vmap batches, all of them, if it batches anything that is given.

  Where it batches some results of a `custom_vjp` and not others, JAX 0.10.2 adds up
  the gradient of the others over the batch once too often. The condition is constant:
  XLA takes it out again.
  """
  leaves = [leaf for leaf in jax.tree.leaves(given) if is_real(leaf) and leaf.ndim]
  always = functools.reduce(operator.and_, map(_holds, leaves))

  def tied(leaf):
    return jnp.where(always, leaf, jnp.zeros_like(leaf)) if is_real(leaf) else leaf

  return jax.tree.map(tied, results)


def _holds(leaf):
  """True: a product of no elements, which depends on the array in name only."""
  leaf = jax.lax.stop_gradient(leaf)
  return jnp.prod(jax.lax.slice(leaf, [0] * leaf.ndim, [0] * leaf.ndim)) > 0
