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

from unroll.linear import product, summed_outer
from unroll.reverse_mode import reverse_mode_only
from unroll.scan.batching import batched_alike
from unroll.scan.masks import masked_step
from unroll.scan.matrix import Matrix, Mismatch, named_matrices, projection
from unroll.scan.precision import narrowed, widened
from unroll.types import Array


@jax.custom_jvp
def _observed(y: Array, slot: Array) -> Array:
  """y, whose gradient also flows to `slot`."""
  del slot
  return y


_observed.defjvps(lambda t, *_: t, lambda t, *_: t)


def _recording(params, factors=None, slots=None):
  """Parameters whose products `x @ W` are recorded.

  Args:
    params: a cell's parameters.
    factors: W of each product, in the order of the products; the parameters' own by
      default.
    slots: one array `[B, G]` a product, where its gradient arrives; None to find out
      what they are.

  Returns:
    The parameters to hand to a step, and the list that the step fills as it runs, of
    `(index of W among the leaves, x, x @ W)`.
  """
  trace = get_opaque_trace_state(convention="unroll")
  record: list[tuple[int, Array, Array]] = []

  def multiplier(index):
    def multiply(x, w):
      if get_opaque_trace_state(convention="unroll") != trace:
        raise TypeError("a product inside a vmap, loop or remat of the step's own")
      w = w if factors is None else factors[len(record)]
      y = product(x, w) if x.dtype == w.dtype else projection(x, w)
      y = y if slots is None else _observed(y, slots[len(record)])
      record.append((index, x, y))
      return y

    return multiply

  def matrix(index, leaf, name):
    return Matrix(leaf, multiplier(index), name)

  return named_matrices(params, matrix), record


def products_of(
  step, params, carry, z, *context
) -> tuple[tuple[tuple[int, jax.ShapeDtypeStruct], ...] | None, str]:
  """Which leaf each `x @ W` of a step multiplies by, and what comes out.

  None, and why, if the step does with a matrix what a `Matrix` cannot stand for.

  Raises:
    Mismatch: if an input does not fit the matrix that it is multiplied by.
  """
  found: list[tuple[int, jax.ShapeDtypeStruct]] = []

  def probe(params, carry, z, *context):
    params, record = _recording(params)
    step(params, carry, z, *context)
    found.extend((i, jax.ShapeDtypeStruct(y.shape, y.dtype)) for i, _, y in record)

  try:
    jax.eval_shape(probe, params, carry, z, *context)
  except Mismatch:
    raise
  except (TypeError, ValueError) as error:
    return None, str(error).split("\n")[0]
  return tuple(found), ""


def run(step, products, params, carry, initial, context, zs, masks, reverse, every):
  """The scan, differentiated by recording `products`, which `products_of` found."""

  def recording(params, factors, slots, carry, z, *context):
    params, record = _recording(params, factors, slots)
    carry, y = step(params, carry, z, *context)
    return carry, y, [x for _, x, _ in record]

  # What the step closes over becomes an argument, or it would have no gradient.
  factors, slots = _factors(params, products), _slots(zs, products)
  recording, closed = jax.closure_convert(
    recording, params, factors, [slot[0] for slot in slots], carry, zs[0], *context
  )
  constants = (params, closed, initial, context)
  types = jax.eval_shape(lambda tree: tree, constants)

  def scanned(masks, factors, wide, carry, zs, slots):
    def body(carry, inputs):
      z, slots, masks = inputs
      params, closed, initial, context = narrowed(wide, types)
      lefts = []

      def step(params, *at):
        carry, y, xs = recording(params, factors, slots, *at, *closed)
        lefts.extend(xs)
        return carry, y

      carry, y = masked_step(step, params, carry, initial, context, z, masks)
      return carry, (y, carry if every else None, lefts)

    given, rows = (wide, carry, zs), (zs, slots, masks)
    carry, (ys, carries, lefts) = jax.lax.scan(body, carry, rows, reverse=reverse)
    return batched_alike((carries if every else carry, ys), given), lefts

  @jax.custom_vjp
  def run(wide, carry, zs, masks):
    factors = _factors(narrowed(wide, types)[0], products)
    return scanned(masks, factors, wide, carry, zs, _slots(zs, products))[0]

  def forward(wide, carry, zs, masks):
    # The factors are constants of this derivative: theirs is taken after the loop.
    factors = _factors(narrowed(wide, types)[0], products)
    out, pullback, lefts = jax.vjp(
      functools.partial(scanned, masks, factors),
      wide,
      carry,
      zs,
      _slots(zs, products),
      has_aux=True,
    )
    return out, (pullback, lefts)

  def backward(residuals, cotangents):
    pullback, lefts = residuals
    (d_params, *d_rest), d_carry, d_zs, d_slots = pullback(cotangents)
    leaves, treedef = jax.tree.flatten(d_params)
    for (index, _), w, x, dz in zip(products, factors, lefts, d_slots, strict=True):
      leaves[index] += summed_outer(x, dz, w.dtype).astype(leaves[index].dtype)
    return (jax.tree.unflatten(treedef, leaves), *d_rest), d_carry, d_zs, None

  run.defvjp(forward, backward)
  return run(*reverse_mode_only((widened(constants), carry, zs)), masks)


def _factors(params, products) -> list[Array]:
  """The matrix of each product."""
  leaves = jax.tree.leaves(params)
  return [leaves[index] for index, _ in products]


def _slots(zs: Array, products) -> list[Array]:
  """For each product of a step, where the gradients `[T, B, G]` of all steps arrive."""
  return [
    jnp.zeros_like(zs, shape=zs.shape[:1] + y.shape, dtype=y.dtype) for _, y in products
  ]
