"""Parity with torch: values, and gradients of parameters, inputs and initial state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import REGISTRY, B, D, H, T, inputs, noise, quick

from unroll import layers
from unroll.cells import GRUCarry, GRUParams, LSTMCarry, LSTMParams, VanillaCarry
from unroll.cells.vanilla import VanillaParams

pytestmark = pytest.mark.peers

LENGTHS = np.array([T, 4, 1])
VALID = np.arange(T)[:, None] < LENGTHS[None]

# name -> torch's layer, its options, our carry from torch's states.
PEERS = {
  "rnn": ("RNN", {}, VanillaCarry),
  "relu_rnn": ("RNN", {"nonlinearity": "relu"}, VanillaCarry),
  "gru": ("GRU", {}, GRUCarry),
  "lstm": ("LSTM", {}, lambda h, c: LSTMCarry(c, h)),
}


def mapped(name, w_x, w_h, b_x, b_h):
  """Our parameters from torch's of one layer and direction."""
  if name == "lstm":
    return LSTMParams(w_x.T, w_h.T, b_x + b_h)
  if name == "gru":  # the reset gate meets b_hn, so that it stays apart
    b = b_x + jnp.concatenate([b_h[: 2 * H], jnp.zeros_like(b_h[2 * H :])])
    return GRUParams(w_x.T, w_h.T, b, b_h[2 * H :])
  return VanillaParams(w_x.T, w_h.T, b_x + b_h)


def network(name, depth, directions):
  """Our layers, on the flat list of torch's weights and its states `[L·2, B, H]`."""
  sizes = [D] + [directions * H] * (depth - 1)
  cells = [REGISTRY[name](size, H) for size in sizes]
  parts = [layers.bidirectional(c, c) if directions == 2 else c for c in cells]
  layer = layers.stacked(*parts)
  to_carry = PEERS[name][2]

  def run(weights, states, xs, valid):
    each = [mapped(name, *weights[i : i + 4]) for i in range(0, len(weights), 4)]
    carries = [to_carry(*(state[i] for state in states)) for i in range(len(each))]
    if directions == 2:
      pairs = range(0, len(each), 2)
      each = [(each[i], each[i + 1]) for i in pairs]
      carries = [layers.BidirectionalCarry(*carries[i : i + 2]) for i in pairs]
    params = tuple(each)
    carry = layer.carry(params, B)._replace(layers=tuple(carries))
    out, ys = layer.unroll(params, carry, xs, valid=valid)
    hidden = jax.tree.leaves(out.layers)
    if name == "lstm":  # leaves are c, h of each layer and direction
      return (jnp.stack(hidden[1::2]), jnp.stack(hidden[::2])), ys
    return (jnp.stack(hidden),), ys

  return run


@pytest.mark.parametrize("packed", [False, True], ids=["", "packed"])
@pytest.mark.parametrize(("depth", "directions"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("name", PEERS)
def test_torch(name, depth, directions, packed):
  torch = pytest.importorskip("torch")
  kind, options, _ = PEERS[name]
  torch.manual_seed(0)
  module = getattr(torch.nn, kind)(
    D, H, depth, bidirectional=directions == 2, **options
  )
  states = [
    noise(30 + i, depth * directions, B, H) for i in range(1 + (name == "lstm"))
  ]
  weight = noise(42, T, B, directions * H)
  xs = inputs()
  pairing = [noise(60 + i, *state.shape) for i, state in enumerate(states)]

  leaves = [torch.tensor(leaf, requires_grad=True) for leaf in (*states, xs)]
  *start, sequence = leaves
  if packed:
    sequence = torch.nn.utils.rnn.pack_padded_sequence(sequence, LENGTHS.tolist())
  ys, last = module(sequence, tuple(start) if name == "lstm" else start[0])
  if packed:
    ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys, total_length=T)
  last = last if name == "lstm" else (last,)
  total = (ys * torch.tensor(weight)).sum() + sum(
    (state * torch.tensor(p)).sum() for state, p in zip(last, pairing)
  )
  total.backward()

  run = network(name, depth, directions)

  def ours(weights, states, xs):
    out = run(weights, states, xs, VALID if packed else None)
    terms = zip((*out[0], out[1]), (*pairing, weight))
    return sum(jnp.sum(leaf * p) for leaf, p in terms), out

  weights = [p.detach().numpy() for p in module.parameters()]
  gradient = jax.grad(ours, argnums=(0, 1, 2), has_aux=True)
  grads, found = quick(gradient)(weights, states, xs)
  theirs = [p.grad for p in (*module.parameters(), *leaves)]
  for a, b in zip(jax.tree.leaves(found), [*last, ys], strict=True):
    np.testing.assert_allclose(a, b.detach().numpy(), rtol=0, atol=1e-5)
  for a, b in zip(jax.tree.leaves(grads), theirs, strict=True):
    scale = max(1.0, float(b.abs().max()))
    np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=1e-5 * scale)
