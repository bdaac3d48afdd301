"""The laws of `scan.unroll`: what it computes, for every cell and mask."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import (
  ALWAYS,
  CELLS,
  MASKS,
  NEVER,
  USERS,
  B,
  D,
  T,
  close,
  gradients,
  initial,
  inputs,
  is_real,
  parameters,
  quick,
  quickly,
  reals,
  rows,
  same,
  trailing,
  unroll,
)

from unroll import scan
from unroll.types import is_draw, seed

EACH = (
  "rnn",
  "lstm",
  "projected",
  "deep",
  "skip",
  "dropout",
  "zoneout",
  "learned_carry",
)
all_cells = pytest.mark.parametrize("name", quickly(CELLS, *EACH))
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["", "reverse"])
HALF = T // 2


def drawn(name: str):
  """A cell of the tables, and its parameters, carry and inputs."""
  cell = (CELLS | USERS)[name]
  params = parameters(cell)
  return cell, params, initial(cell, params), inputs(name)


def run(cell, params, carry, xs, valid=ALWAYS, reset=NEVER, reverse=False):
  """`unroll` with both masks there: one compilation for all of them."""
  masks = {"valid": valid[: len(xs)], "reset": reset[: len(xs)]}
  return unroll(cell, params, carry, xs, **masks, reverse=reverse)


def by_row(mask, new, old):
  """Row by row of the batch: `new` where the mask is true; draws have no rows."""

  def choose(n, o):
    if is_draw(n):
      return n
    return np.stack([n[b] if mask[b] else o[b] for b in range(len(mask))])

  return jax.tree.map(choose, new, old, is_leaf=is_draw)


def fresh(cell, params, carry):
  """The initial carry, with the draws where they are."""
  return by_row(np.zeros(B, bool), carry, cell.carry(params, B))


def take(carry, b):
  """Row `b` of a carry, without draws."""
  leaves = jax.tree.leaves(carry, is_leaf=is_draw)
  return [leaf[b] for leaf in leaves if not is_draw(leaf)]


@partial(quick, static_argnames="cell")
def step(cell, params, carry, x):
  return cell.step(params, carry, cell.project(params, x[None])[0])


def loop(cell, params, carry, xs, valid, reset, reverse):
  """The meaning of `unroll`, step by step and row by row."""
  valid = ALWAYS if valid is None else valid
  reset = NEVER if reset is None else reset
  ys = [None] * T
  for t in reversed(range(T)) if reverse else range(T):
    carry = by_row(~reset[t], carry, cell.carry(params, B))
    new, y = step(cell, params, carry, xs[t])
    carry, ys[t] = by_row(valid[t], new, carry), by_row(valid[t], y, np.zeros_like(y))
  return carry, np.stack(ys)


@pytest.mark.parametrize("name", quickly(CELLS | USERS, *EACH, *USERS))
def test_unroll_is_a_loop_over_steps(name):
  everything = drawn(name)
  for valid, reset in MASKS.values():
    for reverse in (False, True):
      close(
        run(
          *everything,
          ALWAYS if valid is None else valid,
          NEVER if reset is None else reset,
          reverse,
        ),
        loop(*everything, valid, reset, reverse),
        1e-5,
      )


@pytest.mark.parametrize(
  "name", quickly(CELLS, "lstm", "skip", "dropout", "association")
)
def test_masks_that_say_nothing_change_nothing(name):
  everything = drawn(name)
  plain = unroll(*everything)
  close(run(*everything), plain, 1e-6)
  close(unroll(*everything, valid=ALWAYS.astype(np.float32)), plain, 1e-6)
  close(unroll(*everything, reset=NEVER.astype(np.int32)), plain, 1e-6)


@pytest.mark.parametrize("name", quickly(CELLS, *EACH))
@both_ways
def test_a_split_sequence_is_the_whole(name, reverse):
  """Of minGRU-pytorch 0.2.1, a chunk of minLSTM starts 0.5 above the state it is given:
  `findings/mingru_pytorch_minlstm_state_grows_by_a_half.sh`."""
  cell, params, carry, xs = drawn(name)
  valid, reset = MASKS["holes_resets"]
  parts = [slice(0, HALF), slice(HALF, T)]
  ys = {}
  whole = run(cell, params, carry, xs, valid, reset, reverse)
  for part in reversed(parts) if reverse else parts:
    carry, ys[part.start] = run(
      cell, params, carry, xs[part], valid[part], reset[part], reverse
    )
  close((carry, np.concatenate([ys[0], ys[HALF]])), whole, 1e-6)


@pytest.mark.parametrize("name", ["lstm", "dropout"])
@pytest.mark.parametrize("length", [0, 1])
def test_short_sequences(name, length):
  cell, params, carry, xs = drawn(name)
  whole = unroll(cell, params, carry, xs)
  middle, head = unroll(cell, params, carry, xs[:length])
  last, tail = unroll(cell, params, middle, xs[length:])
  close((last, np.concatenate([head, tail])), whole, 1e-6)


@all_cells
@pytest.mark.parametrize("present", [True, False], ids=["", "on padding"])
def test_a_reset_is_a_fresh_start(name, present):
  cell, params, carry, xs = drawn(name)
  valid, reset = ALWAYS.copy(), NEVER.copy()
  valid[HALF], reset[HALF] = present, True
  out, ys = run(cell, params, carry, xs, valid, reset)
  middle, head = run(cell, params, carry, xs[:HALF])
  expected = run(cell, params, fresh(cell, params, middle), xs[HALF:], valid[HALF:])
  close((out, ys), (expected[0], np.concatenate([head, expected[1]])), 1e-6)


@all_cells
def test_a_reset_after_the_last_valid_step_leaves_the_initial_carry(name):
  cell, params, carry, xs = drawn(name)
  valid, reset = ALWAYS.copy(), NEVER.copy()
  valid[-1], reset[-1] = False, True
  out, _ = run(cell, params, carry, xs, valid, reset)
  same(out, fresh(cell, params, out))


@all_cells
def test_reverse_is_flip_forward_flip(name):
  cell, params, carry, xs = drawn(name)
  valid, reset = MASKS["holes_resets"]
  out, ys = run(cell, params, carry, xs[::-1], valid[::-1], reset[::-1])
  close(run(cell, params, carry, xs, valid, reset, True), (out, ys[::-1]), 1e-6)


@all_cells
@pytest.mark.parametrize(
  "masks", quickly(["padding", "holes", "padding_resets"], "padding_resets")
)
def test_junk_at_invalid_steps_reaches_nothing(name, masks):
  cell, params, carry, xs = drawn(name)
  valid, reset = MASKS[masks]
  reset = NEVER if reset is None else reset
  clean = run(cell, params, carry, xs, valid, reset)
  grads = gradients(cell, params, carry, xs, valid=valid, reset=reset)
  assert all(jnp.all(g == 0) for g in grads[2][~valid])
  assert all(jnp.all(y == 0) for y in clean[1][~valid])
  for junk in (np.nan, np.inf, 1e30):
    dirty = np.where(trailing(valid, xs), xs, np.float32(junk))
    same(run(cell, params, carry, dirty, valid, reset), clean)
    same(gradients(cell, params, carry, dirty, valid=valid, reset=reset), grads)


@all_cells
def test_the_last_carry_is_that_of_the_last_valid_step(name):
  cell, params, carry, xs = drawn(name)
  valid = rows("111000", "000000", "111111")
  out, _ = run(cell, params, carry, xs, valid)
  close(take(out, 0), take(run(cell, params, carry, xs[:HALF])[0], 0), 1e-6)
  close(take(out, 1), take(carry, 1), 0)
  close(take(out, 2), take(run(cell, params, carry, xs)[0], 2), 1e-6)


@all_cells
def test_rows_of_a_batch_are_independent(name):
  cell, params, carry, xs = drawn(name)
  carry = seed(carry, None)  # masks of dropout belong to the place in the batch
  valid, reset = MASKS["holes_resets"]
  order = np.array([2, 0, 1])
  out, ys = run(cell, params, carry, xs, valid, reset)

  def turn(carry):
    return jax.tree.map(
      lambda leaf: leaf if is_draw(leaf) else leaf[order], carry, is_leaf=is_draw
    )

  turned = [leaf[:, order] for leaf in (xs, valid, reset)]
  close(run(cell, params, turn(carry), *turned), (turn(out), ys[:, order]), 1e-6)


@all_cells
def test_a_carry_comes_out_as_it_went_in(name):
  cell, params, carry, xs = drawn(name)
  for before in (carry, cell.carry(params, B)):
    after, ys = jax.eval_shape(lambda c: scan.unroll(cell, params, c, xs), before)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(after)] == [
      (leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(before)
    ]
    assert ys.shape[:2] == (T, B) and ys.dtype == xs.dtype


@pytest.mark.parametrize(
  "name", quickly(CELLS, "lstm", "skip", "dropout", "association")
)
def test_many_networks_at_once(name):
  cell, params, carry, xs = drawn(name)
  other = parameters(cell, number=8)
  both = jax.tree.map(lambda *leaves: jnp.stack(leaves), params, other)
  outs = jax.vmap(lambda params: scan.unroll(cell, params, carry, xs)[1])(both)
  close(outs, np.stack([unroll(cell, p, carry, xs)[1] for p in (params, other)]), 1e-5)


@pytest.mark.parametrize(
  "name", quickly(["lstm", "gru", "deep", "twice"], "lstm", "deep")
)
@pytest.mark.parametrize("derived", [True, False], ids=["", "recorded"])
def test_gradients_of_many_networks_at_once(name, derived):
  """One carry for all: what a network does not change is no network's own.

  JAX 0.10.2 adds up the gradient of a result of a `custom_vjp` that vmap does not batch
  once for each network, where it batches another result
  (`findings/jax_custom_vjp_vmap_counts_again.sh`).
  """
  cell, params, carry, xs = drawn(name)

  def step(params, both, z):
    carry, y = inner.step(params, both[0], z)
    alone = jnp.tanh(both[1])  # reads no parameter
    return (carry, alone), y * (1 + jnp.broadcast_to(alone[:, :1], y.shape))

  if not derived or not cell.derivative:
    inner = cell
    cell = cell._replace(
      carry=lambda params, batch: (inner.carry(params, batch), jnp.ones((batch, 2))),
      step=step,
      derivative=None,
    )
    carry = (carry, jnp.ones((B, 2)))
  networks = jax.tree.map(lambda p: jnp.stack([p, 0.5 * p, 0.1 * p]), params)
  weights = jnp.array([3.0, 5.0, 7.0])

  def loss(xs, carry, backward):
    def one(params, weight):
      out = scan.unroll(cell, params, carry, xs, backward=backward)
      leaves = [leaf for leaf in jax.tree.leaves(out) if is_real(leaf)]
      return weight * sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves)

    return jnp.sum(jax.vmap(one)(networks, weights))

  carry = seed(carry, None)
  fast, exact = (
    quick(jax.grad(lambda *at, b=b: loss(*at, b), (0, 1), allow_int=True))(xs, carry)
    for b in ("fast", "autodiff")
  )
  close(reals(fast), reals(exact), 1e-5)


@pytest.mark.parametrize("backward", ["fast", "autodiff"])
@pytest.mark.parametrize("name", ["lstm", "dropout", "dot"])
def test_a_step_is_traced_as_often_whatever_the_length(name, backward):
  cell, params, carry, _ = drawn(name)
  traced = []

  def counted(*args):
    traced.append(None)
    return cell.step(*args)

  def count(length):
    traced.clear()
    watched = cell._replace(step=counted)
    xs = jnp.zeros((length, B, D))

    def loss(params):
      return jnp.sum(scan.unroll(watched, params, carry, xs, backward=backward)[1])

    jax.eval_shape(jax.grad(loss), params)
    return len(traced)

  assert count(5) == count(500) <= 4


def test_a_mask_of_another_shape_is_refused():
  everything = drawn("lstm")
  for name in ("valid", "reset"):
    with pytest.raises(ValueError, match=rf"{name} has shape \(3, 6\).*\(6, 3\)"):
      scan.unroll(*everything, **{name: ALWAYS.T})
  with pytest.raises(ValueError, match="backward='slow'"):
    scan.unroll(*everything, backward="slow")


@pytest.mark.parametrize("backward", ["fast", "autodiff"])
@pytest.mark.parametrize(
  "name", ["lstm", "rnn", "learned_carry", "deep", "skip", "twice"]
)
def test_shapes_that_do_not_fit_are_named(name, backward):
  cell, params, carry, xs = drawn(name)

  def refused(pattern, carry, xs):
    with pytest.raises(ValueError, match=pattern):
      scan.unroll(cell, params, carry, xs, backward=backward)

  # One sequence without its batch axis, also where D is the batch of the carry.
  refused(r"xs has shape \(6, 3\): give \[T, B, …\]", carry, xs[:, 0])
  refused(r"xs has shape \(6,\), and no batch axis", carry, xs[:, 0, 0])
  # The carry of another batch, and with it a sequence that is batch-major.
  refused(r"carry.* has shape \(2, .*takes \(3, ", cell.carry(params, 2), xs)
  refused(r"carry.* has shape \(3, .*takes \(6, ", carry, np.swapaxes(xs, 0, 1))
  refused(
    r"input of shape \(\d, 3, 4\) is multiplied by params.* last axis must be 3",
    carry,
    np.concatenate([xs, xs[..., :1]], -1),
  )
