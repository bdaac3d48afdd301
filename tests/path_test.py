"""Which path each cell takes, and that a scan acts on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rows import ROWS
from tables import (
  CELLS,
  DEEP,
  PRODUCTS,
  USERS,
  B,
  D,
  T,
  inputs,
  noise,
  pairing,
  parameters,
)

from unroll import scan
from unroll.parameters import Elementwise
from unroll.scan import derived, recorded
from unroll.types import Lookup

OF_USERS = {
  "dot": "plain",
  "transposed": "recorded",
  "sliced": "recorded",
  "twice": "recorded",
  "rows": "recorded",
  "vmapped": "plain",
  "looped": "plain",
  "remat": "plain",
  "peephole": "recorded",
}
PATHS = {
  **{name: row.path for name, row in ROWS.items()},
  **OF_USERS,
  **dict.fromkeys(DEEP, "recorded"),
  "learned_carry": "derived",
  "zoneout": "recorded",
  "dropped_state": "recorded",
}


def path(cell, name="", length=T, **options):
  params = parameters(cell)
  xs = inputs(name, length=length)
  return scan.path(cell, params, cell.carry(params, B), xs, **options)


@pytest.mark.parametrize("name", CELLS | USERS)
def test_every_cell_takes_its_path(name):
  found = path((CELLS | USERS)[name], name)
  assert found.name == PATHS[name], found.reason
  assert found.reason


def test_every_product_has_a_path():
  assert set(OF_USERS) == set(PRODUCTS)


@pytest.mark.parametrize("name", ["lstm", "echo", "dot"])
def test_a_scan_does_as_its_path_says(name, monkeypatch):
  cell = (CELLS | USERS)[name]
  taken = []
  for room, of in ((derived, "derived"), (recorded, "recorded")):

    def run(*args, own=room.run, of=of):
      taken.append(of)
      return own(*args)

    monkeypatch.setattr(room, "run", run)
  params = parameters(cell)
  for length in (0, 1, T):
    for backward in ("fast", "autodiff"):
      taken.clear()
      xs = inputs(name, length=length)
      scan.unroll(cell, params, cell.carry(params, B), xs, backward=backward)
      told = path(cell, name, length, backward=backward).name
      assert (taken or ["plain"]) == [told]


def test_shapes_are_enough():
  cell = CELLS["lstm"]
  params = jax.eval_shape(cell.init, jax.random.key(0))
  carry = jax.eval_shape(lambda p: cell.carry(p, B), params)
  xs = jax.ShapeDtypeStruct((T, B, D), np.float32)
  assert scan.path(cell, params, carry, xs).name == "derived"


SLOW = {
  "autodiff": (CELLS["lstm"], {"backward": "autodiff"}, "backward='autodiff' is asked"),
  "one step": (CELLS["echo"], {"length": 1}, "no sum over steps"),
  "no step": (CELLS["lstm"], {"length": 0}, "there is no step"),
  "elementwise": (
    USERS["dot"]._replace(step=lambda p, h, z: (z + p["h"][0] * h,) * 2),
    {},
    "multiplies by no whole matrix",
  ),
  "looped": (USERS["looped"], {}, "a product inside a vmap, loop or remat"),
}


@pytest.mark.parametrize("name", SLOW)
def test_the_reason_says_what_is_slow(name):
  cell, options, reason = SLOW[name]
  with jax.numpy_rank_promotion("allow"):
    found = path(cell, **options)
  assert found.name == ("recorded" if name == "elementwise" else "plain")
  assert reason in found.reason


def test_a_derivative_that_closes_over_arrays_is_not_taken():
  base, found = CELLS["lstm"], []
  inner = base.derivative

  def loss(gain):  # it may be differentiated
    def forward(params, carry, z):
      carry, y, saved = inner.forward(params, carry, z)
      return carry, y * gain, saved

    found.append(path(base._replace(derivative=inner._replace(forward=forward))))
    return jnp.sum(gain)

  jax.grad(loss)(jnp.asarray(noise(1, B, 4)))
  assert found[0].name == "recorded" and "none of its arguments" in found[0].reason


def test_elementwise_puts_a_cell_on_the_faster_path():
  """A peephole `[3, H]`, multiplied as a whole: no matrix, once it is said."""

  def made(held, read):
    def step(params, h, z):
      gates = read(params["p"]) * jnp.broadcast_to(h[:, None], (B, 3, 4))
      h = jnp.tanh(z + h @ params["h"] + jnp.sum(gates, axis=1))
      return h, h

    own = USERS["dot"]
    return own._replace(
      init=lambda key: own.init(key) | {"p": held(jnp.ones((3, 4)))}, step=step
    )

  with jax.numpy_rank_promotion("allow"):
    plain = path(made(lambda w: w, lambda w: w))
    told = path(made(Elementwise, lambda w: w.value))
  assert (plain.name, told.name) == ("plain", "recorded")
  assert "unsupported operand" in plain.reason


def test_a_table_is_projected_where_it_pays():
  cell = CELLS["gru"]
  params = parameters(cell)
  ids = np.zeros((T, B), np.int32)
  for words, pays in ((2, True), (60, False)):
    found = scan.path(
      cell, params, cell.carry(params, B), Lookup(noise(1, words, D), ids)
    )
    assert (found.name, found.table) == ("derived", pays)


def test_the_output_of_a_derivative_is_stored_once():
  """y is h: the loop of the forward pass writes h, and no second array for y."""

  def stacked(name):
    """Arrays `[T or T + 1, B, …]` that the first loop of the gradient writes."""
    cell = CELLS[name]
    params, xs = parameters(cell), inputs(name)

    def loss(params):
      return pairing(scan.unroll(cell, params, cell.carry(params, B), xs))

    eqns = jax.make_jaxpr(jax.grad(loss))(params).eqns
    loop = next(e for e in eqns if e.primitive.name in ("scan", "while"))
    return sorted(
      v.aval.shape for v in loop.outvars if v.aval.shape[:1] in ((T,), (T + 1,))
    )

  assert stacked("rnn") == [(T, B, 4), (T + 1, B, 4)]  # what is saved, and h
  assert stacked("projected") == [
    (T, B, 4),
    (T, B, 4),
    (T, B, 5),
    (T, B, 5),
    (T + 1, B, 4),
  ]


def test_the_paths_of_what_is_traced_are_noted():
  cell = CELLS["gru"]
  params, xs = parameters(cell), inputs("gru")
  run = jax.jit(lambda xs: scan.unroll(cell, params, cell.carry(params, B), xs))
  with scan.noted() as outer, scan.noted() as notes:
    run(xs)
    run(xs)  # is not traced again
  [note] = notes
  assert note == (path(cell, "gru"), (T, B, D), "GRUCarry") and outer == []
  scan.unroll(cell, params, cell.carry(params, B), xs)
  assert notes == [note]
