"""Forecasts of a series: from a window of the past, or by what a cell remembers of it.

Both read rows `(y_t, inputs_t, known_{t+1})`: the values of a step, and what is known
in advance of the next one. Both forecast K steps at once with a head of K outputs
(direct), or one step, K times, with their own forecasts for the values to come (fed
back; Dive into Deep Learning, 9.1).
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import flax.linen as nn
import jax.numpy as jnp

from unroll import scan
from unroll.data.series.horizons import Horizon
from unroll.layers import Layer, Recurrent
from unroll.models import feedback
from unroll.models.feedback import FedBackCarry, FedBackParams, affine, perceptron
from unroll.models.parts import Readout
from unroll.start import Initializer
from unroll.types import Array, BadInput, Carry, Cell, Params, afresh

Normalise = Literal["none", "last", "instance"]
NORMALISE = ("none", "last", "instance")
FLOOR = 1e-5  # added to the variance of a window, which may be constant


class Forecaster(nn.Module):
  """What all forecasters share: `__call__` takes a window apart and puts it together.

  Attributes:
    targets: C.
    horizon: K.
    quantiles: Q increasing levels, 0.5 among them, whose forecast is the point one.
      They are sorted, so that they never cross (Chernozhukov et al. 2010). () for a
      point forecast alone.
    normalise: what is taken out of each value column of a window and put back into its
      forecast: "last", the last value of the past (Zeng et al. 2023, NLinear);
      "instance", its mean and deviation over the past (Kim et al. 2022); or "none".
    shared: forecasts each target by itself, with the same parameters for all (Zeng et
      al. 2023), instead of from all together.
    kernel_init: of the matrices that forecast.
    feedback: forecasts one step and reads its own forecasts, instead of K at once. It
      takes no inputs beside the targets, for nobody forecasts those.
  """

  targets: int
  horizon: int
  quantiles: tuple[float, ...] = ()
  normalise: Normalise = "none"
  shared: bool = False
  feedback: bool = False
  kernel_init: Initializer = nn.initializers.lecun_normal()

  def __call__(
    self,
    batch: Horizon,
    carry: Carry | None = None,
    *,
    backward: scan.Backward = "fast",
  ) -> Array:
    """The forecast `[K, B, C, Q]` of a window; Q is 1 without quantiles.

    Args:
      batch: `past` and `known` are read; of `future` what is `forced`, by those that
        feed back, and only for the steps after it.
      carry: every window starts afresh: only the randomness is used.
      backward: "autodiff" for forward mode, see `scan.unroll`.

    Raises:
      BadInput: quantiles or normalise are not as described, or there are inputs that
        would have to be forecast.
    """
    self._check(batch)
    size = batch.past.shape[1]
    parts = (batch.past, batch.known, batch.future, batch.forced)
    past, known, future, forced = map(jnp.asarray, parts)
    if self.shared:
      past, known = self._apart(past, known)
      future, forced = (x.reshape(len(x), -1, 1) for x in (future, forced))
    shift, scale = self._frame(past)
    own = (slice(None), slice(None), slice(self._width))
    xs = jnp.concatenate([_framed(past, shift, scale), known[1 : 1 + len(past)]], -1)
    ahead = known[len(past) :]
    if self.feedback:
      truth = _framed(future, shift[own], scale[own])
      last = xs[-1, :, : self._width]
      rows = feedback.rows(last, truth, forced, ahead)
      out = self._fed_back(xs, rows, carry, backward)
    else:
      out = self._direct(xs, carry, backward)
      if ahead.shape[-1]:  # the effect of what is known of a step on that step
        out = out + affine(ahead, *self.effect(ahead.shape[-1]))
    out = out.reshape(self.horizon, past.shape[1], self._width, -1)
    out = _unframed(out, shift[own][..., None], scale[own][..., None])
    out = out.reshape(self.horizon, size, self.targets, -1)
    return jnp.sort(out, axis=-1) if self.quantiles else out

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a window starts with."""
    del batch
    return ()

  @property
  def middle(self) -> int:
    """Which of the Q forecasts is the point forecast."""
    return self.quantiles.index(0.5) if self.quantiles else 0

  @property
  def _width(self) -> int:
    return 1 if self.shared else self.targets

  @property
  def _step(self) -> int:
    """The numbers of one step's forecast."""
    return self._width * max(len(self.quantiles), 1)

  def _outputs(self) -> int:
    return self._step * (1 if self.feedback else self.horizon)

  def _check(self, batch: Horizon) -> None:
    if self.normalise not in NORMALISE:
      raise BadInput(
        f"normalise={self.normalise}: choose one of {', '.join(NORMALISE)}"
      )
    check_quantiles(self.quantiles)
    if self.feedback and batch.past.shape[-1] > self.targets:
      raise BadInput(
        f"feedback=True: {batch.past.shape[-1] - self.targets} inputs would have to be "
        "forecast too; make them targets, or forecast all steps at once"
      )

  def _apart(self, past: Array, known: Array) -> tuple[Array, Array]:
    """The windows of B series of C targets as B C windows of one."""
    own, inputs = jnp.split(past, [self.targets], axis=-1)
    inputs, known = (jnp.repeat(x, self.targets, axis=1) for x in (inputs, known))
    return jnp.concatenate([own.reshape(len(own), -1, 1), inputs], axis=-1), known

  def _frame(self, past: Array) -> tuple[Array, Array]:
    """What is taken out of the values: shift and scale, `[1, B, C + P]`."""
    if self.normalise == "instance":
      deviation = jnp.sqrt(jnp.var(past, axis=0, keepdims=True) + FLOOR)
      return jnp.mean(past, axis=0, keepdims=True), deviation
    shift = past[-1:] if self.normalise == "last" else jnp.zeros_like(past[-1:])
    return shift, jnp.ones_like(shift)

  def _direct(self, xs: Array, carry: Carry | None, backward: scan.Backward) -> Array:
    """`[K, B, C Q]` from rows `[T, B, C + P + F]`."""
    raise NotImplementedError

  def _fed_back(
    self, xs: Array, rows: Array, carry: Carry | None, backward: scan.Backward
  ) -> Array:
    """`[K, B, C Q]` from the rows of the past, and `feedback.rows`."""
    raise NotImplementedError

  def _unrolled(
    self, core: Cell, params: Params, carry: Carry, rows: Array, backward: scan.Backward
  ) -> Array:
    """A core fed back, from the carry before it has read the last values."""
    cell = feedback.fed_back(core, self._width, self.middle)
    start = FedBackCarry(carry, jnp.zeros_like(rows[0, :, : self._width]))
    return scan.unroll(cell, params, start, rows, backward=backward)[1]

  def _at_once(self, out: Array) -> Array:
    """`[B, K C Q]` as `[K, B, C Q]`."""
    return jnp.moveaxis(out.reshape(out.shape[0], self.horizon, -1), 1, 0)


