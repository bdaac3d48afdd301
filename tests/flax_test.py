"""Parity with Flax: the cells of `flax.linen`, unrolled by `nn.RNN`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import REGISTRY, B, D, H, T, close, inputs, noise, pairing, quick

from unroll import scan
from unroll.cells import GRUCarry, GRUParams, LSTMCarry, LSTMParams, VanillaCarry
from unroll.cells.vanilla import VanillaParams

LENGTHS = np.array([T, 4, 1])
VALID = np.arange(T)[:, None] < LENGTHS[None]


def simple(p):
  return VanillaParams(p["i"]["kernel"], p["h"]["kernel"], p["i"]["bias"])


def gru(p):
  return GRUParams(
    jnp.concatenate([p["ir"]["kernel"], p["iz"]["kernel"], p["in"]["kernel"]], axis=1),
    jnp.concatenate([p["hr"]["kernel"], p["hz"]["kernel"], p["hn"]["kernel"]], axis=1),
    jnp.concatenate([p["ir"]["bias"], p["iz"]["bias"], p["in"]["bias"]]),
    p["hn"]["bias"],
  )


def lstm(p):
  return LSTMParams(
    jnp.concatenate([p[f"i{gate}"]["kernel"] for gate in "ifgo"], axis=1),
    jnp.concatenate([p[f"h{gate}"]["kernel"] for gate in "ifgo"], axis=1),
    jnp.concatenate([p[f"h{gate}"]["bias"] for gate in "ifgo"]),
  )


# Flax cell -> our cell, our parameters from Flax's, our carry from Flax's.
PEERS = {
  nn.SimpleCell: ("rnn", simple, VanillaCarry),
  nn.GRUCell: ("gru", gru, GRUCarry),
  nn.LSTMCell: ("lstm", lstm, lambda carry: LSTMCarry(*carry)),
  nn.OptimizedLSTMCell: ("lstm", lstm, lambda carry: LSTMCarry(*carry)),
}


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.__name__)
@pytest.mark.parametrize("reverse", [False, True], ids=["", "reverse"])
def test_flax(peer, reverse):
  name, mapped, to_carry = PEERS[peer]
  cell, xs = REGISTRY[name](D, H), inputs()
  module = nn.RNN(peer(H), time_major=True, return_carry=True)
  variables = module.init(jax.random.key(0), xs)
  # Flax starts every bias at zero: move them.
  leaves, treedef = jax.tree.flatten(variables["params"]["cell"])
  params = jax.tree.unflatten(
    treedef, [leaf + 0.3 * noise(i, *leaf.shape) for i, leaf in enumerate(leaves)]
  )
  start = noise(40, B, H), noise(41, B, H)
  start = start if name == "lstm" else start[0]
  weight = noise(42, T, B, H) * VALID[..., None].astype(np.float32)

  def theirs(params, start, xs):
    options = {"reverse": reverse, "keep_order": True} if reverse else {}
    carry, ys = module.apply(
      {"params": {"cell": params}},
      xs,
      initial_carry=start,
      seq_lengths=LENGTHS,
      **options,
    )
    return paired(to_carry(carry), ys)

  def ours(params, start, xs):
    carry, ys = scan.unroll(
      cell, mapped(params), to_carry(start), xs, valid=VALID, reverse=reverse
    )
    return paired(carry, ys)

  def paired(carry, ys):
    """Outputs at real steps only: Flax's go on after the end."""
    shown = ys * weight
    return pairing((carry, shown)), (carry, shown)

  expected, found = (
    quick(jax.value_and_grad(f, argnums=(0, 1, 2), has_aux=True))(params, start, xs)
    for f in (theirs, ours)
  )
  close(found, expected, 1e-5)
