"""A chunk loss as estimators see it that follow the states forward in time.

The influence of the parameters on the states before a chunk, d states / d params, is
what a gradient that stops at the chunk's start lacks: with it, the gradient through all
the past is d loss / d params + d loss / d states · influence (Williams & Zipser 1989).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from unroll import states
from unroll.gradients.scheme import Batch, ChunkLoss, Estimate, Estimator, Memory
from unroll.types import Array, BadInput, Carry, Params, Sums, is_draw, needs_key


class Slopes(NamedTuple):
  """A chunk loss and its gradient within the chunk.

  Attributes:
    value: the mean loss.
    carry: after the chunk.
    sums: of the chunk loss.
    grads: to the parameters, the states before the chunk held.
    states: to the states before the chunk, `[B, S]`.
  """

  value: Array
  carry: Carry
  sums: dict[str, Sums]
  grads: Params
  states: Array


class Transition(NamedTuple):
  """How the states after a chunk depend on parameters and on the states before it.

  A state is a number of the carry, of S in each sequence, see `unroll.states`; P are
  the parameters that reach one.

  Attributes:
    loss: the chunk loss.
    reaches: of each leaf of the parameters, whether the states depend on it.
  """

  loss: ChunkLoss
  reaches: tuple[bool, ...]

  @classmethod
  def of(
    cls, loss: ChunkLoss, params: Params, carry: Carry, batch: Batch
  ) -> "Transition":
    """Of a loss for the shapes of what it is given; nothing is computed.

    Raises:
      BadInput: the loss draws, which would be drawn anew for a sequence by itself.
    """

    def after(params: Params, carry: Carry) -> Array:
      return states.vector(loss(params, carry, batch)[1][0])

    if needs_key(lambda carry: after(params, carry), carry):
      raise BadInput(
        "this truncation follows every state forward in time, and dropout, zoneout or "
        "noise draws within the step: set those rates to 0, or use tbptt:K"
      )
    return cls(loss, read(lambda params: after(params, carry), params))

  def flat(self, params: Params) -> Array:
    """The parameters that reach a state, `[P]`."""
    return ravel_pytree(self._reaching(jax.tree.leaves(params)))[0]

  def put(self, params: Params, flat: Array) -> Params:
    """The parameters with others for those that reach a state."""
    leaves, tree = jax.tree.flatten(params)
    found = iter(ravel_pytree(self._reaching(leaves))[1](flat))
    return jax.tree.unflatten(
      tree, [next(found) if flag else leaf for flag, leaf in zip(self.reaches, leaves)]
    )

  def added(self, grads: Params, flat: Array) -> Params:
    """Gradients with `[P]` added to those of the parameters that reach a state."""
    return self.put(grads, self.flat(grads) + flat)

  def of_each(
    self,
    follow: Callable[..., Any],
    params: Params,
    carry: Carry,
    batch: Batch,
    *others: Any,
  ) -> Any:
    """Calls a function for each sequence by itself, all of them in one program.

    Args:
      follow: `(after, flat, still, *others)`, where `after(flat [P], change [S])` is
        the states `[S]` after the chunk from states changed by so much, and `still` is
        no change.
      params: the parameters.
      carry: before the chunk, `[B, …]`.
      batch: the chunk, `[T, B, …]`.
      *others: pytrees of arrays `[B, …]`, of which each call has a row.

    Returns:
      What it returns, with a leading axis B.
    """
    flat = self.flat(params)

    def one(carry: Carry, batch: Batch, *others: Any) -> Any:
      row = _mapped(lambda leaf: leaf[None], carry)
      column = jax.tree.map(lambda leaf: leaf[:, None], batch)

      def after(flat: Array, change: Array) -> Array:
        begun = states.moved(row, change[None])
        _, (new, _) = self.loss(self.put(params, flat), begun, column)
        return states.vector(new)[0]

      return follow(after, flat, jnp.zeros_like(states.vector(row)[0]), *others)

    axes = (_mapped(lambda leaf: 0, carry, draws=None), 1, *[0] * len(others))
    return jax.vmap(one, in_axes=axes)(carry, batch, *others)

  def _reaching(self, leaves: list[Array]) -> list[Array]:
    return [leaf for flag, leaf in zip(self.reaches, leaves) if flag]


def following(
  begin: Callable[[Array, int], Memory],
  seen: Callable[[Array, Memory], Array],
  follow: Callable[..., Memory],
) -> Callable[[ChunkLoss], Estimator]:
  """The estimator that keeps an influence, which it follows through each chunk.

  Args:
    begin: `(states [B, S], P) -> influence`, before the first chunk.
    seen: `(slope [B, S], influence) -> [P]`: what the gradient to the states before a
      chunk is for the parameters, by way of the past.
    follow: `(after, flat, still, influence, key) -> influence` after a chunk, of one
      sequence, see `Transition.of_each`; the key is its own.
  """

  def estimator(loss: ChunkLoss) -> Estimator:
    def init(params, carry, batch):
      parts = Transition.of(loss, params, carry, batch)
      return begin(states.vector(carry), parts.flat(params).size)

    def estimate(params, carry, memory, batch, key):
      parts = Transition.of(loss, params, carry, batch)
      value, new, sums, grads, slope = slopes(loss, params, carry, batch)
      grads = parts.added(grads, seen(slope, memory))
      keys = jax.random.split(key, len(slope))
      memory = parts.of_each(follow, params, carry, batch, memory, keys)
      return Estimate(value, new, memory, sums, grads)

    return Estimator(init, estimate)

  return estimator


def slopes(loss: ChunkLoss, params: Params, carry: Carry, batch: Batch) -> Slopes:
  """A chunk loss and its gradients, to the parameters and to the states before it."""

  def value(params: Params, change: Array):
    return loss(params, states.moved(carry, change), batch)

  found = jax.value_and_grad(value, (0, 1), has_aux=True)
  (mean, (new, sums)), (grads, slope) = found(
    params, jnp.zeros_like(states.vector(carry))
  )
  return Slopes(mean, new, sums, grads, slope)


def _mapped(f: Callable[[Array], Any], carry: Carry, **draws: Any) -> Any:
  """A function of the arrays of a carry; its draws have no row a sequence."""
  return jax.tree.map(
    lambda leaf: draws.get("draws", leaf) if is_draw(leaf) else f(leaf),
    carry,
    is_leaf=is_draw,
  )


def read(f: Callable[[Params], Array], params: Params) -> tuple[bool, ...]:
  """The leaves of its argument that a function reads on the way to its result."""
  program = jax.make_jaxpr(f)(params).jaxpr
  needed = set(map(id, program.outvars))
  for equation in reversed(program.eqns):
    if needed & set(map(id, equation.outvars)):
      needed |= set(map(id, equation.invars))
  return tuple(id(variable) in needed for variable in program.invars)
