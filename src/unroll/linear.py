"""Products of a step and of the gradient, and the gates' activations."""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from unroll.types import Array

SIZABLE = 2**18  # bytes of a matrix: too many for the first cache
ROWS = 8  # as many as a set of that cache has lines


def product(x: Array, w: Array) -> Array:
  """`x [..., N] @ w [N, M]`, in the precision of `w`, summed in that of `x`.

  With bfloat16 weights and float32 activations the operands are bfloat16 and the
  sums float32; with equal types it is a plain product.
  """
  if x.dtype == w.dtype:
    return x @ w
  return jnp.matmul(x.astype(w.dtype), w, preferred_element_type=x.dtype)


def einsum(subscripts: str, x: Array, w: Array) -> Array:
  """`jnp.einsum(subscripts, x, w)`, with the precisions of `product`.

  `einsum("bhi,hij->bhj", x, w)` multiplies each head by its own matrix.
  """
  if x.dtype == w.dtype:
    return jnp.einsum(subscripts, x, w)
  x, wide = x.astype(w.dtype), x.dtype
  return jnp.einsum(subscripts, x, w, preferred_element_type=wide)


def convolution(x: Array, w: Array) -> Array:
  """A convolution over all axes but the last, with the precisions of `product`.

  Args:
    x: `[..., C]`, with as many axes before C as the kernel has, and any before those.
    w: the kernel, `[k, ..., C, M]`.

  Returns:
    `[..., M]`, of the size of x: its border is padded with zeros.

  Raises:
    ValueError: if C of the two differ, or x has fewer axes than the kernel less one.
  """
  if x.ndim < w.ndim - 1 or x.shape[-1] != w.shape[-2]:
    raise ValueError(
      f"an input of shape {x.shape} is convolved with a kernel of shape {w.shape}: "
      f"give it {w.ndim - 1} axes or more, the last of them {w.shape[-2]}"
    )
  lead, own = x.shape[: x.ndim - w.ndim + 1], x.shape[x.ndim - w.ndim + 1 :]
  if len(lead) != 2:
    y = _convolved(x.reshape(-1, *own), w)
    return y.reshape(*lead, *y.shape[1:])
  # As of `_rows`, the images of each device stay together.
  steps, batch = lead
  devices = spread_over(x)
  parts = jnp.moveaxis(x.reshape(steps, devices, batch // devices, *own), 1, 0)
  y = _convolved(parts.reshape(-1, *own), w)
  parts = y.reshape(devices, steps, batch // devices, *y.shape[1:])
  return jnp.moveaxis(parts, 0, 1).reshape(*lead, *y.shape[1:])


@jax.custom_jvp
def _convolved(x: Array, w: Array) -> Array:
  """`convolution` with one axis before those of the kernel."""
  axes = "".join(map(str, range(w.ndim - 2)))
  return jax.lax.conv_general_dilated(
    x.astype(w.dtype),
    w,
    (1,) * len(axes),
    "SAME",
    dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    preferred_element_type=x.dtype,
  )


def _convolved_jvp(primals, tangents):
  # In a loop a CPU takes the transpose of a convolution 80 times as slowly for the
  # kernel and 8 times for x as that of the products it is the sum of.
  linear = _by_taps if jax.default_backend() == "cpu" else _convolved.fun
  (x, w), (dx, dw) = primals, tangents
  parts = []
  if not isinstance(dx, SymbolicZero):
    parts.append(linear(dx, w))
  if not isinstance(dw, SymbolicZero):
    parts.append(linear(x, dw))
  y = _convolved(x, w)
  return y, sum(parts[1:], parts[0]) if parts else jnp.zeros_like(y)


_convolved.defjvp(_convolved_jvp, symbolic_zeros=True)


def _by_taps(x: Array, w: Array) -> Array:
  """`_convolved` as a sum of products, one for each place of the kernel."""
  *size, _, outputs = w.shape
  before = [(width - 1) // 2 for width in size]
  around = [(b, width - 1 - b) for b, width in zip(before, size)]
  padded = jnp.pad(x, [(0, 0), *around, (0, 0)])
  total = jnp.zeros((*x.shape[:-1], outputs), x.dtype)
  for tap in itertools.product(*map(range, size)):
    window = tuple(slice(i, i + n) for i, n in zip(tap, x.shape[1:-1]))
    seen = padded[(slice(None), *window)]
    y = product(seen.reshape(-1, x.shape[-1]), w[tap])
    total = total + y.reshape(total.shape)
  return total


def add_bias(z: Array, b: Array) -> Array:
  """`z [B, M] + b [M]`: in the step, where XLA adds it on the way, not before it."""
  return z + jnp.broadcast_to(b.astype(z.dtype), z.shape)


def weight_gradient(x: Array, dz: Array, dtype) -> Array:
  """Σ_t x_tᵀ dz_t as one product: `[T, B, …, N], [T, B, …, M] -> [N, M]`.

  As of `product`, operands are in `dtype`, that of the weights, and sums in that of dz.
  """
  return summed_outer(x, dz, dtype).astype(dtype)


def summed_outer(x: Array, dz: Array, dtype) -> Array:
  """`weight_gradient` before it is rounded to `dtype`: a part of a sum."""
  if x.ndim == 1:  # of one step, and one sequence of it
    x, dz = x[None], dz[None]
  # One of the two may not say that it is spread: their rows must be in one order.
  devices = max(spread_over(x), spread_over(dz)) if x.ndim > 2 else 1
  rows, d_rows = _rows(x, devices), _rows(dz, devices)
  if x.dtype == dtype == dz.dtype:
    return rows.T @ d_rows
  # XLA has no product of bfloat16 for a CPU that reads its left factor transposed.
  left = transposed(rows.astype(dtype), devices)
  return jnp.matmul(left, d_rows.astype(dtype), preferred_element_type=dz.dtype)


def bias_gradient(dz: Array, dtype) -> Array:
  """Σ_t dz_t, over the batch too, `[T, B, …, M] -> [M]`.

  It is computed as a matrix product: next to the other products of dz, XLA would copy
  dz for a sum.
  """
  rows = _rows(dz, spread_over(dz) if dz.ndim > 2 else 1)
  ones = jnp.ones(rows.shape[0], dz.dtype)
  wide = jnp.float32 if dz.dtype.itemsize < 4 else dz.dtype
  return jnp.matmul(ones, rows, preferred_element_type=wide).astype(dtype)


def _rows(x: Array, devices: int) -> Array:
  """`[T, B, …, N]` as rows `[…, N]`, those of each device together.

  Reshaping `[T, B]` to `[T·B]` would gather a B that is spread over devices, so the
  axis of devices goes first. XLA would transpose `x` to contract two axes, which is
  slow.
  """
  if x.ndim < 3:
    return x
  steps, batch, *rest = x.shape
  parts = x.reshape(steps, devices, batch // devices, *rest)
  return jnp.moveaxis(parts, 1, 0).reshape(-1, x.shape[-1])


def spread_over(x: Array) -> int:
  """Over how many devices the batch of `[T, B, …]` may be spread."""
  mesh = jax.typeof(x).sharding.mesh
  count = 1 if mesh.manual_axes else mesh.size or 1
  return count if x.shape[1] % count == 0 else 1


def at_least(size: int, least: int) -> bool:
  """Whether a dimension has a size; one unknown yet (`jax.export`) counts as large."""
  return not isinstance(size, int) or size >= least


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def transposed(w: Array, devices: int = 1) -> Array:
  """`wᵀ` of `[N, M]`: on a CPU a copy, made of a few rows at a time.

  XLA makes it column by column, and rows of a power of two all want the same few
  lines of the cache: four to six times as slow where there are `SIZABLE` bytes of
  them. A bfloat16 matrix is copied at any size, as its products want it copied.

  Args:
    w: the matrix.
    devices: that have N / devices of its rows each, or all of it if 1.
  """
  known = all(isinstance(size, int) for size in w.shape)
  if jax.default_backend() != "cpu" or not known or not w.size:
    return w.T
  if w.dtype == jnp.bfloat16:
    # As bits: on a CPU XLA computes with it as float32, and would turn all of the
    # matrix into that and back for every few rows.
    turned = _by_rows(jax.lax.bitcast_convert_type(w, jnp.uint16), devices)
    return jax.lax.bitcast_convert_type(turned, w.dtype)
  return _by_rows(w, devices) if w.nbytes // devices >= SIZABLE else w.T


@transposed.defjvp
def _transposed_jvp(devices: int, primals, tangents):
  # It is linear; bits have no derivative, and a plain transpose has every order.
  turned = tangents[0].T
  if turned.dtype == jnp.bfloat16 and jax.default_backend() == "cpu":
    # Or XLA joins it to the product, and has none of a transposed left factor.
    turned = jax.lax.optimization_barrier(turned)
  return transposed(*primals, devices), turned


def _by_rows(w: Array, devices: int) -> Array:
  """The copy of `transposed`, of `ROWS` rows at a time."""
  count, columns = w.shape
  share = count // devices
  rows = min(ROWS, share)
  parts = w.reshape(devices, share, columns)

  def copy(i, turned):
    # The last slice begins early enough to have as many rows as the others.
    block = jax.lax.dynamic_slice_in_dim(parts, i * rows, rows, axis=1)
    block = jnp.swapaxes(block, 1, 2)
    return jax.lax.dynamic_update_slice_in_dim(turned, block, i * rows, axis=2)

  turned = jnp.zeros_like(parts, shape=(devices, columns, share))
  turned = jax.lax.fori_loop(0, -(-share // rows), copy, turned)
  return jnp.moveaxis(turned, 0, 1).reshape(columns, count)


def squash(x: Array, size: int, kinds: str) -> Array:
  """Sigmoids and hyperbolic tangents of neighbouring blocks in one sweep.

  `σ(x) = ½ tanh(x/2) + ½`, so one `tanh` over the whole width serves every gate;
  XLA vectorises that, but not a sigmoid of each slice.

  Args:
    x: `[..., len(kinds)·size]`.
    size: the width of a block.
    kinds: a letter a block: `s` sigmoid, `t` tanh; LSTM's gates are "ssts".

  Returns:
    The activations, in the shape of `x`.
  """
  scale = _by_block(x, size, [0.5 if kind == "s" else 1.0 for kind in kinds])
  return scale * jnp.tanh(scale * x) + (1 - scale)


def squash_slope(a: Array, size: int, kinds: str) -> Array:
  """The derivative of `squash`, from its activations `a`: a (1 - a) or 1 - a²."""
  shift = _by_block(a, size, [0.0 if kind == "s" else 1.0 for kind in kinds])
  return (a + shift) * (1 - a)


def _by_block(x: Array, size: int, values: list[float]) -> Array:
  """`x`'s shape, a value for each block of `size`."""
  return jnp.broadcast_to(jnp.repeat(jnp.array(values, x.dtype), size), x.shape)
