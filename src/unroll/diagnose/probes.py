"""Cell -> Cell: every step has a sink that feels the gradient at the carry it reads.

The gradient to the sinks `[T, B, N]` is the norm of that to each of N states, in the
carry that step t reads: |dL/dcarry_t| for every t, in one backward pass of
`scan.unroll`, which takes its usual path. No gradient to a carry is kept.
"""

import functools

import jax
import jax.numpy as jnp

from unroll import remat, scan, states
from unroll.layers import Layer, rematerialised
from unroll.types import Array, Carry, Cell, Lookup, Params


def probed(cell: Cell) -> Cell:
  """The cell whose carry is felt before each step, by a part of the input.

  Its input is `with_sinks(xs, sinks)`, `[T, B, D + N]`. Parameters, carry, outputs and
  gradients are those of the cell. The gradient to a sink is the Euclidean norm of that
  to a state which the step reads, after a reset; 0 at a step that is not valid. It is
  of no function: its own derivative is not to be taken. Several layers are one cell as
  `compose.deep`.

  Args:
    cell: of inputs `[T, B, D]`, projected `[T, B, G]`.
  """

  def project(params: Params, xs: Array) -> Array:
    cut = xs.shape[-1] - len(states.sizes(cell, params))
    zs = cell.project(params, xs[..., :cut])
    return jnp.concatenate([zs, xs[..., cut:].astype(zs.dtype)], axis=-1)

  def step(params: Params, carry: Carry, z: Array, *context):
    sizes = tuple(states.sizes(cell, params).values())
    cut = z.shape[-1] - len(sizes)
    carry = states.moved(carry, _unmoved(sizes, z[..., cut:]))
    return cell.step(params, carry, z[..., :cut], *context)

  return Cell(
    cell.init, cell.carry, project, step, context=cell.context, prepare=cell.prepare
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _unmoved(sizes: tuple[int, ...], sink: Array) -> Array:
  """No change of states `[B, S]`, of which `sink [B, N]` feels the gradient."""
  return jnp.zeros((*sink.shape[:-1], sum(sizes)), sink.dtype)


def _unmoved_fwd(sizes, sink):
  return _unmoved(sizes, sink), None


def _unmoved_bwd(sizes, _, slope):
  parts = states.named(slope, {str(n): size for n, size in enumerate(sizes)})
  return (jnp.stack([_norm(part) for part in parts.values()], axis=-1),)


_unmoved.defvjp(_unmoved_fwd, _unmoved_bwd)


def _norm(vectors: Array) -> Array:
  """The norms of `[…, H]`: no square falls below the least of float32."""
  largest = jnp.max(jnp.abs(vectors), axis=-1, keepdims=True)
  scaled = vectors / jnp.where(largest > 0, largest, 1)
  return largest[..., 0] * jnp.sqrt(jnp.sum(jnp.square(scaled), axis=-1))


def sinks(cell: Cell, params: Params, steps: int, batch: int) -> Array:
  """A sink for each state of a cell: zeros `[T, B, N]`, float32 or as its carry."""
  row = states.vector(cell.carry(params, batch))
  return jnp.zeros((steps, batch, len(states.sizes(cell, params))), row.dtype)


def with_sinks(xs: Array | Lookup, sinks: Array) -> Array:
  """The input of a `probed` cell.

  Args:
    xs: `[T, B, D]`, what the cell reads.
    sinks: `[T, B, N]`.

  Raises:
    ValueError: their T and B differ, or `xs` has another rank.
  """
  xs = xs.dense() if isinstance(xs, Lookup) else xs
  if xs.ndim != 3 or xs.shape[:2] != sinks.shape[:2]:
    raise ValueError(
      f"xs has shape {xs.shape} and sinks {sinks.shape}: give [T, B, D] and "
      "[T, B, N] of one T and B"
    )
  return jnp.concatenate([xs, sinks.astype(xs.dtype)], axis=-1)


def probed_layer(cell: Cell, sinks: Array, plan: remat.Plan = remat.NONE) -> Layer:
  """The layer that unrolls a cell with `sinks [T, B, N]` for its carries.

  It takes the place of a model's layer, `model.clone(core=probed_layer(…))`, and a loss
  of the model then has a gradient to the sinks.

  Args:
    cell: that is felt.
    sinks: as of `sinks`.
    plan: which segments of a sequence are computed again for the gradient.
  """

  def felt(params: Params, carry: Carry, both: tuple[Array, Array], **options):
    return scan.unroll(probed(cell), params, carry, with_sinks(*both), **options)

  # They meet within a segment: what is read has no gradient then that is kept whole.
  apart = rematerialised(Layer(cell.init, cell.carry, felt, cell.context), plan)

  def unroll(params: Params, carry: Carry, xs: Array | Lookup, **options):
    read = xs.dense() if isinstance(xs, Lookup) else xs
    return apart.unroll(params, carry, (read, sinks), **options)

  return Layer(cell.init, cell.carry, unroll, cell.context)
