"""Results of a `custom_vjp` under `vmap`."""

import functools
import operator

import jax
import jax.numpy as jnp

from unroll.scan.precision import is_real


def batched_alike(results, given):
  """Results that a vmap batches, all of them, if it batches anything that is given.

  Where it batches some results of a `custom_vjp` and not others, JAX 0.10.2 adds up
  the gradient of the others over the batch once too often. XLA takes the choice between
  a result and itself out again.
  """
  always = functools.reduce(
    operator.and_,
    # Of no elements: it depends on the array in name only.
    (
      jnp.prod(leaf[(slice(0, 0),) * leaf.ndim]) > 0
      for leaf in jax.tree.leaves(given)
      if is_real(leaf) and leaf.ndim
    ),
  )

  def tied(leaf):
    return jax.lax.select_n(always, leaf, leaf) if is_real(leaf) else leaf

  return jax.tree.map(tied, results)
