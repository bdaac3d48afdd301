"""The laws of clipping in the recurrence: a loop that clips by hand gives the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import (
  CELLS,
  MASKS,
  B,
  D,
  H,
  T,
  close,
  gradients,
  halved,
  initial,
  inputs,
  noise,
  pairing,
  parameters,
  quick,
  quickly,
  reals,
  same,
  unroll,
  with_reals,
)

from unroll import cells, compose, remat, scan
from unroll.architecture import Architecture
from unroll.clipping import clipped_state
from unroll.layers import recurrent, rematerialised
from unroll.parameters import without_gradient
from unroll.scan.masks import masked, select
from unroll.types import BadInput, Noted

LIMIT = {"value": 0.3, "norm": 0.6}
MADE = {
  **{name: CELLS[name] for name in ("rnn", "gru", "lstm", "projected", "echo")},
  **{name: CELLS[name] for name in ("conv_gru", "learned_carry", "zoneout", "deep")},
  "lru": cells.lru(D, H),
  "mlstm": cells.mlstm(D, H),
  "phased_lstm": cells.phased_lstm(D, H),
  "heads": compose.heads([cells.gru(D, 2), cells.gru(D, 2)]),
}
by_value_and_norm = pytest.mark.parametrize("by", quickly(LIMIT, "norm"))


def drawn(name: str):
  cell = MADE[name]
  params = parameters(cell)
  return cell, params, initial(cell, params), inputs(name)


def by_hand(carry, gradient, by: str):
  """dL/dcarry clipped in NumPy; what is no state of a unit as it is."""
  numbers = iter(gradient)
  nodes = jax.tree.leaves(carry, is_leaf=lambda node: isinstance(node, Noted))
  found = [
    (np.asarray(next(numbers)), not isinstance(node, Noted))
    for node in nodes
    if isinstance(node, Noted) or jnp.issubdtype(node.dtype, jnp.floating)
  ]
  limit = LIMIT[by]
  if by == "value":
    return [np.clip(g, -limit, limit) if state else g for g, state in found]
  rows = np.concatenate([g.reshape(B, -1) for g, state in found if state], axis=1)
  factor = np.minimum(1, limit / np.maximum(np.linalg.norm(rows, axis=1), 1e-30))
  return [
    g * factor.reshape(B, *[1] * (g.ndim - 1)).astype(g.dtype) if state else g
    for g, state in found
  ]


def reference(cell, params, carry, xs, by, valid, reset, reverse):
  """The gradients of `paired` by a loop back in time, and how many numbers it clips."""
  valid = np.ones((T, B), bool) if valid is None else valid
  reset = np.zeros((T, B), bool) if reset is None else reset
  prepared, unprepared = jax.vjp(
    lambda own: cell.prepare(without_gradient(own)), params
  )
  zs, unprojected = jax.vjp(cell.project, prepared, xs)
  start = cell.carry(params, B)

  def begin(real, fresh, reset):
    return reals(select(~reset, with_reals(carry, real), with_reals(carry, fresh)))

  def step(params, real, z, carry):
    new, y = cell.step(params, with_reals(carry, real), z)
    return reals(new), y

  def hold(new, real, y, valid):
    held = select(valid, with_reals(carry, new), with_reals(carry, real))
    return reals(held), masked(y, valid)

  @quick
  def ahead(carry, z, valid, reset):
    begun = begin(reals(carry), reals(start), reset)
    after, y = cell.step(prepared, with_reals(carry, begun), z)
    new, y = hold(reals(after), begun, y, valid)
    return with_reals(after, new), y

  @quick
  def back(carry, z, valid, reset, d_after, d_y):
    """The gradients of a step, of which that to the carry is yet to be clipped."""
    begun = begin(reals(carry), reals(start), reset)
    (new, y), of_step = jax.vjp(lambda *at: step(*at, carry), prepared, begun, z)
    _, of_hold = jax.vjp(lambda *at: hold(*at, valid), new, begun, y)
    d_new, d_held, d_y = of_hold((d_after, d_y))
    return *of_step((d_new, d_y)), d_held

  @quick
  def unbegun(carry, reset, d_begun):
    _, of_begin = jax.vjp(lambda *at: begin(*at, reset), reals(carry), reals(start))
    return of_begin(d_begun)

  order = range(T)[::-1] if reverse else range(T)
  carries, ys = {}, {}
  for t in order:
    carries[t] = carry
    carry, ys[t] = ahead(carry, zs[t], valid[t], reset[t])
  last = reals(carry)
  d_carry, d_ys = jax.grad(
    lambda real, ys: pairing((with_reals(carry, real), ys)), (0, 1)
  )(last, jnp.stack([ys[t] for t in range(T)]))
  d_params, d_start, d_zs, clipped = [], [], {}, 0
  for t in reversed(order):
    at = (carries[t], zs[t], valid[t], reset[t])
    added, d_before, d_zs[t], d_held = back(*at, d_carry, d_ys[t])
    whole = by_hand(carries[t], d_before, by)
    clipped += sum(int(np.sum(a != b)) for a, b in zip(whole, d_before))
    d_begun = list(map(jnp.add, whole, d_held))
    d_carry, fresh = unbegun(carries[t], reset[t], d_begun)
    d_params.append(added), d_start.append(fresh)
  projected, d_xs = unprojected(jnp.stack([d_zs[t] for t in range(T)]))
  [d_own] = unprepared(total([*d_params, projected]))
  _, started = jax.vjp(lambda params: reals(cell.carry(params, B)), params)
  return (total([d_own, *started(total(d_start))]), d_carry, d_xs), clipped


def total(trees):
  return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *trees)


@pytest.mark.parametrize(
  "name, masks, reverse, by",
  [
    ("lstm", "holes_resets", True, "norm"),
    *(
      pytest.param(name, masks, masks == "holes_resets", by, marks=pytest.mark.slow)
      for name in MADE
      for masks in ("none", "padding_resets", "holes_resets")
      for by in LIMIT
    ),
  ],
)
def test_gradients_are_those_of_a_loop_that_clips(name, masks, reverse, by):
  cell, params, carry, xs = drawn(name)
  valid, reset = MASKS[masks]
  options = {"valid": valid, "reset": reset, "reverse": reverse}
  wanted, clipped = reference(cell, params, carry, xs, by, **options)
  assert clipped > 3
  around = clipped_state(cell, LIMIT[by], by)
  close(gradients(around, params, carry, xs, **options), wanted, 1e-4)


@pytest.mark.parametrize("name", quickly(MADE, "lstm"))
@by_value_and_norm
def test_both_backwards_clip_alike(name, by):
  cell, *at = drawn(name)
  around = clipped_state(cell, LIMIT[by], by)
  exact = gradients(around, *at, backward="autodiff")
  close(gradients(around, *at), exact, 1e-5)


@pytest.mark.parametrize("name", quickly(MADE, "lstm", "zoneout"))
def test_what_runs_forward_is_the_cell(name):
  """But for cells that JAX then takes step by step: those are rounded otherwise."""
  cell, *at = drawn(name)
  found, wanted = unroll(clipped_state(cell, 0.1), *at), unroll(cell, *at)
  if cell.linear or cell.chunk:
    close(found, wanted, 1e-5)
  else:
    same(found, wanted)


@pytest.mark.slow
@by_value_and_norm
def test_a_limit_out_of_reach_changes_nothing(by):
  cell, *at = drawn("gru")
  close(gradients(clipped_state(cell, 1e6, by), *at), gradients(cell, *at), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("backward", ["fast", "autodiff"])
@pytest.mark.parametrize("by", LIMIT)
def test_second_derivatives_are_those_of_the_clipped_gradient(by, backward):
  """Also of sequences without any gradient: one of them has no step."""
  cell, params, carry, xs = drawn("gru")
  around, (valid, _) = clipped_state(cell, 0.2, by), MASKS["holes"]

  def gradient(w, cell=around):
    def loss(w):
      own = params._replace(w_h=w)
      ys = scan.unroll(cell, own, carry, xs, valid=valid, backward=backward)[1]
      return jnp.sum(jnp.square(ys))

    return jax.grad(loss)(w)

  way = noise(8, *params.w_h.shape)
  plain = quick(lambda w: gradient(w, cell))
  slope = quick(jax.grad(lambda w: jnp.sum(gradient(w) * way)))(params.w_h)
  size, step = 1e-2, quick(gradient)
  ahead, behind = (step(params.w_h + sign * size * way) for sign in (1, -1))
  assert np.any(abs(ahead - plain(params.w_h + size * way)) > 1e-2)
  measured = jnp.sum((ahead - behind) * way) / (2 * size)
  np.testing.assert_allclose(jnp.sum(slope * way), measured, rtol=0.02)


@pytest.mark.slow
@by_value_and_norm
def test_half_precision(by):
  cell, params, carry, xs = drawn("lstm")
  around = clipped_state(cell, LIMIT[by], by)
  found = gradients(around, halved(params), carry, xs)
  close(
    jax.tree.map(lambda leaf: leaf.astype("float32"), found),
    gradients(around, params, carry, xs),
    0.05,
  )
  low = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), (params, carry, xs))
  assert gradients(around, *low)[0].w_h.dtype == jnp.bfloat16


@pytest.mark.slow
def test_segments_that_are_run_again_clip_as_often():
  cell, params, carry, xs = drawn("lstm")
  around = clipped_state(cell, 0.3)

  def gradient(layer):
    take = jax.grad(lambda params: pairing(layer.unroll(params, carry, xs)))
    return quick(take)(params)

  cut = rematerialised(around, remat.every(4))
  close(gradient(cut), gradient(recurrent(around)), 1e-5)


def test_a_row_is_clipped_by_itself():
  """A sequence of a thousand times the loss leaves the others alone."""
  cell, params, carry, xs = drawn("rnn")
  around, loud = clipped_state(cell, 0.1, "norm"), np.ones((T, B), np.float32)
  loud[:, 0] = 1000
  quiet, shouted = (
    gradients(around, params, carry, xs, scores)[2]
    for scores in (np.ones((T, B), np.float32), loud)
  )
  same(quiet[:, 1:], shouted[:, 1:])
  assert np.all(quiet[:, 0] != shouted[:, 0])


def test_layers_clip_each_its_own_as_settings_say():
  plain = Architecture("gru", 2, (H,))
  chosen = Architecture("gru", 2, (H,), carry_clip=0.2, carry_clip_by="norm")
  by_steps = compose.deep(*(clipped_state(c, 0.2, "norm") for c in plain.cells(D)))
  params, xs = parameters(by_steps), inputs()
  layer, _ = chosen.encoder(D)

  def gradient(layer):
    carry = layer.carry(params, B)
    return jax.grad(lambda params: pairing(layer.unroll(params, carry, xs)))

  found = quick(gradient(layer))(params)
  close(found, quick(gradient(recurrent(by_steps)))(params), 1e-5)
  wide = plain.encoder(D)[0]
  assert np.any(found[0].w_h != quick(gradient(wide))(params)[0].w_h)


def test_forward_mode_is_refused():
  cell, params, carry, xs = drawn("gru")
  around = clipped_state(cell, 0.1)

  def run(xs):
    return scan.unroll(around, params, carry, xs, backward="autodiff")[1]

  with pytest.raises(TypeError, match="forward-mode"):
    jax.jvp(run, (xs,), (xs,))


@pytest.mark.parametrize("limit, by", [(0.0, "value"), (np.inf, "norm"), (1.0, "sum")])
def test_what_is_no_limit_is_refused(limit, by):
  with pytest.raises(BadInput, match=r"carry_clip(_by)?=.* (must be|is unknown)"):
    clipped_state(MADE["rnn"], limit, by)
