"""What regularises a recurrence: zoneout, dropout of the state, noise on its weights.

Each is a composition, of any cell. All draw in training alone, where the carry has a
key (`types.seed`); see `compose.Wiring` for dropout between layers.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll.compose import mask, no_draw
from unroll.layers.sequences import Layer, advanced, as_layer
from unroll.parameters import completed, is_matrix
from unroll.states import is_aside
from unroll.types import Array, BadInput, Carry, Cell, Draw, Params

_SITES = 2**20  # of the masks here; those between layers are few


class DrawnCarry(NamedTuple):
  """The carry of a cell or layer, and the randomness of what is drawn around it."""

  inner: Carry
  draw: Draw


def zoneout(cell: Cell, rates: float | Sequence[float]) -> Cell:
  """Zoneout (Krueger et al. 2017): some units keep their state for a step.

  In training a unit's new state is dropped for the old one at its rate, drawn at each
  step; without a key it is the expectation, rate · old + (1 - rate) · new. An output
  that is a state, as an LSTM's h, is what is kept of it.

  Args:
    cell: the cell.
    rates: of each state in the order of the carry, such as c and h of an LSTM, whose
      authors take 0.5 and 0.05; or one for all.

  Returns:
    The cell. It brings no derivative of its own.

  Raises:
    BadInput: a rate is not from 0 to 1, or there are not as many as states.
  """
  one = not isinstance(rates, Sequence)
  given: tuple[float, ...] = (rates,) if one else tuple(rates)  # type: ignore
  for rate in given:
    _check("zoneout", rate, closed=True)

  def step(params: Params, carry: DrawnCarry, z: Array, *context: Any):
    after, y = cell.step(params, carry.inner, z, *context)
    olds = jax.tree.leaves(carry.inner, is_leaf=is_aside)
    news, treedef = jax.tree.flatten(after, is_leaf=is_aside)
    states = [i for i, leaf in enumerate(news) if not is_aside(leaf)]
    if not one and len(states) != len(given):
      raise BadInput(
        f"zoneout={','.join(map(str, given))}: give one rate for all "
        f"states, or one for each: the cell's carry has {len(states)}"
      )
    kept = list(news)
    for site, i in enumerate(states):
      rate = given[0] if one else given[site]
      kept[i] = _zoned(carry.draw, olds[i], news[i], rate, _SITES + site)
      y = kept[i] if y is news[i] else y
    draw = carry.draw._replace(t=carry.draw.t + 1)
    return DrawnCarry(jax.tree.unflatten(treedef, kept), draw), y

  return _around(cell, step)


def _zoned(draw: Draw, old: Array, new: Array, rate: float, site: int) -> Array:
  if rate == 0:
    return new
  if rate == 1:
    return old
  if draw.key is None:
    return rate * old + (1 - rate) * new
  return jnp.where(mask(draw, new.shape, rate, site, locked=False) > 0, new, old)


def dropped_state(cell: Cell, rate: float, *, locked: bool = True) -> Cell:
  """Dropout of what a step's recurrent products read; the memory itself stays whole.

  Every `x @ w` of a step reads x times a mask, but for matrices named `w_x`. With one
  mask for all steps this is the recurrent half of Gal & Ghahramani (2016), all gates of
  a matrix sharing theirs; with one a step that of Moon et al. (2015).

  Args:
    cell: the cell.
    rate: of units that are dropped, in [0, 1).
    locked: one mask for all steps of an unroll, or one a step.

  Returns:
    The cell. It brings no derivative of its own.

  Raises:
    BadInput: the rate is not from 0 to below 1.
  """
  _check("recurrent_dropout", rate)

  def step(params: Params, carry: DrawnCarry, z: Array, *context: Any):
    draw = carry.draw
    if rate and draw.key is not None:
      params = _each(
        params,
        is_recurrent,
        lambda site, w: _Reading(w, draw, rate, _SITES + site, locked),
      )
    after, y = cell.step(params, carry.inner, z, *context)
    return DrawnCarry(after, draw._replace(t=draw.t + 1)), y

  return _around(cell, step)


class _Reading:
  """A matrix that reads what it is multiplied by through a mask."""

  def __init__(self, w: Any, draw: Draw, rate: float, site: int, locked: bool):
    self._w, self._mask = w, (rate, site, locked)
    self._draw = draw

  def __rmatmul__(self, x: Array) -> Array:
    return (x * mask(self._draw, x.shape, *self._mask).astype(x.dtype)) @ self._w

  def __getattr__(self, name: str) -> Any:
    return getattr(self._w, name)


def dropconnect(part: Cell | Layer, rate: float) -> Layer:
  """DropConnect of recurrent matrices, as AWD-LSTM has it (Merity et al. 2018).

  Elements of every matrix but those named `w_x` are dropped, the same for all steps and
  sequences of an unroll; the others are divided by 1 - rate. The mask is applied before
  the loop, so that the cell's own derivative is used.

  Args:
    part: a cell or a layer.
    rate: of elements that are dropped, in [0, 1).

  Raises:
    BadInput: the rate is not from 0 to below 1.
  """
  _check("weight_dropout", rate)

  def drop(draw: Draw, params: Params) -> Params:
    return _each(
      params,
      is_recurrent,
      lambda site, w: (
        w * mask(draw, w.shape, rate, _SITES + site, True).astype(w.dtype)
      ),
    )

  return _weights_drawn(as_layer(part), drop if rate else None)


def weight_noise(part: Cell | Layer, deviation: float) -> Layer:
  """Gaussian noise on every matrix that is trained, input and recurrent (Graves 2011).

  It is drawn once an unroll, the same for all steps and sequences of it, and added
  before the loop, so that the cell's own derivative is used.

  Args:
    part: a cell or a layer.
    deviation: the standard deviation; Graves takes 0.075.

  Raises:
    BadInput: the deviation is negative or not finite.
  """
  if not 0 <= deviation < math.inf:
    raise BadInput(f"weight_noise={deviation}: give a deviation of 0 or more")

  def shake(draw: Draw, params: Params) -> Params:
    assert draw.key is not None
    key = jax.random.fold_in(draw.key, _SITES)

    def noisy(number: int, w: Any) -> Any:
      own = jax.random.fold_in(key, number)
      return w + (deviation * jax.random.normal(own, w.shape)).astype(w.dtype)

    return completed(_each(params, is_matrix, noisy), params)

  return _weights_drawn(as_layer(part), shake if deviation else None)


def _weights_drawn(
  layer: Layer, change: Callable[[Draw, Params], Params] | None
) -> Layer:
  """A layer whose parameters are changed once an unroll, where there is a key."""

  def unroll(params: Params, carry: DrawnCarry, xs: Any, **options: Any):
    draw = carry.draw
    if change is not None and draw.key is not None:
      params = change(draw, params)
    inner, ys = layer.unroll(params, carry.inner, xs, **options)
    steps = {name: options.get(name, False) for name in ("every", "reverse")}
    return DrawnCarry(inner, advanced(draw, xs.shape[0], **steps)), ys

  return Layer(
    layer.init,
    lambda params, batch: DrawnCarry(layer.carry(params, batch), no_draw()),
    unroll,
    layer.context,
  )


def is_recurrent(path: tuple[Any, ...], leaf: Any) -> bool:
  """Whether a parameter of a cell is a matrix, but not that of the input, `w_x`."""
  name = jax.tree_util.keystr(path[-1:], simple=True)
  return is_matrix(path, leaf) and name != "w_x"


def _each(
  params: Params,
  meant: Callable[[tuple[Any, ...], Any], bool],
  make: Callable[[int, Any], Any],
) -> Params:
  """Parameters with `make(number, matrix)` for each that is `meant`."""
  numbers = itertools.count()

  def at(path: tuple[Any, ...], leaf: Any) -> Any:
    number = next(numbers)
    return make(number, leaf) if meant(path, leaf) else leaf

  return jax.tree_util.tree_map_with_path(at, params)


def _around(cell: Cell, step: Callable[..., tuple[Carry, Array]]) -> Cell:
  return Cell(
    cell.init,
    lambda params, batch: DrawnCarry(cell.carry(params, batch), no_draw()),
    cell.project,
    step,
    context=cell.context,
    prepare=cell.prepare,
  )


def _check(name: str, rate: float, closed: bool = False) -> None:
  if not (0 <= rate < 1 or (closed and rate == 1)):
    raise BadInput(
      f"{name}={rate}: give a rate from 0 to {'1' if closed else 'below 1'}"
    )
