"""A trial by the layers of Flax: Linen's, and NNX's."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from unroll.convert.parity import Measured, Named, Trial, by_jax, nested
from unroll.convert.stacks import Stack

_ACTIVATIONS = {"rnn": jnp.tanh, "linear_rnn": lambda x: x}


class _Net(nn.Module):
  """Layers of Linen, as many and as wide as ours."""

  stack: Stack

  def setup(self):
    self.rnns = [self._layer(width) for width in self.stack.hidden]

  def _layer(self, width: int) -> Any:
    both: list[Any] = [nn.RNN(self._cell(width)) for _ in range(self.stack.directions)]
    return nn.Bidirectional(*both) if len(both) > 1 else both[0]

  def _cell(self, width: int) -> Any:
    kinds = {"gru": nn.GRUCell, "lstm": nn.LSTMCell, "mgu_reset_after": nn.MGUCell}
    if make := kinds.get(self.stack.cell):
      return make(width)
    activation = _ACTIVATIONS.get(self.stack.cell, nn.relu)
    return nn.SimpleCell(width, activation_fn=activation)

  def __call__(self, xs, lengths):
    states = []
    for rnn in self.rnns:
      carry, xs = rnn(xs, seq_lengths=lengths, return_carry=True, time_major=True)
      states += jax.tree.leaves(carry)
    return xs, states


def run(arrays: Named, stack: Stack, given: Trial) -> Measured:
  """A trial by Linen."""
  model, lengths = _Net(stack), jnp.asarray(given.lengths)

  def forward(arrays, xs):
    return model.apply({"params": nested(arrays)}, xs, lengths)

  return by_jax(forward, arrays, given)


class _Nets(nnx.Module):
  """Layers of NNX, as many and as wide as ours."""

  def __init__(self, stack: Stack):
    self.rnns = nnx.List([self._layer(stack, *both) for both in _sizes(stack)])

  def _layer(self, stack: Stack, reads: int, width: int) -> Any:
    both = [nnx.RNN(_nnx_cell(stack, reads, width)) for _ in range(stack.directions)]
    return nnx.Bidirectional(*both) if len(both) > 1 else both[0]


def _sizes(stack: Stack) -> list[tuple[int, int]]:
  return list(zip(stack.reads, stack.hidden))


def _nnx_cell(stack: Stack, reads: int, width: int) -> Any:
  kinds = {"gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}
  if make := kinds.get(stack.cell):
    return make(reads, width, rngs=nnx.Rngs(0))
  activation = _ACTIVATIONS.get(stack.cell, nnx.relu)
  return nnx.SimpleCell(reads, width, activation_fn=activation, rngs=nnx.Rngs(0))


def nnx_run(arrays: Named, stack: Stack, given: Trial) -> Measured:
  """A trial by NNX."""
  split: Any = nnx.split
  graph, state, rest = split(_Nets(stack), nnx.Param, ...)
  flat: Any = nnx.to_flat_state(state)

  def forward(arrays, xs):
    new = [(path, p.replace(arrays["/".join(map(str, path))])) for path, p in flat]
    model, states = nnx.merge(graph, nnx.from_flat_state(new), rest), []
    options = {"return_carry": True, "time_major": True, "rngs": nnx.Rngs(0)}
    for rnn in model.rnns:
      carry, xs = rnn(xs, seq_lengths=jnp.asarray(given.lengths), **options)
      states += jax.tree.leaves(carry)
    return xs, states

  return by_jax(forward, arrays, given)
