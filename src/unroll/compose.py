"""Cell -> Cell: deep, residual, dropout, learned initial carry."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.parameters import Elementwise
from unroll.types import (
  Array,
  BadInput,
  Carry,
  Cell,
  Derivative,
  Draw,
  Key,
  Linear,
  Params,
  is_draw,
)


class LearnedParams(NamedTuple):
  """A cell's parameters, and the initial carry without its batch, a leaf a leaf.

  A row of two or more axes is `Elementwise`.
  """

  cell: Params
  carry: Carry


def learned_carry(cell: Cell) -> Cell:
  """Makes a cell's initial carry a parameter, starting from the cell's own."""

  def init(key: Key) -> LearnedParams:
    params = cell.init(key)

    def row(leaf):
      if is_draw(leaf):
        return None
      return Elementwise(leaf[0]) if leaf.ndim > 2 else leaf[0]

    rows = jax.tree.map(row, cell.carry(params, 1), is_leaf=is_draw)
    return LearnedParams(params, rows)

  def carry(params: LearnedParams, batch: int) -> Carry:
    def rows(leaf, row):
      if is_draw(leaf):
        return leaf
      return jnp.broadcast_to(getattr(row, "value", row), leaf.shape)

    like = cell.carry(params.cell, batch)
    return jax.tree.map(rows, like, params.carry, is_leaf=is_draw)

  return Cell(
    init,
    carry,
    lambda params, xs: cell.project(params.cell, xs),
    lambda params, *at: cell.step(params.cell, *at),
    cell.derivative and _of_cell(cell.derivative),
    cell.context,
    cell.linear and _linear_of_cell(cell.linear),
    lambda params: params._replace(cell=cell.prepare(params.cell)),
    cell.chunk and cell.chunk._replace(steps=_of_params(cell.chunk.steps)),
  )


def heads(cells: Sequence[Cell]) -> Cell:
  """Cells side by side in one layer: each reads the whole input, and itself alone.

  Its recurrence is block-diagonal, as in FlashRNN (Pöppel, Beck & Hochreiter 2024).

  Args:
    cells: of one kind and size, D to H / heads.

  Returns:
    The cell; its output holds theirs, one after another: H.
  """

  def init(key: Key) -> tuple[Params, ...]:
    keys = jax.random.split(key, len(cells))
    return tuple(cell.init(own) for cell, own in zip(cells, keys))

  def carry(params: tuple[Params, ...], batch: int) -> tuple[Carry, ...]:
    return tuple(cell.carry(own, batch) for cell, own in zip(cells, params))

  def project(params: tuple[Params, ...], xs: Array) -> Array:
    zs = [cell.project(own, xs) for cell, own in zip(cells, params)]
    return jnp.concatenate(zs, axis=-1)

  def step(params: tuple[Params, ...], carry: tuple[Carry, ...], z: Array):
    zs = jnp.split(z, len(cells), axis=-1)
    both = [cell.step(*at) for cell, *at in zip(cells, params, carry, zs)]
    carries, ys = zip(*both)
    return carries, jnp.concatenate(ys, axis=-1)

  return Cell(init, carry, project, step, prepare=partial(prepare_all, cells))


def _linear_of_cell(inner: Linear) -> Linear:
  """The same for a step that is linear in the carry."""

  terms = tuple(map(_of_params, inner.terms))
  return Linear(terms, _of_params(inner.read), inner.evaluation)


def _of_params(f):
  """The same function of parameters that a cell's are one field of."""
  return lambda params, *at: f(params.cell, *at)


def _of_cell(inner: Derivative) -> Derivative:
  """The derivative of a cell whose parameters are one field among others."""

  def weights(params, before, d_saved):
    zeros = jax.tree.map(jnp.zeros_like, params)
    return zeros._replace(cell=inner.weights(params.cell, before, d_saved))

  return Derivative(
    lambda params, *step: inner.forward(params.cell, *step),
    lambda transposed, *step: inner.backward(transposed.cell, *step),
    weights,
  )


