"""Parity of liquid networks with ncps: values, and gradients of all that they read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import B, D, H, T, initial, noise, parameters, quick, unroll

from unroll import cells, scan
from unroll.cells.dense import HiddenCarry
from unroll.cells.liquid import CfCParams, LTCParams, PureCfCParams, Synapses
from unroll.parameters import Elementwise

pytestmark = pytest.mark.peers

UNITS = 6


def of_cfc(mode, weights):
  """Our parameters from those of ncps's CfC, by name."""

  def linear(name):
    return weights[f"{name}.weight"].T, weights[f"{name}.bias"]

  (w, b), *deeper = (
    linear(f"backbone.{2 * i}")
    for i in range(3)
    if f"backbone.{2 * i}.weight" in weights
  )
  heads = ["ff1"] if mode == "pure" else ["ff1", "ff2", "time_a", "time_b"]
  heads = [jnp.concatenate(parts, axis=-1) for parts in zip(*map(linear, heads))]
  w_deep, b_deep = (tuple(part[i] for part in deeper) for i in range(2))
  own = CfCParams(w[:D], w[D:], b, w_deep, b_deep, *heads)
  if mode != "pure":
    return own
  return PureCfCParams(own, weights["w_tau"][0], weights["A"][0])


def of_ltc(constrained, weights):
  """Our parameters from those of ncps's LTC; weights are positive, or made so there."""

  def raw(name):
    return weights[name] if constrained else jnp.log(jnp.expm1(weights[name]))

  def synapses(prefix):
    others = (weights[prefix + name] for name in ("sigma", "mu", "erev"))
    return Elementwise(Synapses(raw(f"{prefix}w"), *others))

  return LTCParams(
    inputs=synapses("sensory_"),
    units=synapses(""),
    scale=weights["input_w"],
    shift=weights["input_b"],
    leak=raw("gleak"),
    rest=weights["vleak"],
    capacity=raw("cm"),
  )


def peer_of_cfc(torch, mode, layers):
  module = torch.CfC(
    *(D, H), mode=mode, backbone_units=UNITS, backbone_layers=layers, batch_first=False
  )
  options = {"mode": mode, "units": UNITS, "depth": layers}
  return module, ("cfc", options), lambda weights: of_cfc(mode, weights)


def peer_of_ltc(torch, constrained, unfolds):
  module = torch.LTC(
    *(D, H),
    ode_unfolds=unfolds,
    output_mapping="none",
    implicit_param_constraints=constrained,
    batch_first=False,
  )
  options = ("ltc", {"unfolds": unfolds})
  return module, options, lambda weights: of_ltc(constrained, weights)


PEERS = {
  "cfc": (peer_of_cfc, "default", 1),
  "cfc, deep": (peer_of_cfc, "default", 3),
  "cfc, no_gate": (peer_of_cfc, "no_gate", 1),
  "cfc, pure": (peer_of_cfc, "pure", 1),
  "ltc": (peer_of_ltc, True, 6),
  "ltc, 2": (peer_of_ltc, True, 2),
  "ltc, positive": (peer_of_ltc, False, 6),
}


@pytest.mark.parametrize("timed", [False, True], ids=["", "timed"])
@pytest.mark.parametrize("name", PEERS)
def test_ncps(name, timed):
  torch, ncps = pytest.importorskip("torch"), pytest.importorskip("ncps.torch")
  torch.manual_seed(0)
  make, *chosen = PEERS[name]
  module, (ours, options), mapped = make(ncps, *chosen)
  with torch.no_grad():  # biases, and what starts at a constant, away from it
    for leaf in module.parameters():
      if leaf.requires_grad:
        leaf += 0.1 * torch.rand(leaf.shape)
  start, xs, weight = noise(30, B, H), noise(3, T, B, D), noise(42, T, B, H)
  dt = 0.1 + 2 * np.random.default_rng(1).random((T, B, 1)).astype(np.float32)
  leaves = [torch.tensor(leaf, requires_grad=True) for leaf in (start, xs, dt)]
  # A time for each unit: times `[T, B, 1]` are squeezed, see below.
  times = leaves[2].expand(T, B, H) if timed else None
  theirs, last = module(leaves[1], leaves[0], times)
  ((theirs * torch.tensor(weight)).sum() + last.sum()).backward()

  cell = cells.CELLS[ours](D + timed, H, timed=timed, **options)

  def run(weights, start, xs, dt):
    xs = jnp.concatenate([xs, dt], axis=-1) if timed else xs
    last, ys = scan.unroll(cell, mapped(weights), HiddenCarry(start), xs)
    return jnp.sum(ys * weight) + jnp.sum(last.h), ys

  trained = {
    key.removeprefix("rnn_cell."): leaf
    for key, leaf in module.named_parameters()
    if leaf.requires_grad
  }
  weights = {key: leaf.detach().numpy() for key, leaf in trained.items()}
  gradient = quick(jax.grad(run, argnums=(0, 1, 2, 3), has_aux=True))
  (of_weights, *of_rest), found = gradient(weights, start, xs, dt)
  np.testing.assert_allclose(found, theirs.detach().numpy(), rtol=0, atol=1e-5)
  pairs = [(of_weights[key], leaf) for key, leaf in trained.items()]
  pairs += zip(of_rest if timed else of_rest[:2], leaves, strict=False)
  for own, leaf in pairs:
    scale = max(1.0, float(leaf.grad.abs().max()))
    np.testing.assert_allclose(own, leaf.grad.numpy(), rtol=0, atol=1e-5 * scale)


def test_ncps_mixes_the_times_of_a_batch_as_large_as_its_layer():
  """ncps 1.0.1 squeezes times `[B, 1]` to `[B]`, which are then those of the units."""
  torch, ncps = pytest.importorskip("torch"), pytest.importorskip("ncps.torch")
  torch.manual_seed(0)
  module = ncps.CfC(D, B)
  xs, dt = torch.randn(B, T, D), torch.rand(B, T, 1)
  together, _ = module(xs, timespans=dt)
  alone = [module(xs[i : i + 1], timespans=dt[i : i + 1])[0] for i in range(B)]
  assert (together - torch.cat(alone)).abs().max() > 0.01
  spread, _ = module(xs, timespans=dt.expand(B, T, B))
  assert (spread - torch.cat(alone)).abs().max() < 1e-6


def test_ncps_has_no_step_of_no_time():
  """ncps 1.0.1 divides by the time of a step: two events at once are NaN in its LTC."""
  torch, ncps = pytest.importorskip("torch"), pytest.importorskip("ncps.torch")
  ys, _ = ncps.LTC(D, H)(torch.randn(1, 1, D), timespans=torch.zeros(1, 1, 1))
  assert bool(ys.isnan().all())
  cell = cells.ltc(D + 1, H, timed=True)
  params = parameters(cell)
  carry, x = initial(cell, params), noise(3, 1, B, D + 1)
  x[..., -1] = 0
  np.testing.assert_allclose(unroll(cell, params, carry, x)[1][0], carry.h, atol=1e-6)
