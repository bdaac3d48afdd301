"""The backward pass of any cell: its products `h @ W` recorded, summed after the loop.

Plain autodiff of a scan adds to every weight gradient once per step: T products
`[H, B] @ [B, G]`, each too thin to run fast. Here the products of a cell are
recorded instead, and each weight gradient is one product `[H, T·B] @ [T·B, G]`. The
cell's code stays the plain equation: inside the loop each matrix of its parameters
is a `Matrix`, and `h @ Matrix` is what gets recorded.
"""

import functools

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from unroll.linear import product, weight_gradient
from unroll.scan.masks import masked_step, plain
from unroll.scan.matrix import Matrix, is_matrix, wrapped
from unroll.types import Array


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
  matrices, treedef = jax.tree.flatten(params)
  trace = get_opaque_trace_state(convention="unroll")
  record: list[tuple[int, Array, Array]] = []

  def multiplier(index):
    frozen = jax.lax.stop_gradient(matrices[index])

    def multiply(x, w):
      del w  # its gradient is taken after the loop
      if get_opaque_trace_state(convention="unroll") != trace:
        raise TypeError("a product inside a vmap, loop or remat of the step's own")
      slot = None if slots is None else slots[len(record)]
      y = product(x, frozen) if slot is None else _recorded_product(x, frozen, slot)
      record.append((index, x, y))
      return y

    return multiply

  leaves = [
    Matrix(leaf, multiplier(i)) if is_matrix(leaf) else leaf
    for i, leaf in enumerate(matrices)
  ]
  return jax.tree.unflatten(treedef, leaves), record


def products_of(
  step, params, carry, z
) -> list[tuple[int, jax.ShapeDtypeStruct]] | None:
  """Which leaf each `x @ W` of a step multiplies by, and what comes out.

  None if the step does with a matrix what a `Matrix` cannot stand for.
  """
  found: list[tuple[int, jax.ShapeDtypeStruct]] = []

  def probe(params, carry, z):
    params, record = _recording(params, None)
    step(params, carry, z)
    found.extend((i, jax.ShapeDtypeStruct(y.shape, y.dtype)) for i, _, y in record)

  try:
    jax.eval_shape(probe, params, carry, z)
  except (TypeError, ValueError):
    return None
  return found


def run(step, products, params, carry, initial, zs, masks, reverse):
  """The scan, differentiated by recording `products`, which `products_of` found."""

  def recorded(masks, params, carry, initial, zs, slots):
    def body(carry, inputs):
      z, slots, masks = inputs
      recording, record = _recording(params, slots)
      carry, y = masked_step(step, recording, carry, initial, z, masks)
      return carry, (y, [x for _, x, _ in record])

    carry, (ys, lefts) = jax.lax.scan(body, carry, (zs, slots, masks), reverse=reverse)
    return (carry, ys), lefts

  @jax.custom_vjp
  def run(params, carry, initial, zs, masks):
    return plain(step, wrapped(params), carry, initial, zs, masks, reverse)

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
      leaves[index] += weight_gradient(x, dz, leaves[index].dtype)
    return jax.tree.unflatten(treedef, leaves), d_carry, d_initial, d_zs, None

  run.defvjp(forward, backward)
  return run(params, carry, initial, zs, masks)
