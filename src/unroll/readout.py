"""The output layer, and its cross-entropy as one: logits that never exist at once.

Logits `[T, B, V]` are the largest array of a word model, and their gradient another.
Here slices of steps go in turn from hidden states y to all that is wanted:

  l = y W + b,  nats = log Σ exp l - l[target],  dl = weight (softmax l - onehot),
  dy = dl Wᵀ,  dW = Σ yᵀ dl,  db = Σ dl.

The loss is a weighted sum of the nats, so its gradient is the cotangent times these:
the backward pass only scales them, and nothing is computed twice.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from unroll import metrics, scan
from unroll.linear import bias_gradient, product, spread_over, summed_outer
from unroll.placement import placed
from unroll.reverse_mode import reverse_mode_only
from unroll.types import Array, Sums

# The least of a slice: rows on each device, so that adding up dW costs little beside
# its products, and bytes of logits, so that the loop costs little beside its steps.
# `docs/benchmarks.md` has the measurement.
ROWS, BYTES = 256, 4 * 2**20


def logits(ys: Array, kernel: Array, bias: Array) -> Array:
  """`ys [..., H] @ kernel [H, V] + bias [V]`, in the type of `ys`."""
  zs = product(ys, kernel)
  return zs + jnp.broadcast_to(bias.astype(zs.dtype), zs.shape)


@jax.custom_vjp
def sent_back(ys: Array, kernel: Array, other: Array) -> Array:
  """`ys @ kernel`, whose gradient to `ys` goes by another matrix of that shape.

  Feedback alignment (Lillicrap et al. 2016): the gradient to the kernel is exact, and
  the one to `ys` is that of the error times `other` transposed.
  """
  del other
  return product(ys, kernel)


def _sent_back_fwd(ys, kernel, other):
  out, pull = jax.vjp(lambda kernel: product(ys, kernel), kernel)
  return out, (pull, other)


def _sent_back_bwd(residuals, error):
  pull, other = residuals
  return product(error, other.T), *pull(error), jnp.zeros_like(other)


sent_back.defvjp(_sent_back_fwd, _sent_back_bwd)


def fixed(kernel: Array) -> Array:
  """The random matrix that is its counterpart in `sent_back`: always the same one."""
  scale = kernel.shape[0] ** -0.5
  return scale * jax.random.normal(jax.random.key(0), kernel.shape, kernel.dtype)


def cross_entropy(
  ys: Array,
  kernel: Array,
  bias: Array,
  targets: Array,
  weight: Array,
  *,
  backward: scan.Backward = "fast",
) -> Sums:
  """`metrics.cross_entropy` of the logits, in nats, without all of them at once.

  What stands in `ys` where the weight is 0, be it NaN, reaches neither sums nor
  gradients.

  Args:
    ys: `[T, B, H]`, hidden states; their batch may be spread over devices.
    kernel: `[H, V]`, in the type of its products.
    bias: `[V]`.
    targets: `[T, B]`, integers below V.
    weight: `[T, B]`, 0 where a target must not count.
    backward: "fast", as "parallel", takes the gradient beside the loss, exactly, in
      reverse mode. "autodiff" is JAX's own, of all logits, for forward mode.

  Returns:
    The weighted sum and the sum of weights.

  Raises:
    ValueError: if `backward` is none of the three.
  """
  if backward not in ("fast", "autodiff", "parallel"):
    raise ValueError(f"backward={backward!r}: choose 'fast', 'autodiff' or 'parallel'")
  if backward == "autodiff" or len(_slices(ys, bias)) == 1:
    ys = scan.masked(ys, weight > 0)
    return metrics.cross_entropy(logits(ys, kernel, bias), targets, weight)
  ys, kernel, bias, weight = reverse_mode_only((ys, kernel, bias, weight))

  def run(ys, kernel, bias, targets, weight):
    ys = scan.masked(ys, weight > 0)
    return _total(ys, kernel, bias, targets, weight), jnp.sum(weight)

  given = (ys, kernel, bias, targets, weight)
  return Sums(*placed(run, given, lambda: (PartitionSpec(), PartitionSpec())))


def smoothing(
  ys: Array, kernel: Array, bias: Array, targets: Array, weight: Array
) -> Sums:
  """The logit of each target less the mean of all logits, by their weights.

  A target of which a share ε is spread over the vocabulary (label smoothing, Szegedy et
  al. 2016) has the cross-entropy of the target itself and ε times this. It needs no
  logits but the target's, as their mean is that of the kernel's columns.

  Args:
    ys, kernel, bias, targets, weight: as of `cross_entropy`.
  """
  ys = scan.masked(ys, weight > 0)
  # Where nothing counts, the target may be anything: it is clipped.
  rows = jnp.take(kernel.T, targets, axis=0, mode="clip").astype(ys.dtype)
  hit = jnp.sum(ys * rows, axis=-1) + jnp.take(bias, targets, mode="clip")
  mean = ys @ jnp.mean(kernel, axis=1).astype(ys.dtype) + jnp.mean(bias)
  return Sums(_weigh(hit - mean, weight), jnp.sum(weight))


def nats(ys: Array, kernel: Array, bias: Array, targets: Array) -> Array:
  """-log p(target) of every step, without all logits at once.

  Args:
    ys: `[T, B, H]`, hidden states.
    kernel: `[H, V]`.
    bias: `[V]`.
    targets: `[T, B]`, integers below V.

  Returns:
    `[T, B]`, in the type of `ys`.
  """

  def add(found, start, size):
    y, target = _at((ys, targets), start, size)
    return _put(found, start, _nats(logits(y, kernel, bias), target)[0])

  return _over_slices(add, jnp.zeros_like(targets, dtype=ys.dtype), ys, bias)


@jax.custom_vjp
def _total(ys, kernel, bias, targets, weight):
  """The weighted sum of nats."""
  return _weigh(nats(ys, kernel, bias, targets), weight)


def _total_fwd(ys, kernel, bias, targets, weight):
  devices = spread_over(ys)
  counted = jnp.maximum(weight, 0)
  of_each = jax.vmap(_gradients, in_axes=(None, None, 1, 1, 1), out_axes=(1, 1, 0, 0))

  def add(state, start, size):
    stacks, (d_kernel, d_bias) = state
    parts = _at((ys, targets, counted), start, size)
    parts = (x.reshape(size, devices, -1, *x.shape[2:]) for x in parts)
    nats, d_y, *more = of_each(kernel, bias, *parts)
    whole = tuple(x.reshape(size, -1, *x.shape[3:]) for x in (nats, d_y))
    return _put(stacks, start, whole), (d_kernel + more[0], d_bias + more[1])

  stacks = (jnp.zeros_like(targets, dtype=ys.dtype), jnp.zeros_like(ys))
  # Every device adds up its own; what they found is added up once.
  sums = tuple(
    jnp.zeros_like(p, shape=(devices, *p.shape), dtype=ys.dtype) for p in (kernel, bias)
  )
  (nats, d_ys), sums = _over_slices(add, (stacks, sums), ys, bias)
  d_kernel, d_bias = (jnp.sum(part, axis=0) for part in sums)
  gradients = (d_ys, d_kernel, d_bias, jnp.where(weight > 0, nats, 0))
  types = [jnp.zeros((), x.dtype) for x in (ys, kernel, bias, weight)]
  return _weigh(nats, weight), (gradients, types)


def _total_bwd(residuals, d):
  scaled = ((d * g).astype(x.dtype) for g, x in zip(*residuals))
  d_ys, d_kernel, d_bias, d_weight = scaled
  return d_ys, d_kernel, d_bias, None, d_weight


_total.defvjp(_total_fwd, _total_bwd)


def _gradients(kernel, bias, ys, targets, weight):
  """Nats `[n, B]`, dy `[n, B, H]`, dW and db of a slice."""
  y, target = ys.reshape(-1, ys.shape[-1]), targets.reshape(-1)
  zs = logits(y, kernel, bias)
  nats, log_z = _nats(zs, target)
  onehot = jax.nn.one_hot(target, len(bias), dtype=zs.dtype)
  d_zs = weight.reshape(-1, 1) * (jnp.exp(zs - log_z) - onehot)
  d_kernel = summed_outer(y, d_zs, kernel.dtype)
  d_bias = bias_gradient(d_zs, d_zs.dtype)
  d_ys = product(d_zs, kernel.T).reshape(ys.shape)
  return nats.reshape(targets.shape), d_ys, d_kernel, d_bias


def _nats(zs: Array, target: Array) -> tuple[Array, Array]:
  """-log p(target) `[...]` and log Σ exp l `[..., 1]` of logits `[..., V]`."""
  log_z = jax.nn.logsumexp(zs, axis=-1, keepdims=True)
  # Where nothing counts, the target may be anything: it is clipped.
  hit = jnp.take_along_axis(zs, target[..., None], axis=-1, mode="clip")
  return (log_z - hit)[..., 0], log_z


def _weigh(nats: Array, weight: Array) -> Array:
  # `where`, not a product: what is not counted may be infinite.
  return jnp.sum(jnp.where(weight > 0, nats * weight, 0))


def _slices(ys: Array, bias: Array) -> range:
  """Where the slices of a sequence start; the last may be shorter.

  Of sizes that are not known yet (`jax.export`), one slice has all steps.
  """
  length, batch = ys.shape[:2]
  if not all(isinstance(size, int) for size in (length, batch)):
    return range(1)
  rows = max(ROWS, BYTES // (4 * len(bias))) * spread_over(ys)
  count = max(1, -(-length * batch // rows))
  return range(0, length, -(-length // count))


def _over_slices(add: Callable, state, ys: Array, bias: Array):
  """`state` after `add(state, start, size)` for the slices in turn."""
  starts, length = _slices(ys, bias), len(ys)
  size = starts.step
  state = jax.lax.fori_loop(
    0, length // size, lambda i, state: add(state, size * i, size), state
  )
  rest = length % size
  return add(state, length - rest, rest) if rest else state


def _at(stacks, start, size: int):
  """Steps of each `[T, ...]`."""
  return jax.tree.map(
    lambda stack: jax.lax.dynamic_slice_in_dim(stack, start, size), stacks
  )


def _put(stacks, start, slices):
  """Each `[T, ...]` with steps replaced."""
  return jax.tree.map(
    lambda stack, part: jax.lax.dynamic_update_slice_in_dim(stack, part, start, 0),
    stacks,
    slices,
  )
