"""A cell that reads its own forecast of the step before, made of any core."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.types import Array, Carry, Cell, Key, Params

Layers = tuple[tuple[Array, Array], ...]  # matrix and bias of each


class FedBackParams(NamedTuple):
  """The parameters of a core, and of the map of its output to a forecast."""

  core: Params
  kernel: Array
  bias: Array


class FedBackCarry(NamedTuple):
  """The carry of a core, and the forecast `[B, …, C]` of the step before."""

  core: Carry
  last: Array


def fed_back(core: Cell, targets: int, middle: int) -> Cell:
  """Forecasts step by step: its output is `[B, C Q]`.

  Its input is `rows(…)`, `[K, B, 2 C + F]`.

  Args:
    core: reads `[B, C + F]`: the values of the step before, and what is known of this.
    targets: C.
    middle: which of the Q quantiles is fed back; 0 where there is one.
  """

  def step(params: FedBackParams, carry: FedBackCarry, row: Array):
    truth, forced, known = jnp.split(row, [targets, 2 * targets], axis=-1)
    x = jnp.concatenate([jnp.where(forced > 0, truth, carry.last), known], axis=-1)
    z = core.project(params.core, x[None])[0]
    after, y = core.step(params.core, carry.core, z)
    out = affine(y, params.kernel, params.bias)
    last = jnp.sort(out.reshape(out.shape[0], targets, -1), axis=-1)[..., middle]
    return FedBackCarry(after, last), out

  def carry(params: FedBackParams, batch: int) -> FedBackCarry:
    last = jnp.zeros((batch, targets), params.kernel.dtype)
    return FedBackCarry(core.carry(params.core, batch), last)

  def prepare(params: FedBackParams) -> FedBackParams:
    return params._replace(core=core.prepare(params.core))

  return Cell(no_init, carry, lambda params, rows: rows, step, prepare=prepare)


def rows(last: Array, truth: Array, forced: Array, known: Array) -> Array:
  """What `fed_back` reads, `[K, B, 2 C + F]`.

  Args:
    last: `[B, C]`, the last values of the past, which the first step reads.
    truth: `[K, B, C]`, the true values.
    forced: `[K, B, C]`, 1 where the next step reads the true value of this one.
    known: `[K, B, F]`, known in advance.
  """
  before = jnp.concatenate([last[None], truth[:-1]])
  given = jnp.concatenate([jnp.ones_like(last)[None], forced[:-1]])
  return jnp.concatenate([before, given, known], axis=-1)


def window_cell(width: int) -> Cell:
  """A perceptron of the last T rows, which are its carry.

  Args:
    width: T D numbers, of rows `[B, D]`.
  """

  def step(params: Layers, carry: tuple[Array], x: Array):
    window = jnp.concatenate([carry[0][:, x.shape[-1] :], x], axis=-1)
    return (window,), perceptron(params, window)

  def carry(params: Layers, batch: int) -> tuple[Array]:
    return (jnp.zeros((batch, width), jnp.float32),)

  return Cell(no_init, carry, lambda params, xs: xs, step)


def affine(x: Array, kernel: Array, bias: Array) -> Array:
  """x W + b."""
  z = x @ kernel
  return z + jnp.broadcast_to(bias, z.shape)


def perceptron(layers: Layers, x: Array) -> Array:
  """Layers of ReLU; x itself where there are none."""
  for kernel, bias in layers:
    x = jax.nn.relu(affine(x, kernel, bias))
  return x


def no_init(key: Key) -> Params:
  """The `init` of a cell that takes the parameters of the model it is a part of."""
  raise ValueError("the parameters of this cell are those of the model around it")
