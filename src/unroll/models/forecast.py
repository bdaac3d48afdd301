"""Forecasts of a series: from a window of the past, or by what a cell remembers of it.

Both read rows `(y_t, inputs_t, known_{t+1})`: the values of a step, and what is known
in advance of the next one. Both forecast K steps at once with a head of K outputs
(direct), or one step, K times, with their own forecasts for the values to come (fed
back; Dive into Deep Learning, 9.1).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from unroll import forecasting, scan
from unroll.data.series.horizons import Horizon
from unroll.gradients.scheme import ChunkLoss
from unroll.layers import Layer, Recurrent
from unroll.readout import Output
from unroll.types import Array, BadInput, Carry, Cell, Key, Params, Sums, afresh

Normalise = Literal["none", "last", "instance"]
NORMALISE = ("none", "last", "instance")
LOSSES = ("mse", "mae", "quantile")
FLOOR = 1e-5  # added to the variance of a window, which may be constant


class FedBackParams(NamedTuple):
  """The parameters of a core, and of the affine map of its output to a forecast."""

  core: Params
  kernel: Array
  bias: Array


class FedBackCarry(NamedTuple):
  """The carry of a core, and the values `[B, C]` of the step before."""

  core: Carry
  last: Array


def fed_back(core: Cell, targets: int, middle: int) -> Cell:
  """A cell that reads its own forecast of the step before.

  Its input is `[K, B, F]`, what is known in advance of each step; its output `[B, C Q]`.

  Args:
    core: reads `[B, C + F]`.
    targets: C.
    middle: which of the Q quantiles is fed back; 0 where there is one.
  """

  def step(params: FedBackParams, carry: FedBackCarry, known: Array):
    x = jnp.concatenate([carry.last, known], axis=-1)
    z = core.project(params.core, x[None])[0]
    after, y = core.step(params.core, carry.core, z)
    out = _affine(y, params.kernel, params.bias)
    last = out.reshape(len(out), targets, -1)[..., middle]
    return FedBackCarry(after, last), out

  def carry(params: FedBackParams, batch: int) -> FedBackCarry:
    last = jnp.zeros((batch, targets), params.kernel.dtype)
    return FedBackCarry(core.carry(params.core, batch), last)

  return Cell(_no_init, carry, lambda params, known: known, step)


class Forecaster(nn.Module):
  """What all forecasters share: `__call__` takes a window apart and puts it together.

  Attributes:
    targets: C.
    horizon: K.
    quantiles: Q increasing levels, 0.5 among them, whose forecast is the point forecast.
      They are sorted, so that they never cross (Chernozhukov et al. 2010). () for a
      point forecast alone.
    normalise: what is taken out of each value column of a window and put back into its
      forecast: "last", the last value of the past (Zeng et al. 2023, NLinear);
      "instance", its mean and deviation over the past (Kim et al. 2022); or "none".
    shared: forecasts each target by itself, with the same parameters for all (Zeng et
      al. 2023), instead of from all together.
    feedback: forecasts one step and reads its own forecasts, instead of K at once. It
      takes no inputs beside the targets, for nobody forecasts those.
  """

  targets: int
  horizon: int
  quantiles: tuple[float, ...] = ()
  normalise: Normalise = "none"
  shared: bool = False
  feedback: bool = False

  def __call__(
    self, batch: Horizon, carry: Carry | None = None, *, forced: bool = False
  ) -> Array:
    """The forecast `[K, B, C, Q]` of a window; Q is 1 without quantiles.

    Args:
      batch: of it `past` and `known` are read; `future` only if forced.
      carry: every window starts afresh: only the randomness is used.
      forced: one that feeds back reads the true values before each step instead, so
        that all forecasts are one step ahead: for training.

    Raises:
      BadInput: quantiles or normalise are not as described, or there are inputs that
        would have to be forecast.
      ValueError: if a direct one is to be forced.
    """
    self._check(batch, forced)
    size = batch.past.shape[1]
    past, known, future = (jnp.asarray(part) for part in batch[:3])
    if self.shared:
      past, known, future = self._apart(past, known, future)
    shift, scale = self._frame(past)
    own = (slice(None), slice(None), slice(self._width))
    xs = jnp.concatenate([_framed(past, shift, scale), known[1 : 1 + len(past)]], -1)
    ahead = known[len(past) :]
    if forced:
      truth = _framed(future, shift[own], scale[own])
      row = jnp.concatenate([truth[:-1], ahead[1:]], axis=-1)
      out = self._one_step(jnp.concatenate([xs, row]), carry)
    elif self.feedback:
      out = self._fed_back(xs, ahead, carry)
    else:
      out = self._direct(xs, carry)
      if ahead.shape[-1]:  # the effect of what is known of a step on that step
        out = out + _affine(ahead, *self.effect(ahead.shape[-1]))
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

  def _check(self, batch: Horizon, forced: bool) -> None:
    if self.normalise not in NORMALISE:
      raise BadInput(f"normalise={self.normalise}: choose one of {', '.join(NORMALISE)}")
    check_quantiles(self.quantiles)
    if forced and not self.feedback:
      raise ValueError("forced=True: a direct forecast reads no values to come")
    if self.feedback and batch.past.shape[-1] > self.targets:
      raise BadInput(
        f"feedback=True: {batch.past.shape[-1] - self.targets} inputs would have to be "
        "forecast too; make them targets, or forecast all steps at once"
      )

  def _apart(self, past, known, future):
    """The windows of B series of C targets as B C windows of one."""
    own, inputs = jnp.split(past, [self.targets], axis=-1)
    inputs, known = (jnp.repeat(x, self.targets, axis=1) for x in (inputs, known))
    own, future = (x.reshape(len(x), -1, 1) for x in (own, future))
    return jnp.concatenate([own, inputs], axis=-1), known, future

  def _frame(self, past: Array) -> tuple[Array, Array]:
    """What is taken out of the values: shift and scale, `[1, B, C + P]`."""
    if self.normalise == "instance":
      deviation = jnp.sqrt(jnp.var(past, axis=0, keepdims=True) + FLOOR)
      return jnp.mean(past, axis=0, keepdims=True), deviation
    shift = past[-1:] if self.normalise == "last" else jnp.zeros_like(past[-1:])
    return shift, jnp.ones_like(shift)

  def _direct(self, xs: Array, carry: Carry | None) -> Array:
    """`[K, B, C Q]` from rows `[T, B, C + P + F]`."""
    raise NotImplementedError

  def _one_step(self, xs: Array, carry: Carry | None) -> Array:
    """`[K, B, C Q]`, each step from the rows before it: `[T + K - 1, B, C + F]`."""
    raise NotImplementedError

  def _fed_back(self, xs: Array, ahead: Array, carry: Carry | None) -> Array:
    """`[K, B, C Q]` from the rows of the past and what is known of those to come."""
    raise NotImplementedError

  def _unrolled(self, core: Cell, params: Params, carry: Carry, last, ahead) -> Array:
    """A core fed back, from the carry before it has read the values `last`."""
    cell = fed_back(core, self._width, self.middle)
    start = FedBackCarry(carry, last[:, : self._width])
    return scan.unroll(cell, params, start, ahead)[1]

  def _at_once(self, out: Array) -> Array:
    """`[B, K C Q]` as `[K, B, C Q]`."""
    return jnp.moveaxis(out.reshape(len(out), self.horizon, -1), 1, 0)


class WindowForecaster(Forecaster):
  """Autoregression: an affine map of the past window, or a perceptron.

  Attributes:
    past: T, the rows that it reads.
    hidden: the widths of hidden layers of ReLU; () is a linear autoregression.
  """

  past: int = 1
  hidden: tuple[int, ...] = ()

  def setup(self):
    self.layers = [Output(width) for width in self.hidden]
    self.head = Output(self._outputs())
    self.effect = Output(self._step)

  def _direct(self, xs, carry):
    flat = jnp.moveaxis(self._last(xs), 0, 1).reshape(xs.shape[1], -1)
    params, kernel, bias = self._params(flat.shape[-1])
    return self._at_once(_affine(_perceptron(params, flat), kernel, bias))

  def _one_step(self, xs, carry):
    params, kernel, bias = self._params(self.past * xs.shape[-1])
    slices = [xs[i : i + self.horizon] for i in range(len(xs) - self.horizon + 1)]
    flat = jnp.concatenate(slices[-self.past :], axis=-1)  # [K, B, T (C + F)]
    return _affine(_perceptron(params, flat), kernel, bias)

  def _fed_back(self, xs, ahead, carry):
    xs = self._last(xs)
    params = FedBackParams(*self._params(self.past * xs.shape[-1]))
    # A row goes in at the right at each step, the first of them that of the last value.
    window = jnp.concatenate([xs[:1], xs[:-1]])
    window = jnp.moveaxis(window, 0, 1).reshape(xs.shape[1], -1)
    cell = _window_cell(window.shape[-1])
    return self._unrolled(cell, params, (window,), xs[-1], ahead)

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


def _window_cell(width: int) -> Cell:
  """The last T rows as a carry `[B, T D]`, of that width, and a perceptron of them."""

  def step(params, carry, x):
    window = jnp.concatenate([carry[0][:, x.shape[-1] :], x], axis=-1)
    return (window,), _perceptron(params, window)

  def carry(params, batch):
    return (jnp.zeros((batch, width), jnp.float32),)

  return Cell(_no_init, carry, lambda params, xs: xs, step)


def _no_init(key: Key) -> Params:
  raise ValueError("the parameters of this cell are those of a Forecaster")


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
    self.head = Output(self._outputs())
    self.effect = Output(self._step)

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a window starts with."""
    return self.recurrent.initial_carry(batch * (self.targets if self.shared else 1))

  def _read(self, xs: Array, carry: Carry | None) -> tuple[Carry, Array]:
    initial = self.recurrent.initial_carry(xs.shape[1])
    return self.recurrent(xs, initial if carry is None else afresh(initial, carry))

  def _direct(self, xs, carry):
    _, ys = self._read(xs, carry)
    return self._at_once(_affine(ys[-1], *self.head(self.width)))

  def _one_step(self, xs, carry):
    _, ys = self._read(xs, carry)
    return _affine(ys[len(ys) - self.horizon :], *self.head(self.width))

  def _fed_back(self, xs, ahead, carry):
    carry, _ = self._read(xs[:-1], carry)
    params = FedBackParams(self.recurrent.core_params(), *self.head(self.width))
    return self._unrolled(cast(Cell, self.core), params, carry, xs[-1], ahead)


