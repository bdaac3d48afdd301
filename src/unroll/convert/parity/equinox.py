"""A trial by the cells of Equinox; this file alone imports it."""

import equinox as eqx
import jax

from unroll.convert.parity import Measured, Named, Trial
from unroll.convert.parity.cells import run_steps
from unroll.convert.stacks import Stack
from unroll.convert.tables.equinox import EQUINOX


def run(arrays: Named, stack: Stack, given: Trial) -> Measured:
  """A trial by Equinox."""
  make = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}[stack.cell]

  def step(width, own, state, x):
    cell = make(x.shape[-1], width, key=jax.random.key(0))
    names = list(own)
    held = [own[name] for name in names]
    cell = eqx.tree_at(lambda cell: [getattr(cell, name) for name in names], cell, held)
    if stack.cell == "lstm":
      h, c = jax.vmap(cell)(x, (state[1], state[0]))
      return c, h
    return (jax.vmap(cell)(x, state[0]),)

  return run_steps(step, EQUINOX, arrays, stack, given)
