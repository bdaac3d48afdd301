"""Units that read no other, K steps at once: the exact gradient, forward in time.

All influence that there is in such a layer is that of a unit's own parameters on it.
Within a chunk of K steps backpropagation takes the gradient; the past comes in by the
influence on the states before the chunk. One more backward pass, of each sequence by
itself, has the influence of the chunk on the states after it, of all units together.
What a chunk takes is therefore a few times what backpropagation takes, and what is kept
does not grow with the past (Irie et al. 2024; Zucchet et al. 2023).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unroll import scan, states
from unroll.gradients.chunks import Chunks
from unroll.gradients.full import full
from unroll.gradients.online import units
from unroll.gradients.online.local import TracedCarry, Traces, delivered, fresh
from unroll.gradients.online.reaching import patterns
from unroll.gradients.scheme import Scheme
from unroll.types import Array, BadInput, Carry, Cell, Chunk, Params

REFUSAL = (
  "truncation=rtrl_diagonal is for units that read no other, and those of this layer "
  "do, or draw: choose a cell such as lru, indrnn or min_gru, or use snap1:K or rtrl:K"
)


def rtrl_diagonal(k: int = 16) -> Scheme:
  """Real-time recurrent learning of a layer whose units read no other, k steps at once.

  Its memory is F numbers for each parameter and sequence, of F states of a unit. Layers
  follow their own states; the gradient from an upper layer reaches a lower one, and the
  embedding, within its own chunk alone.

  Args:
    k: steps of a chunk and of an update, at least 1.
  """
  return full()._replace(chunks=Chunks(k), cell=lambda cell: followed(cell, k))


def followed(cell: Cell, k: int) -> Cell:
  """The cell whose gradient through the past, k steps and more, is by the influence.

  Args:
    cell: of which a state depends on no state but those of its own unit.
    k: steps that backpropagation goes back within.

  Raises:
    BadInput: when it starts, for another cell.
  """
  if cell.context:
    raise BadInput(REFUSAL)

  def carry(params: Params, batch: int) -> TracedCarry:
    begun = cell.carry(params, batch)
    _check(cell, params, begun)
    return TracedCarry(begun, fresh(params, begun, batch))

  def steps(params: Params, carry: TracedCarry, initial, xs: Array, valid, reset):
    del initial  # the cell's own
    params = jax.tree.map(lambda leaf: leaf[...], params)  # no longer as a scan has it
    inner, traces = jax.lax.stop_gradient(carry)
    leaves = jax.tree.leaves(params)
    nothing = jnp.zeros_like(states.vector(inner))
    moved = states.moved(inner, delivered(nothing, leaves, traces))
    masks = {"valid": valid, "reset": reset}
    new, ys = scan.unroll(cell, params, moved, xs, **masks)
    held = jax.lax.stop_gradient((params, inner, xs))
    return TracedCarry(new, _after(cell, traces, *held, masks)), ys

  def step(params: Params, carry: TracedCarry, x: Array):
    carry, ys = steps(params, carry, None, x[None], None, None)
    return carry, ys[0]

  chunk = Chunk(steps, k, "chunked")
  return Cell(cell.init, carry, lambda params, xs: xs, step, chunk=chunk)


def _after(
  cell: Cell, traces: Traces, params: Params, carry: Carry, xs: Array, masks: Any
) -> Traces:
  """The traces after a chunk."""
  count, width = units.counts(carry)
  leaves, tree = jax.tree.flatten(params)

  def one(carry: Carry, xs: Array, masks: Any):
    """Of a sequence: of each state of a unit, to the parameters and to the states."""
    row = jax.tree.map(lambda leaf: leaf[None], carry)
    column = jax.tree.map(lambda leaf: leaf[:, None], (xs, masks))

    def last(traced: dict[int, Array], change: Array) -> Array:
      own = [traced.get(number, leaf) for number, leaf in enumerate(leaves)]
      begun, (xs, masks) = states.moved(row, change[None]), column
      own = jax.tree.unflatten(tree, own)
      return states.vector(scan.unroll(cell, own, begun, xs, **masks)[0])[0]

    own = {number: leaves[number] for number in traces}
    _, pull = jax.vjp(last, own, jnp.zeros_like(states.vector(row)[0]))
    rows = jnp.repeat(jnp.eye(count, dtype=xs.dtype), width, axis=1)
    return jax.vmap(pull)(rows)

  direct, through = jax.vmap(one, in_axes=(0, 1, 1))(carry, xs, masks)
  through = through.reshape(*through.shape[:2], count, width)
  found = {}
  for number, trace in traces.items():
    between = [1] * (trace.ndim - 3)
    new = direct[number].reshape(trace.shape)
    for state in range(count):
      slopes = through[:, :, state].reshape(*through.shape[:2], *between, width)
      new = new + slopes * trace[:, state : state + 1]
    found[number] = new
  return found


def _check(cell: Cell, params: Params, carry: Carry) -> None:
  """Refuses units that read each other."""
  _, width = units.counts(carry)
  leaves, tree = jax.tree.flatten(params)
  shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
  if not _apart(cell, width, shapes, tree):
    raise BadInput(REFUSAL)


@functools.lru_cache(maxsize=64)
def _apart(cell: Cell, width: int, shapes: tuple, tree: Any) -> bool:
  """Whether every state depends on parameters and states of its own unit alone."""
  to_params, to_states = patterns(cell, jax.tree.unflatten(tree, shapes))
  numbers = []
  for leaf in shapes:
    form = units.form(leaf, width)
    own = np.arange(width) if form and leaf.shape else np.full(1, -1)
    numbers.append(np.resize(own, leaf.size))
  unit = np.arange(len(to_states)) % width
  strange = unit[:, None] != np.concatenate(numbers)
  return not np.any(to_params & strange) and not np.any(
    to_states & (unit[:, None] != unit)
  )
