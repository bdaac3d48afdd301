"""Cell -> Cell: each unit carries with it what its own parameters have done to it.

The influence d states / d params is kept only where a parameter belongs to the unit of
the state: a column of a gate's matrix, an element of its bias. That is SnAp-1 (Menick,
Elsen, Evci, Osindero, Simonyan & Graves 2021), and exact where units do not read each
other, as in a layer of a linear recurrent unit. Without what a unit reads of itself
through the recurrent matrix it is the eligibility trace of e-prop (Bellec et al. 2020),
which for a leaky network is that of RFLO (Murray 2019).

The step of a loss is differentiated as it is, so that its gradient passes the recurrent
matrix once, from the states after the step to the traces before it: a step more of the
exact gradient than in those papers. RFLO alone is kept local, as it is meant: the
gradient to the states after a step goes to the traces after it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll import states
from unroll.gradients.chunks import Chunks
from unroll.gradients.online import units
from unroll.gradients.scheme import Scheme
from unroll.gradients.truncated import truncated
from unroll.types import Array, BadInput, Carry, Cell, Params

# By number of a leaf of the parameters: [B, F, …, k, H], of F states of H units by the
# parameters of k gates; … is the input of a matrix [D, kH], and nothing of a bias [kH].
Traces = dict[int, Array]


class TracedCarry(NamedTuple):
  """A cell's carry, and the influence of the parameters on its states."""

  carry: Carry
  traces: Traces


def snap1(k: int = 1, *, local: bool = False) -> Scheme:
  """SnAp-1: the influence of a unit's own parameters on it, k steps an update.

  Its memory is F numbers for each parameter and sequence, of F states of a unit. Layers
  follow their own states; the gradient from an upper layer reaches a lower one, and the
  embedding, within its own step alone.

  Args:
    k: steps of an update, at least 1.
    local: as published, without the one step of the exact gradient.
  """
  return truncated(1)._replace(
    chunks=Chunks(k), cell=lambda cell: traced(cell, "itself", local=local)
  )


def eprop(k: int = 1) -> Scheme:
  """e-prop: `snap1` without what a unit reads of itself through a matrix.

  The gradient of the loss at a step is that of the read-out itself, "symmetric
  feedback". Memory and layers are as in `snap1`.

  Args:
    k: steps of an update, at least 1.
  """
  scheme = truncated(1)
  return scheme._replace(chunks=Chunks(k), cell=lambda cell: traced(cell, "nothing"))


def rflo(k: int = 1, tau: int | None = None, *, feedback: bool = True) -> Scheme:
  """Random feedback local online learning, k steps an update.

  The traces are those of `eprop`, and what the read-out sends back to the layers below
  goes by a fixed random matrix in place of its weights: a synapse needs to know nothing
  but its two units and one number of the error (Murray 2019). The read-out's own
  gradient is exact. Time and memory are as in `snap1`; of a stack, an upper layer sends
  back by its own weights.

  Args:
    k: steps of an update, at least 1.
    tau: steps in which a trace fades to 1/e, whatever the cell keeps of a state: each
      is multiplied by 1 - 1/tau. None: by what the cell keeps; a layer without a leak,
      as `rnn`, then forgets all within a step.
    feedback: whether by the random matrix, or by the read-out's own weights.
  """
  leak = None if tau is None else 1 - 1 / tau
  return truncated(1)._replace(
    chunks=Chunks(k),
    cell=lambda cell: traced(cell, "nothing", local=True, leak=leak),
    feedback=feedback,
  )


