"""The output layer, and its cross-entropy as one: logits that never exist at once.

Logits `[T, B, V]` are the largest array of a word model, and their gradient another.
Here slices of steps go in turn from hidden states y to all that is wanted:

  l = y W + b,  nats = log Σ exp l - l[target],  dl = weight (softmax l - onehot),
  dy = dl Wᵀ,  dW = Σ yᵀ dl,  db = Σ dl.

The loss is a weighted sum of the nats, so its gradient is the cotangent times these:
the backward pass only scales them, and nothing is computed twice.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from unroll import metrics, scan
from unroll.linear import Initializer, product
from unroll.types import Array, Sums

# A slice has so many rows on each device that adding up dW does not count, and so many
# bytes of logits that the loop does not: `docs/benchmarks.md` has the measurement.
ROWS, BYTES = 512, 4 * 2**20


class Output(nn.Module):
  """The parameters of an output layer; called with the width H of what it reads.

  Attributes:
    vocabulary: V.
    kernel_init: of the matrix.
  """

  vocabulary: int
  kernel_init: Initializer = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, width: int) -> tuple[Array, Array]:
    """The matrix `[H, V]` and the bias `[V]`."""
    kernel = self.param("kernel", self.kernel_init, (width, self.vocabulary))
    return kernel, self.param("bias", nn.initializers.zeros, (self.vocabulary,))


def logits(ys: Array, kernel: Array, bias: Array) -> Array:
  """`ys [..., H] @ kernel [H, V] + bias [V]`, in the type of `ys`."""
  zs = product(ys, kernel)
  return zs + jnp.broadcast_to(bias.astype(zs.dtype), zs.shape)


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
    backward: "fast" takes the gradient beside the loss, exactly, in reverse mode
      once. "autodiff" is JAX's own, of all logits, for forward mode and second
      derivatives.

  Returns:
    The weighted sum and the sum of weights.

  Raises:
    ValueError: if `backward` is neither of the two.
  """
  if backward not in ("fast", "autodiff"):
    raise ValueError(f"backward={backward!r}: choose 'fast' or 'autodiff'")
  ys = scan.masked(ys, weight > 0)
  if backward == "autodiff":
    return metrics.cross_entropy(logits(ys, kernel, bias), targets, weight)
  return Sums(_total(ys, kernel, bias, targets, weight), jnp.sum(weight))


@jax.custom_vjp
def _total(ys, kernel, bias, targets, weight):
  """The weighted sum of nats."""

  def add(nats, start, size):
    y, target = _at((ys, targets), start, size)
    return _put(nats, start, _nats(logits(y, kernel, bias), target)[0])

  nats = jnp.zeros(targets.shape, ys.dtype)
  return _weigh(_over_slices(add, nats, ys, len(bias)), weight)


def _total_fwd(ys, kernel, bias, targets, weight):
  devices = _devices(ys)
  classes = jnp.arange(len(bias), dtype=targets.dtype)

  def by_device(x):  # every device adds up its own rows, until all are done
    return x.reshape(len(x), devices, -1, *x.shape[2:])

  rows = jax.tree.map(by_device, (ys, targets, jnp.maximum(weight, 0)))

  def add(state, start, size):
    stacks, (d_kernel, d_bias) = state
    y, target, w = _at(rows, start, size)
    zs = logits(y, kernel, bias)
    nats, log_z = _nats(zs, target)
    hot = target[..., None] == classes.reshape(1, 1, 1, -1)
    d_zs = w[..., None] * (jnp.exp(zs - log_z) - hot.astype(zs.dtype))
    stacks = _put(stacks, start, (nats, product(d_zs, kernel.T)))
    d_kernel += _outer(y, d_zs, kernel.dtype)
    return stacks, (d_kernel, d_bias + jnp.sum(d_zs, axis=(0, 2)))

  stacks = (jnp.zeros_like(rows[2], ys.dtype), jnp.zeros_like(rows[0]))
  sums = tuple(jnp.zeros((devices, *p.shape), ys.dtype) for p in (kernel, bias))
  stacks, sums = _over_slices(add, (stacks, sums), ys, len(bias))
  nats, d_ys = (x.reshape(len(x), -1, *x.shape[3:]) for x in stacks)
  d_kernel, d_bias = (jnp.sum(part, axis=0) for part in sums)
  gradients = (d_ys, d_kernel, d_bias, jnp.where(weight > 0, nats, 0))
  types = [jnp.zeros((), x.dtype) for x in (ys, kernel, bias, weight)]
  return _weigh(nats, weight), (gradients, types)


def _total_bwd(residuals, d):
  scaled = ((d * g).astype(x.dtype) for g, x in zip(*residuals))
  d_ys, d_kernel, d_bias, d_weight = scaled
  return d_ys, d_kernel, d_bias, None, d_weight


_total.defvjp(_total_fwd, _total_bwd)


def _nats(zs: Array, target: Array) -> tuple[Array, Array]:
  """-log p(target) `[...]` and log Σ exp l `[..., 1]` of logits `[..., V]`."""
  log_z = jax.nn.logsumexp(zs, axis=-1, keepdims=True)
  # Padding may hold any target: it is clipped.
  chosen = jnp.take_along_axis(zs, target[..., None], axis=-1, mode="clip")
  return (log_z - chosen)[..., 0], log_z


def _weigh(nats: Array, weight: Array) -> Array:
  # `where`, not a product: what is not counted may be infinite.
  return jnp.sum(jnp.where(weight > 0, nats * weight, 0))


def _outer(y: Array, d_zs: Array, dtype) -> Array:
  """Σ yᵀ dl of each device, `[n, devices, B, H], … -> [devices, H, V]`."""
  factors = y.astype(dtype), d_zs.astype(dtype)
  return jnp.einsum("tdbh,tdbv->dhv", *factors, preferred_element_type=y.dtype)


def _devices(ys: Array) -> int:
  """What the batch of `[T, B, H]` may be spread over."""
  count = jax.typeof(ys).sharding.mesh.size or 1
  return count if ys.shape[1] % count == 0 else 1


def _over_slices(add: Callable, state, ys: Array, vocabulary: int):
  """`state` after `add(state, start, size)` for slices that cover all T steps."""
  length, batch = ys.shape[:2]
  rows = _devices(ys) * max(ROWS, BYTES // (4 * vocabulary))
  count = -(-length * batch // rows)
  size = -(-length // count)  # slices of about one size
  whole, rest = divmod(length, size)
  if whole == 1:
    state = add(state, 0, size)
  else:
    state = jax.lax.fori_loop(0, whole, lambda i, s: add(s, size * i, size), state)
  return add(state, size * whole, rest) if rest else state


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
