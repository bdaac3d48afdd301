"""From what an encoder ends with to the state that a decoder begins with."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from unroll.attention import AttendingCarry, Memory
from unroll.compose import DeepCarry
from unroll.types import Array, BadInput, Carry, is_draw

BRIDGES = ("dense", "copy", "zero")


class Start(NamedTuple):
  """What a decoder begins with.

  Attributes:
    memory: what it reads at every step.
    summary: `[B, N]`, one vector of the whole source.
    state: the carries of the encoder's layers; None where they are not the decoder's.
  """

  memory: Memory
  summary: Array
  state: Carry | None = None


class Bridge(nn.Module):
  """The first state of a decoder, a layer for each of its parts (Cho et al. 2014)."""

  @nn.compact
  def __call__(self, carry: Carry, summary: Array) -> Carry:
    """A carry in place of the initial one, from a vector `[B, N]` of the source.

    Its parts `[B, H]` become tanh(summary W + b), each by a layer of its own; others
    stay.
    """

    def made(path, leaf):
      if is_draw(leaf) or leaf.ndim != 2 or not leaf.shape[1]:
        return leaf
      names = [str(getattr(p, "name", getattr(p, "idx", p))) for p in path]
      if names[-1] == "coverage":
        return leaf
      layer = nn.Dense(leaf.shape[1], name="_".join(names))
      return jnp.tanh(layer(summary)).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(made, carry, is_leaf=is_draw)


def copied(carry: DeepCarry, start: Start) -> DeepCarry:
  """The states of the encoder's layers as those of the decoder's.

  Sutskever, Vinyals & Le (2014) begin so.

  Args:
    carry: the decoder's initial one: of its layers, or of one that attends.
    start: with the state of as many layers of the same cells.
  """
  assert start.state is not None
  given, first = start.state.layers, carry.layers[0]
  if not isinstance(first, AttendingCarry):
    return carry._replace(layers=given)
  own = first.cell
  own = own._replace(layers=given) if isinstance(own, DeepCarry) else given[0]
  return carry._replace(layers=(first._replace(cell=own, last=start.summary),))


def check_places(carry: DeepCarry, memory: Memory) -> None:
  """Refuses a memory with more places than the coverage of a decoder's carry.

  Raises:
    BadInput: it is one.
  """
  first, there = carry.layers[0], memory.valid.shape[1]
  if isinstance(first, AttendingCarry) and 0 < first.coverage.shape[1] < there:
    raise BadInput(
      f"what is read has {there} places, and with `coverage` this model reads at most "
      f"{first.coverage.shape[1]} at once: read it in parts"
    )