def check_quantiles(quantiles: Sequence[float]) -> None:
  """Raises BadInput unless levels increase within (0, 1) and have 0.5 among them."""
  increasing = all(a < b for a, b in zip((0, *quantiles), (*quantiles, 1)))
  if quantiles and not (increasing and 0.5 in quantiles):
    raise BadInput(
      f"quantiles={','.join(map(str, quantiles))}: give increasing levels between 0 and "
      "1 with 0.5, the point forecast, among them, such as 0.1,0.5,0.9"
    )


def forecast_loss(
  model: Forecaster, loss: str = "mse", *, forced: bool = False
) -> ChunkLoss:
  """The mean error of the forecasts of a `Horizon`, as a chunk loss.

  Its sums are "loss" and those of `forecasting.errors`.

  Args:
    model: the model.
    loss: "mse"; "mae", whose forecast is a median; or "quantile", the pinball loss
      averaged over the levels of the model.
    forced: see `Forecaster`.

  Raises:
    BadInput: for another loss, or one that does not fit the model's quantiles.
  """
  if loss not in LOSSES:
    raise BadInput(f"loss={loss}: choose one of {', '.join(LOSSES)}")
  if (loss == "quantile") != bool(model.quantiles):
    raise BadInput(
      f"loss={loss} with quantiles={model.quantiles}: the quantile loss needs quantiles, "
      "and no other loss fits them"
    )
  apply = cast(Callable[..., Array], model.apply)

  def chunk_loss(params, carry, batch):
    forecast = apply(params, batch, carry, forced=forced)
    sums = forecasting.errors(forecast, batch.future, batch.weight, model.quantiles)
    part = {"mse": "squared", "mae": "absolute", "quantile": "pinball"}[loss]
    own = Sums(jnp.sum(sums[part].total), jnp.sum(sums[part].count))
    return own.mean(), (carry, {"loss": own, **sums})

  return chunk_loss


def _affine(x: Array, kernel: Array, bias: Array) -> Array:
  z = x @ kernel
  return z + jnp.broadcast_to(bias, z.shape)


def _perceptron(layers: Sequence[tuple[Array, Array]], x: Array) -> Array:
  for kernel, bias in layers:
    x = jax.nn.relu(_affine(x, kernel, bias))
  return x


def _framed(x: Array, shift: Array, scale: Array) -> Array:
  return (x - jnp.broadcast_to(shift, x.shape)) / jnp.broadcast_to(scale, x.shape)


def _unframed(x: Array, shift: Array, scale: Array) -> Array:
  return x * jnp.broadcast_to(scale, x.shape) + jnp.broadcast_to(shift, x.shape)
