"""Penalties: what a training loss adds for the states that a recurrence goes through.

The loss that is measured stays that of the data: a penalty is added to the value whose
gradient is taken, and to no sum that people read as a loss.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.parameters import trained
from unroll.regularizers import is_recurrent
from unroll.scan import masked
from unroll.settings import setting
from unroll.types import Array, Params, Sums


class Edge(NamedTuple):
  """The states before a part of a sequence, of which a penalty compares the first.

  Attributes:
    states: `[B, H]`.
    there: `[B]`, False where no step came before.
  """

  states: Array
  there: Array

  @classmethod
  def none(cls, batch: int, width: int) -> "Edge":
    """Nothing before the first step."""
    return cls(jnp.zeros((batch, width)), jnp.zeros(batch, bool))


@dataclass(frozen=True)
class Penalties:
  """Penalties"""

  activation_penalty: float = setting(
    0.0, "times the mean square of the last layer's output; AWD-LSTM: 2", least=0
  )
  temporal_penalty: float = setting(
    0.0, "times the mean square of its change in a step; AWD-LSTM: 1", least=0
  )
  norm_penalty: float = setting(
    0.0,
    "times the mean square of the change of its norm in a step; norm stabiliser: 50 to "
    "500",
    least=0,
  )
  recurrent_penalty: float = setting(
    0.0, "times the sum of the squares of recurrent matrices", least=0
  )

  @property
  def names(self) -> list[str]:
    """Those of the penalties of states that are not 0."""
    named = ("activation_penalty", "temporal_penalty", "norm_penalty")
    return [name for name in named if getattr(self, name)]

  def of_states(
    self, ys: Array, edge: Edge, valid: Array | None, reset: Array | None
  ) -> tuple[Edge, dict[str, Sums]]:
    """The sums that the penalties are means of; steps that are not valid have no part.

    Args:
      ys: `[T, B, H]`, the output of the last layer, dropout included.
      edge: what was before it.
      valid: `[T, B]`, real steps; None if all are.
      reset: `[T, B]`, where a sequence starts afresh before a step; None: nowhere.

    Returns:
      What is before the next part, and sums by the names of settings, of those alone
      that are not 0.
    """
    if not self.names:
      return edge, {}
    here = jnp.ones(ys.shape[:2], bool) if valid is None else valid.astype(bool)
    ys = masked(ys, here).astype(jnp.promote_types(ys.dtype, jnp.float32))
    sums = {}
    if self.activation_penalty:
      sums["activation_penalty"] = _mean_over(jnp.mean(ys * ys, axis=-1), here)
    if self.temporal_penalty or self.norm_penalty:
      all_ys = jnp.concatenate([edge.states.astype(ys.dtype)[None], ys])
      there = jnp.concatenate([edge.there[None], here])
      both = there[:-1] & here
      if reset is not None:
        both &= ~reset.astype(bool)
      if self.temporal_penalty:
        change = all_ys[1:] - all_ys[:-1]
        sums["temporal_penalty"] = _mean_over(jnp.mean(change**2, axis=-1), both)
      if self.norm_penalty:
        norms = _norm(all_ys)
        sums["norm_penalty"] = _mean_over((norms[1:] - norms[:-1]) ** 2, both)
    if len(ys):
      edge = Edge(ys[-1].astype(edge.states.dtype), here[-1])
    return edge, sums

  def added(self, value: Array, sums: Mapping[str, Sums], params: Params) -> Array:
    """A mean loss with the penalties, of which the sums are there.

    Args:
      value: the mean loss.
      sums: those of `of_states` among them.
      params: the model's, for what recurrent matrices cost.
    """
    for name in self.names:
      value = value + getattr(self, name) * sums[name].mean()
    if self.recurrent_penalty:
      squares = [jnp.sum(w * w) for w in _recurrent(params)]
      value = value + self.recurrent_penalty * sum(squares)
    return value


NO_PENALTIES = Penalties()


def _recurrent(params: Params) -> list[Array]:
  """The recurrent matrices of the layers of a model."""
  leaves = jax.tree_util.tree_leaves_with_path(trained(params))
  core = jax.tree_util.DictKey("core")
  return [leaf for path, leaf in leaves if core in path and is_recurrent(path, leaf)]


def _mean_over(values: Array, counted: Array) -> Sums:
  """Values `[T, B]` where they count."""
  values = jnp.where(counted, values, 0)
  return Sums(jnp.sum(values), jnp.sum(counted, dtype=jnp.float32))


def _norm(ys: Array) -> Array:
  """The norm of the last axis, whose gradient at 0 is 0."""
  square = jnp.sum(ys * ys, axis=-1)
  return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