def traced(
  cell: Cell,
  hands_on: units.HandsOn,
  *,
  local: bool = False,
  leak: float | None = None,
) -> Cell:
  """The cell whose gradient through the past is that of its traces alone.

  No gradient flows from step to step. A step hands the one that reaches the carry
  before it to the parameters, by way of the traces.

  Args:
    cell: of which every state is `[B, H]`, and a unit depends on others only through
      products `x @ w` by whole matrices `[…, kH]` of its parameters.
    hands_on: what such a product hands on: "nothing", or what a unit reads of "itself".
    local: whether the gradient to the states after a step goes to the traces after it,
      and nowhere else; the output must be one of the states.
    leak: what a trace is multiplied by at each step; None: what a unit keeps.

  Raises:
    BadInput: when it steps, for another cell.
  """

  def carry(params: Params, batch: int) -> TracedCarry:
    begun = cell.carry(params, batch)
    return TracedCarry(begun, fresh(params, begun, batch))

  def step(params: Params, carry: TracedCarry, x: Array):
    inner, traces = jax.lax.stop_gradient(carry)
    after = followed(traces, *jax.lax.stop_gradient((params, inner, x)))
    nothing, leaves = jnp.zeros_like(states.vector(inner)), jax.tree.leaves(params)
    if local:
      held = jax.lax.stop_gradient(params)
      new, y = cell.step(held, inner, cell.project(held, x[None])[0])
      place = [part is y for part in states.parts(new)]
      if not any(place):
        raise BadInput(units.REFUSAL)
      moved = states.moved(new, delivered(nothing, leaves, after))
      y = states.parts(moved)[place.index(True)]
    else:
      moved = states.moved(inner, delivered(nothing, leaves, traces))
      new, y = cell.step(params, moved, cell.project(params, x[None])[0])
    return TracedCarry(new, after), y

  def followed(traces: Traces, *at: Any) -> Traces:
    found = units.slopes(cell, hands_on, *at)
    if leak is not None:
      found = found._replace(states=_leaking(found.states, leak))
    return _followed(found, traces)

  if cell.context or cell.prepare is not Cell._field_defaults["prepare"]:
    raise BadInput(units.REFUSAL)
  return Cell(cell.init, carry, lambda params, xs: xs, step)


def fresh(params: Params, carry: Carry, batch: int) -> Traces:
  """The traces of units that nothing has reached yet."""
  count, width = units.counts(carry)
  traces = {}
  for number, leaf in enumerate(jax.tree.leaves(params)):
    if form := units.form(leaf, width):
      shape = (batch, count, *form.rest, form.gates, width)
      traces[number] = jnp.zeros(shape, leaf.dtype)
  return traces


@jax.custom_vjp
def delivered(nothing: Array, leaves: list[Array], traces: Traces) -> Array:
  """No change of the states, whose gradient goes to the parameters by the traces."""
  del leaves, traces
  return nothing


def _delivered_fwd(nothing, leaves, traces):
  return nothing, (leaves, traces)


def _delivered_bwd(residuals, slope):
  leaves, traces = residuals
  grads = []
  for number, leaf in enumerate(leaves):
    if number not in traces:
      grads.append(jnp.zeros_like(leaf))
      continue
    trace = traces[number]
    rows, count, *rest, _, width = trace.shape
    many = trace.reshape(rows * count, *trace.shape[2:])
    slopes = slope.reshape(rows * count, *[1] * len(rest), 1, width)
    # Row by row: XLA's sum over leading axes is 16 times as slow on a CPU.
    grad = jax.lax.fori_loop(
      0,
      rows * count,
      lambda i, grad, many=many, slopes=slopes: grad + slopes[i] * many[i],
      jnp.zeros_like(many[0]),
    )
    grad = jnp.sum(grad) if leaf.size == 1 else grad
    grads.append(grad.reshape(leaf.shape).astype(leaf.dtype))
  return jnp.zeros_like(slope), grads, jax.tree.map(jnp.zeros_like, traces)


delivered.defvjp(_delivered_fwd, _delivered_bwd)


def _leaking(slopes: list[Array], leak: float) -> list[Array]:
  """The slopes `[B, F, H]` of states that each keep the same of themselves alone."""
  return [
    jnp.zeros_like(of_state).at[:, state].set(leak)
    for state, of_state in enumerate(slopes)
  ]


def _followed(found: units.Slopes, traces: Traces) -> Traces:
  """The traces after a step."""
  followed = {}
  for number, trace in traces.items():
    between = [1] * (trace.ndim - 3)
    new = sum(found.leaves.get(number, ()), jnp.zeros_like(trace))
    for state, slopes in enumerate(found.states):  # [B, F, H]
      *rows, last = slopes.shape
      new = new + slopes.reshape(*rows, *between, last) * trace[:, state : state + 1]
    followed[number] = new
  return followed
