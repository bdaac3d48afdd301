"""The frames to come of a video: convolutional cells, and a convolution to the next."""

from collections.abc import Callable
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from unroll import remat, scan
from unroll.compose import deep
from unroll.data.video.clips import Clips
from unroll.gradients.scheme import ChunkLoss
from unroll.layers import Recurrent, rematerialised, stacked
from unroll.linear import add_bias, convolution
from unroll.models.convolutions import Convolutions
from unroll.models.feedback import FedBackCarry, FedBackParams, no_init
from unroll.types import Array, BadInput, Carry, Cell, Sums, afresh


class Shape(NamedTuple):
  """The shape of a frame."""

  height: int
  width: int
  channels: int


class Convolved(nn.Module):
  """A convolution of the last layer's output: its kernel and bias.

  Attributes:
    size: of the kernel, `k` by `k`.
    channels: of what it gives.
  """

  size: int
  channels: int

  @nn.compact
  def __call__(self, width: int) -> tuple[Array, Array]:
    """`[k, k, width, channels]` and `[channels]`."""
    shape = (self.size, self.size, width, self.channels)
    kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
    return kernel, self.param("bias", nn.initializers.zeros, (self.channels,))


class FrameModel(nn.Module):
  """Logits of the frame at step t+1, of the frames up to t.

  A pixel's grey value is read as a probability, and predicted as one by the logistic
  function: what is predicted is a frame again.

  Attributes:
    cells: of the layers; the first reads patches.
    width: channels of the last one.
    kernel: the size of the convolution to the next frame.
    patch: pixels of a side of a patch, which become channels of one place (Shi et al.
      2015): the convolutions have so many fewer places.
    plan: which segments of a clip are computed again for the gradient.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  cells: tuple[Cell, ...]
  width: int
  shape: Shape
  kernel: int = 3
  patch: int = 1
  plan: remat.Plan = remat.NONE
  named: bool = False

  def setup(self):
    core = rematerialised(stacked(*self.cells), self.plan)
    self.recurrent = Recurrent(core, named=self.named)
    self.output = Convolved(self.kernel, self.shape.channels * self.patch**2)

  def __call__(
    self,
    frames: Array,
    carry: Carry | None = None,
    *,
    valid: Array | None = None,
    backward: scan.Backward = "fast",
  ) -> tuple[Carry, Array]:
    """Reads frames `[T, B, height, width, C]`; returns the carry and logits like them.

    The logits of a step are those of the next frame.
    """
    xs = self._patches(jnp.asarray(frames))
    carry, ys = self.recurrent(xs, carry, valid=valid, backward=backward)
    return carry, self._pixels(_convolved(ys, *self.output(self.width)))

  def ahead(
    self,
    frames: Array,
    horizon: int,
    carry: Carry | None = None,
    *,
    forced: Array | None = None,
    backward: scan.Backward = "fast",
  ) -> Array:
    """The logits of the last K frames, predicted from those before alone.

    From the first of the K on, the model reads its own prediction of the step before.

    Args:
      frames: `[T, B, height, width, C]`; the last K are read where they are forced.
      horizon: K, less than T.
      carry: what the first frame is read with; None starts afresh.
      forced: `[K, B]`, 1 where the step after reads the true frame of this one.
      backward: "autodiff" for forward mode, see `scan.unroll`.

    Returns:
      `[K, B, height, width, C]`.
    """
    xs = self._patches(jnp.asarray(frames))
    context = len(xs) - horizon
    if carry is None:
      carry = self.initial_carry(xs.shape[1])
    if context > 1:
      carry, _ = self.recurrent(xs[: context - 1], carry, backward=backward)
    return self._rolled(xs[context - 1 : -1], carry, forced, backward)

  def errors(
    self,
    batch: Clips,
    carry: Carry,
    forced: bool = True,
    backward: scan.Backward = "fast",
  ) -> dict[str, Sums]:
    """The errors of a batch, by its weights. A squared error is a sum over pixels.

    Every clip starts afresh: of the carry only the randomness is used.

    Args:
      batch: the clips.
      carry: of as many clips as any.
      forced: whether the loss is of frames predicted one step ahead; else the last K
        are predicted from the others.
      backward: "autodiff" for forward mode, see `scan.unroll`.

    Returns:
      "loss": the cross-entropy of each frame, in nats, the mean of its pixels. "next":
      the squared error of the first S frames, predicted one step ahead. "ahead", where
      that is asked: arrays `[K]`, that of the last K, predicted from the others.
    """
    frames, weight = jnp.asarray(batch.frames), jnp.asarray(batch.weight)[1:]
    carry = afresh(self.initial_carry(frames.shape[1]), carry)
    last, logits = carry, jnp.zeros_like(frames[:0])
    if len(weight):
      last, logits = self(frames[: len(weight)], carry, backward=backward)
    truth = frames[1 : 1 + len(weight)]
    nats, found = (
      entropy(logits, truth),
      {"next": _sums(squared(logits, truth), weight)},
    )
    if batch.ahead is not None:
      horizon, asked = len(batch.ahead), jnp.asarray(batch.ahead)
      context = len(frames) - horizon
      if len(weight) == context - 1:
        xs = self._patches(frames[context - 1 : -1])
        logits = self._rolled(xs, last, None, backward)
      else:
        logits = self.ahead(frames, horizon, carry, backward=backward)
      truth = frames[context:]
      found["ahead"] = _sums(squared(logits, truth), asked, axis=1)
      if not forced:
        nats = jnp.concatenate([nats[: context - 1], entropy(logits, truth)])
        weight = jnp.concatenate([weight[: context - 1], asked])
    return {"loss": _sums(nats, weight), **found}

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a clip starts with."""
    return self.recurrent.initial_carry(batch)

  def _rolled(
    self, xs: Array, carry: Carry, forced: Array | None, backward: scan.Backward
  ) -> Array:
    """K steps of logits: the first reads `xs[0]`, the others what was predicted.

    Where `forced [K, B]` is 1 the step after reads its own of `xs [K, B, …]`.
    """
    given = jnp.zeros(xs.shape[:2], xs.dtype)
    given = given if forced is None else jnp.asarray(forced, xs.dtype)
    given = jnp.concatenate([jnp.ones_like(given[:1]), given[:-1]])
    given = jnp.broadcast_to(given[..., None, None, None], (*xs.shape[:-1], 1))
    rows = jnp.concatenate([xs, given], axis=-1)
    params = FedBackParams(self.recurrent.core_params(), *self.output(self.width))
    layer = rematerialised(fed_back(deep(*self.cells)), self.plan)
    start = FedBackCarry(carry, jnp.zeros_like(xs[0]))
    return self._pixels(layer.unroll(params, start, rows, backward=backward)[1])

  def _patches(self, frames: Array) -> Array:
    """`[T, B, height, width, C]` as `[T, B, height / p, width / p, p p C]`."""
    t, b, height, width, channels = frames.shape
    p = self.patch
    apart = frames.reshape(t, b, height // p, p, width // p, p, channels)
    apart = jnp.swapaxes(apart, 3, 4)
    return apart.reshape(t, b, height // p, width // p, p * p * channels)

  def _pixels(self, patches: Array) -> Array:
    """What `_patches` takes apart, together again."""
    t, b, height, width, _ = patches.shape
    p = self.patch
    apart = patches.reshape(t, b, height, width, p, p, -1)
    apart = jnp.swapaxes(apart, 3, 4)
    return apart.reshape(t, b, height * p, width * p, -1)


def fed_back(core: Cell) -> Cell:
  """Predicts frame after frame, and reads its own prediction of the step before.

  Its input is `[K, B, height, width, C + 1]`: the true frame of the step before, and 1
  where that is read; its output are logits.

  Args:
    core: reads `[B, height, width, C]`.
  """

  def step(params: FedBackParams, carry: FedBackCarry, row: Array):
    truth, forced = jnp.split(row, [carry.last.shape[-1]], axis=-1)
    x = jnp.where(jnp.broadcast_to(forced, truth.shape) > 0, truth, carry.last)
    z = core.project(params.core, x[None])[0]
    after, y = core.step(params.core, carry.core, z)
    logits = _convolved(y, params.kernel, params.bias)
    return FedBackCarry(after, jax.nn.sigmoid(logits)), logits

  def carry(params: FedBackParams, batch: int) -> FedBackCarry:
    of_core = core.carry(params.core, batch)
    size = jax.tree.leaves(of_core)[0].shape[:-1]
    return FedBackCarry(of_core, jnp.zeros((*size, *params.bias.shape)))

  def prepare(params: FedBackParams) -> FedBackParams:
    return params._replace(core=core.prepare(params.core))

  return Cell(no_init, carry, lambda params, rows: rows, step, prepare=prepare)


def frame_model(
  chosen: Convolutions, shape: Shape, *, plan: remat.Plan = remat.NONE
) -> FrameModel:
  """The model of some settings.

  Args:
    chosen: the settings.
    shape: of a frame.
    plan: which segments of a clip are computed again for the gradient.

  Raises:
    BadInput: the settings do not fit one another, or the frames.
  """
  p = chosen.patch
  if shape.height % p or shape.width % p:
    raise BadInput(
      f"patch={p} does not divide frames of {shape.height} by {shape.width} pixels: "
      "give a number that does"
    )
  size = (shape.height // p, shape.width // p)
  return FrameModel(
    cells=chosen.cells(size, shape.channels * p**2),
    width=chosen.widths[-1],
    shape=shape,
    kernel=chosen.kernel,
    patch=p,
    plan=plan,
  )


def frame_loss(
  model: FrameModel, forced: bool = True, backward: scan.Backward = "fast"
) -> ChunkLoss:
  """The mean cross-entropy of the frames of `Clips`, in nats a pixel, as a chunk loss.

  The frame that it is least for is the expected one, as of the squared error; its
  gradient does not vanish where a pixel is predicted with confidence and wrong.

  Args:
    model: the model.
    forced: see `FrameModel.errors`.
    backward: "autodiff" for forward mode, see `scan.unroll`.
  """
  apply = cast(Callable[..., dict[str, Sums]], model.apply)

  def loss(params, carry, batch):
    sums = apply(params, batch, carry, forced, backward, method="errors")
    return sums["loss"].mean(), (carry, sums)

  return loss


def entropy(logits: Array, frames: Array) -> Array:
  """The cross-entropies `[T, B]` of predicted frames, in nats, the mean of pixels."""
  return optax.sigmoid_binary_cross_entropy(logits, frames).mean((2, 3, 4))


def squared(logits: Array, frames: Array) -> Array:
  """The squared errors `[T, B]` of predicted frames, summed over pixels."""
  return jnp.square(jax.nn.sigmoid(logits) - frames).sum((2, 3, 4))


def example(shape: Shape) -> NDArray[np.float32]:
  """A clip of one frame, to make parameters with."""
  return np.zeros((1, 1, *shape), np.float32)


def _convolved(ys: Array, kernel: Array, bias: Array) -> Array:
  return add_bias(convolution(ys, kernel), bias)


def _sums(error: Array, weight: Array, axis: int | None = None) -> Sums:
  # `where`, not a product: what is not counted may be NaN.
  kept = jnp.where(weight > 0, error * weight, 0)
  return Sums(jnp.sum(kept, axis=axis), jnp.sum(weight, axis=axis))
