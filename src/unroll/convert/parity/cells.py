"""A trial by cells of a library without layers: our scan takes their steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from unroll import layers
from unroll.convert import stacks
from unroll.convert.framework import Framework
from unroll.convert.parity import Measured, Named, Trial, by_jax
from unroll.convert.stacks import Stack
from unroll.types import Array, Cell

Step = Callable[[int, dict[str, Array], tuple[Array, ...], Array], tuple[Array, ...]]


def run_steps(
  step: Step, there: Framework, arrays: Named, stack: Stack, given: Trial
) -> Measured:
  """A trial by steps.

  Args:
    step: (width, arrays within a layer by name, state, x) -> state: c, h of an LSTM.
    there: the library.
    arrays: by name.
    stack: the layers.
    given: the trial.
  """

  def cell(width: int) -> Cell:
    def once(params, carry, x):
      after = step(width, params, carry, x)
      return after, after[-1]

    def carry(params, batch):
      zero = jnp.zeros((batch, width), jnp.float32)
      return (zero, zero) if "lstm" in stack.cell else (zero,)

    return Cell(lambda key: {}, carry, lambda params, xs: xs, once)

  parts: list[Any] = [cell(width) for width in stack.hidden]
  if stack.directions == 2:
    parts = [layers.bidirectional(part, part) for part in parts]
  layer = layers.stacked(*parts)

  def forward(arrays, xs):
    params = tuple(
      own if len(own) > 1 else own[0] for own in _parted(there, stack, arrays)
    )
    carry = layer.carry(params, xs.shape[1])
    valid = jnp.asarray(given.valid)
    after, ys = layer.unroll(params, carry, xs, valid=valid, backward="autodiff")
    return ys, jax.tree.leaves(after.layers)

  return by_jax(forward, arrays, given)


def _parted(
  there: Framework, stack: Stack, arrays: dict[str, Array]
) -> list[tuple[dict[str, Array], ...]]:
  """The arrays of each layer and direction, by their names within it."""

  def own(number: int, side: int) -> dict[str, Array]:
    prefix = stacks.called(there, stack, number, side).removesuffix("{}")
    found = {n.removeprefix(prefix): a for n, a in arrays.items()}
    return {n: found[n] for n in found if prefix + n in arrays}

  return [
    tuple(own(number, side) for side in range(len(layer)))
    for number, layer in enumerate(stack.layers)
  ]