class Wiring(NamedTuple):
  """The connections between the layers of a deep network; the same for both orders.

  Attributes:
    residual: adds a layer's input to its output where the widths agree
      (He et al. 2016).
    skip: feeds the network's input to every layer beside the output below it, and
      every layer's output to the network's output (Graves 2013).
    dropout: rate between layers (Zaremba, Sutskever & Vinyals 2014).
    input_dropout: rate on the network's input.
    output_dropout: rate on the network's output.
    locked: one mask for all steps of an unroll (Gal & Ghahramani 2016), instead of
      one a step.
  """

  residual: bool = False
  skip: bool = False
  dropout: float = 0.0
  input_dropout: float = 0.0
  output_dropout: float = 0.0
  locked: bool = False

  def check(self) -> "Wiring":
    """Returns itself. Raises BadInput for a rate outside [0, 1)."""
    for name in ("dropout", "input_dropout", "output_dropout"):
      if not 0 <= getattr(self, name) < 1:
        raise BadInput(f"{name}={getattr(self, name)}: give a rate from 0 to below 1")
    return self

  def reads_input(self) -> bool:
    """Whether the network's input goes anywhere but into its first layer."""
    return self.residual or self.skip or self.input_dropout > 0

  def connect(
    self,
    layers: Sequence[Callable[[Array], tuple[Carry, Array]]],
    x: Array,
    drop: Callable[[Array, float, int], Array],
  ) -> tuple[tuple[Carry, ...], Array]:
    """Sends `x` through the layers.

    Args:
      layers: each `x -> (carry, y)`, over a step or over all of T.
      x: `[..., D]`, a step's input or a sequence.
      drop: `(array, rate, site) -> array`.

    Returns:
      The carries of the layers, and the output; skip connections concatenate the last
      axis.
    """
    carries, outputs = [], []
    below = source = drop(x, self.input_dropout, 0)
    for site, layer in enumerate(layers, start=1):
      if site > 1:
        below = drop(below, self.dropout, site)
        if self.skip:
          below = jnp.concatenate([below, source], axis=-1)
      carry, y = layer(below)
      if self.residual and y.shape == below.shape:
        y = y + below
      carries.append(carry)
      outputs.append(y)
      below = y
    out = jnp.concatenate(outputs, axis=-1) if self.skip else below
    return tuple(carries), drop(out, self.output_dropout, len(layers) + 1)

  def input_sizes(self, input_size: int, hidden_sizes: Sequence[int]) -> list[int]:
    """The width of what each layer is fed."""
    if not self.skip:
      return [input_size, *hidden_sizes[:-1]]
    return [input_size, *(h + input_size for h in hidden_sizes[:-1])]

  def output_size(self, hidden_sizes: Sequence[int]) -> int:
    """The width of the network's output."""
    return sum(hidden_sizes) if self.skip else hidden_sizes[-1]


class DeepCarry(NamedTuple):
  """The carries of the layers, first to last, and the randomness of the dropout."""

  layers: tuple[Carry, ...]
  draw: Draw


def no_draw() -> Draw:
  """The Draw of a carry without a key: deterministic."""
  return Draw(None, jnp.zeros((), jnp.int32))


def mask(draw: Draw, shape: tuple[int, ...], rate: float, site: int, locked: bool):
  """Inverted-dropout factors: 0 with probability `rate`, else 1 / (1 - rate).

  Args:
    draw: the randomness; its key must be there.
    shape: `[B, …]` of one step.
    rate: the dropout rate, resolved to 1 / 65,536.
    site: which of a network's masks this is.
    locked: leaves the step out of the draw.

  Returns:
    Factors `[B, …]`, a function of the key, the step, and the site.
  """
  assert draw.key is not None
  key = jax.random.fold_in(draw.key, site)
  if not locked:
    key = jax.random.fold_in(key, draw.t)
  # 16 random bits an element are half the work of 32, and the draw is what costs.
  kept = round((1 - rate) * 65536)
  bits = jax.random.bits(key, shape, jnp.uint16).astype(jnp.int32)
  return jnp.where(bits < kept, jnp.float32(65536 / kept), jnp.float32(0))


def deep(*cells: Cell, wiring: Wiring | None = None) -> Cell:
  """Layers of cells as one cell: all layers at each step.

  `layers.stacked` is the other order, layer by layer over all of T, with the same
  parameters and carry; the two are equal.

  Args:
    *cells: first layer to last; widths may differ.
    wiring: what stands between them; nothing by default.

  Returns:
    The cell. Its parameters are the tuple of its layers' parameters. A context goes to
    every layer that reads one.
  """
  wiring = (wiring or Wiring()).check()

  def step(params, carry: DeepCarry, x: Array, *context):
    def layer(cell, params, carry):
      read = context if cell.context else ()
      # One step is a sequence of length 1 for the time-parallel half.
      return lambda x: cell.step(params, carry, cell.project(params, x[None])[0], *read)

    def drop(x, rate, site):
      if rate == 0 or carry.draw.key is None:
        return x
      return x * mask(carry.draw, x.shape, rate, site, wiring.locked).astype(x.dtype)

    layers = [layer(*both) for both in zip(cells, params, carry.layers, strict=True)]
    carries, y = wiring.connect(layers, x, drop)
    return DeepCarry(carries, carry.draw._replace(t=carry.draw.t + 1)), y

  return Cell(
    init=lambda key: init_all(cells, key),
    carry=lambda params, batch: DeepCarry(carry_all(cells, params, batch), no_draw()),
    project=lambda params, xs: xs,
    step=step,
    context=any(cell.context for cell in cells),
    prepare=partial(prepare_all, cells),
  )


def prepare_all(cells: Sequence[Cell], params: tuple[Params, ...]) -> tuple:
  """What each of several cells makes of its parameters once a sequence."""
  return tuple(cell.prepare(own) for cell, own in zip(cells, params, strict=True))


def init_all(cells, key: Key) -> tuple[Params, ...]:
  """Parameters of several cells or layers, each drawn from another key."""
  keys = jax.random.split(key, len(cells))
  return tuple(cell.init(k) for cell, k in zip(cells, keys, strict=True))


def carry_all(cells, params, batch: int) -> tuple[Carry, ...]:
  """Initial carries of several cells or layers."""
  return tuple(c.carry(p, batch) for c, p in zip(cells, params, strict=True))