class WindowForecaster(Forecaster):
  """Autoregression: an affine map of the past window, or a perceptron.

  Attributes:
    past: T, the rows that it reads.
    hidden: the widths of hidden layers of ReLU; () is a linear autoregression.
  """

  past: int = 1
  hidden: tuple[int, ...] = ()

  def setup(self):
    self.layers = [Readout(width) for width in self.hidden]
    self.head = Readout(self._outputs(), self.kernel_init)
    self.effect = Readout(self._step, self.kernel_init)

  def _direct(self, xs, carry, backward):
    flat = jnp.moveaxis(self._last(xs), 0, 1).reshape(xs.shape[1], -1)
    params, kernel, bias = self._params(flat.shape[-1])
    return self._at_once(affine(perceptron(params, flat), kernel, bias))

  def _fed_back(self, xs, rows, carry, backward):
    xs = self._last(xs)
    params = FedBackParams(*self._params(self.past * xs.shape[-1]))
    # A row goes in at the right at each step, the first of them that of the last value.
    window = jnp.concatenate([xs[:1], xs[:-1]])
    window = jnp.moveaxis(window, 0, 1).reshape(xs.shape[1], -1)
    cell = feedback.window_cell(window.shape[-1])
    return self._unrolled(cell, params, (window,), rows, backward)

  def _last(self, xs: Array) -> Array:
    if len(xs) < self.past:
      raise ValueError(f"a window of {len(xs)} rows is shorter than past={self.past}")
    return xs[len(xs) - self.past :]

  def _params(self, width: int):
    """The hidden layers, and the kernel and bias of the head."""
    layers = []
    for layer in self.layers:
      layers.append(layer(width))
      width = layer.vocabulary
    return (tuple(layers), *self.head(width))


class RecurrentForecaster(Forecaster):
  """Latent autoregression: a recurrent layer reads the past, its state forecasts.

  Attributes:
    core: `[T, B, C + P + F] -> [T, B, width]`; a Cell if it is fed back. With `shared`
      it reads one target: C is 1.
    width: of its output.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  core: Cell | Layer = cast(Any, None)
  width: int = 0
  named: bool = False

  def setup(self):
    if self.feedback and not isinstance(self.core, Cell):
      raise ValueError("feedback=True: the core must be a Cell, such as compose.deep's")
    self.recurrent = Recurrent(self.core, named=self.named)
    self.head = Readout(self._outputs(), self.kernel_init)
    self.effect = Readout(self._step, self.kernel_init)

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a window starts with."""
    return self.recurrent.initial_carry(batch * (self.targets if self.shared else 1))

  def _read(
    self, xs: Array, carry: Carry | None, backward: scan.Backward
  ) -> tuple[Carry, Array]:
    initial = self.recurrent.initial_carry(xs.shape[1])
    carry = initial if carry is None else afresh(initial, carry)
    return self.recurrent(xs, carry, backward=backward)

  def _direct(self, xs, carry, backward):
    _, ys = self._read(xs, carry, backward)
    return self._at_once(affine(ys[-1], *self.head(self.width)))

  def _fed_back(self, xs, rows, carry, backward):
    carry, _ = self._read(xs[:-1], carry, backward)
    params = FedBackParams(self.recurrent.core_params(), *self.head(self.width))
    return self._unrolled(cast(Cell, self.core), params, carry, rows, backward)


def check_quantiles(quantiles: Sequence[float]) -> None:
  """Raises BadInput unless levels increase within (0, 1) and have 0.5 among them."""
  increasing = all(a < b for a, b in zip((0, *quantiles), (*quantiles, 1)))
  if quantiles and not (increasing and 0.5 in quantiles):
    raise BadInput(
      f"quantiles={','.join(map(str, quantiles))}: give increasing levels between 0 "
      "and 1 with 0.5, the point forecast, among them, such as 0.1,0.5,0.9"
    )


def _framed(x: Array, shift: Array, scale: Array) -> Array:
  return (x - jnp.broadcast_to(shift, x.shape)) / jnp.broadcast_to(scale, x.shape)


def _unframed(x: Array, shift: Array, scale: Array) -> Array:
  return x * jnp.broadcast_to(scale, x.shape) + jnp.broadcast_to(shift, x.shape)
