"""The one scan through time, and its exact backward pass.

Plain autodiff of a scan adds to every weight gradient once per step: T products
`[H, B] @ [B, G]`, each too thin to run fast. Here the products `h @ W` of a cell are
recorded instead, and each weight gradient is one product `[H, T·B] @ [T·B, G]` after
the loop. The cell's code stays the plain equation: inside the loop each matrix of
its parameters is a `_Matrix`, and `h @ _Matrix` is what gets recorded.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from unroll.linear import product
from unroll.types import Array, Carry, Cell, Params, is_draw

Backward = Literal["fast", "autodiff"]


def unroll(
  cell: Cell,
  params: Params,
  carry: Carry,
  xs: Array,
  *,
  valid: Array | None = None,
  reset: Array | None = None,
  reverse: bool = False,
  backward: Backward = "fast",
) -> tuple[Carry, Array]:
  """Runs a cell over T steps.

  At each step: where `reset`, the carry becomes the cell's initial one (also on a
  step that is not valid); the cell steps; where not `valid`, the carry is held and
  the output is zero. What stands in `xs` at steps that are not valid, be it NaN,
  reaches neither outputs nor gradients.

  Args:
    cell: the cell.
    params: its parameters.
    carry: the carry before the first step; `cell.carry(params, B)` starts afresh.
    xs: `[T, B, ...]`, what `cell.project` takes.
    valid: `[T, B]`, true at real steps; holes are fine. None: all are.
    reset: `[T, B]`, true where a sequence starts afresh before that step, in the
      order of the scan: with `reverse`, before the steps to its left.
    reverse: runs from the last step to the first; `ys` keep the order of `xs`.
    backward: "fast" takes weight gradients after the loop, exactly, in reverse mode
      once. "autodiff" is JAX's own, for forward mode and second derivatives.

  Returns:
    The carry after the last valid step, and `ys [T, B, H]`.

  Raises:
    ValueError: if a mask does not have the shape `[T, B]` of `xs`, or `backward` is
      neither of the two.
  """
  for name, mask in (("valid", valid), ("reset", reset)):
    if mask is not None and mask.shape != xs.shape[:2]:
      raise ValueError(f"{name} has shape {mask.shape}, xs [T, B] is {xs.shape[:2]}")
  if backward not in ("fast", "autodiff"):
    raise ValueError(f"backward={backward!r}: choose 'fast' or 'autodiff'")
  if valid is not None:
    valid = valid.astype(bool)
    xs = masked(xs, valid)
  if reset is not None:
    reset = reset.astype(bool)
  zs = _project(cell, params, xs, _product if backward == "fast" else product)
  initial = None if reset is None else cell.carry(params, xs.shape[1])
  masks = (valid, reset)
  z = jax.ShapeDtypeStruct(zs.shape[1:], zs.dtype)
  products = _products(cell.step, params, carry, z)
  if products and backward == "fast" and xs.shape[0] > 1:
    return _deferred(cell.step, products, params, carry, initial, zs, masks, reverse)
  step = cell.step if products is None else _wrapped(cell.step)
  return _plain(step, params, carry, initial, zs, masks, reverse)


def masked(xs: Array, valid: Array) -> Array:
  """`xs [T, B, ...]` with zeros, whatever stood there, where `valid` is false."""
  return _where(valid.astype(bool), xs, jnp.zeros_like(xs))


class _Matrix:
  """A weight matrix inside the loop: `x @ matrix` is recorded, all else is plain."""

  def __init__(self, w: Array, multiply: Callable[[Array, Array], Array] = product):
    self._w = w
    self._multiply = multiply

  def __rmatmul__(self, x: Array) -> Array:
    return self._multiply(x, self._w)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._w, name)

  def __getitem__(self, index: Any) -> Array:
    return self._w[index]

  def __iter__(self) -> Iterator[Array]:
    return iter(self._w)


def _is_matrix(leaf: Array) -> bool:
  return leaf.ndim == 2 and jnp.issubdtype(leaf.dtype, jnp.floating)


def _wrapped(step):
  """The step with its matrices wrapped, so that every path multiplies alike."""

  def wrapped(params, carry, z):
    params = jax.tree.map(lambda p: _Matrix(p) if _is_matrix(p) else p, params)
    return step(params, carry, z)

  return wrapped


def _project(cell: Cell, params: Params, xs: Array, multiply) -> Array:
  wrapped = jax.tree.map(lambda p: _Matrix(p, multiply) if _is_matrix(p) else p, params)
  try:
    return cell.project(wrapped, xs)
  except TypeError:  # it does with a matrix what a _Matrix cannot stand for
    return cell.project(params, xs)


@jax.custom_vjp
def _product(x: Array, w: Array) -> Array:
  """x @ w, with a gradient that XLA takes without copying the cotangent first."""
  return product(x, w)


def _product_fwd(x, w):
  return product(x, w), (x, w)


def _product_bwd(residuals, dz):
  x, w = residuals
  return product(dz, w.T).astype(x.dtype), _weight_gradient(x, dz, w.dtype)


_product.defvjp(_product_fwd, _product_bwd)


def _where(mask: Array, new: Array, old: Array) -> Array:
  return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - mask.ndim)), new, old)


def _select(mask: Array, new: Carry, old: Carry) -> Carry:
  """`new` where the mask `[B]` is true, else `old`; a Draw has no rows: the new one."""
  return jax.tree.map(
    lambda n, o: n if is_draw(n) else _where(mask, n, o),
    new,
    old,
    is_leaf=is_draw,
  )


def _masked_step(step, params, carry, initial, z, masks):
  valid, reset = masks
  if reset is not None:
    carry = _select(~reset, carry, initial)
  new, y = step(params, carry, z)
  if valid is not None:
    new, y = _select(valid, new, carry), masked(y, valid)
  return new, y


def _plain(step, params, carry, initial, zs, masks, reverse):
  def body(carry, inputs):
    z, masks = inputs
    return _masked_step(step, params, carry, initial, z, masks)

  return jax.lax.scan(body, carry, (zs, masks), reverse=reverse)


@jax.custom_vjp
def _recorded_product(x: Array, w: Array, slot: Array) -> Array:
  """x @ w, whose cotangent also flows to `slot`, and not to `w`."""
  del slot
  return product(x, w)


def _recorded_product_fwd(x, w, slot):
  return _recorded_product(x, w, slot), (w, jnp.zeros((), x.dtype))


def _recorded_product_bwd(residuals, dz):
  w, x = residuals
  return product(dz, w.T).astype(x.dtype), None, dz


_recorded_product.defvjp(_recorded_product_fwd, _recorded_product_bwd)


def _recording(params, slots):
  """Parameters whose products `x @ W` are recorded.

  Args:
    params: a cell's parameters.
    slots: one array `[B, G]` a product, in the order of the products; or None to
      find out what they are.

  Returns:
    The parameters to hand to a step, and the list that the step fills as it runs, of
    `(index of W among the leaves, x, x @ W)`.
  """
  leaves, treedef = jax.tree.flatten(params)
  trace = get_opaque_trace_state(convention="unroll")
  record: list[tuple[int, Array, Array]] = []

  def multiplier(index):
    frozen = jax.lax.stop_gradient(leaves[index])

    def multiply(x, w):
      del w  # its gradient is taken after the loop
      if get_opaque_trace_state(convention="unroll") != trace:
        raise TypeError("a product inside a vmap, loop or remat of the step's own")
      slot = None if slots is None else slots[len(record)]
      y = product(x, frozen) if slot is None else _recorded_product(x, frozen, slot)
      record.append((index, x, y))
      return y

    return multiply

  wrapped = [
    _Matrix(leaf, multiplier(i)) if _is_matrix(leaf) else leaf
    for i, leaf in enumerate(leaves)
  ]
  return jax.tree.unflatten(treedef, wrapped), record


def _products(step, params, carry, z) -> list[tuple[int, jax.ShapeDtypeStruct]] | None:
  """Which leaf each `x @ W` of a step multiplies by, and what comes out.

  None if the step does with a matrix what a `_Matrix` cannot stand for.
  """
  found: list[tuple[int, jax.ShapeDtypeStruct]] = []

  def probe(params, carry, z):
    wrapped, record = _recording(params, None)
    step(wrapped, carry, z)
    found.extend((i, jax.ShapeDtypeStruct(y.shape, y.dtype)) for i, _, y in record)

  try:
    jax.eval_shape(probe, params, carry, z)
  except (TypeError, ValueError):
    return None
  return found


def _deferred(step, products, params, carry, initial, zs, masks, reverse):
  def recorded(masks, params, carry, initial, zs, slots):
    def body(carry, inputs):
      z, slots, masks = inputs
      wrapped, record = _recording(params, slots)
      carry, y = _masked_step(step, wrapped, carry, initial, z, masks)
      return carry, (y, [x for _, x, _ in record])

    carry, (ys, lefts) = jax.lax.scan(body, carry, (zs, slots, masks), reverse=reverse)
    return (carry, ys), lefts

  @jax.custom_vjp
  def run(params, carry, initial, zs, masks):
    return _plain(_wrapped(step), params, carry, initial, zs, masks, reverse)

  def forward(params, carry, initial, zs, masks):
    slots = [jnp.zeros(zs.shape[:1] + y.shape, y.dtype) for _, y in products]
    out, pullback, lefts = jax.vjp(
      functools.partial(recorded, masks),
      params,
      carry,
      initial,
      zs,
      slots,
      has_aux=True,
    )
    return out, (pullback, lefts)

  def backward(residuals, cotangents):
    pullback, lefts = residuals
    d_params, d_carry, d_initial, d_zs, d_slots = pullback(cotangents)
    leaves, treedef = jax.tree.flatten(d_params)
    for (index, _), x, dz in zip(products, lefts, d_slots, strict=True):
      leaves[index] += _weight_gradient(x, dz, leaves[index].dtype)
    return jax.tree.unflatten(treedef, leaves), d_carry, d_initial, d_zs, None

  run.defvjp(forward, backward)
  return run(params, carry, initial, zs, masks)


def _weight_gradient(x: Array, dz: Array, dtype) -> Array:
  """Σ_t x_tᵀ dz_t as one product: `[T, B, H], [T, B, G] -> [H, G]`."""
  x = x.reshape(-1, x.shape[-1])
  dz = dz.reshape(-1, dz.shape[-1])
  return product(x.T, dz).astype(dtype)
