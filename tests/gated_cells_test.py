"""The laws of the gated cells: equation, start, path, scan and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_rows import EQUATIONS, made
from rows import ROWS
from tables import (
  MASKS,
  B,
  D,
  H,
  T,
  close,
  gradients,
  halved,
  initial,
  noise,
  pairing,
  parameters,
  quick,
  quickly,
  same,
  shaken,
  trailing,
  unroll,
)

from unroll import scan
from unroll.cells import CELLS
from unroll.parameters import frozen
from unroll.start import Init, named_init
from unroll.types import BadInput

KEY = jax.random.key(0)
cells = pytest.mark.parametrize("name", EQUATIONS)
# One row a cell, for what its options do not change.
PLAIN = [name for name in EQUATIONS if "," not in name]
plain = pytest.mark.parametrize("name", PLAIN)
OWN_START = [
  name
  for name, (registered, *_) in EQUATIONS.items()
  if "init" not in CELLS[registered].__kwdefaults__
]
DENSE = [name for name, (*_, gates) in EQUATIONS.items() if gates]


def test_every_cell_of_the_registry_has_a_row():
  assert {registered for registered, *_ in EQUATIONS.values()} | set(ROWS) >= set(CELLS)


@pytest.mark.parametrize("name", quickly(EQUATIONS, *PLAIN))
def test_a_step_is_the_equation(name):
  cell = made(name)
  params, xs = parameters(cell), noise(1, T, B, D)
  carry, _ = unroll(cell, params, cell.carry(params, B), xs)
  ready = cell.prepare(params)
  after, y = cell.step(ready, carry, cell.project(ready, xs[:1])[0])
  known = jax.tree.map(np.asarray, (params, carry))
  expected, output = EQUATIONS[name][2](*known, xs[0])
  assert y.shape == (B, H)
  everything = (*jax.tree.leaves(expected), output)
  for got, wanted in zip((*jax.tree.leaves(after), y), everything, strict=True):
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def drawn(name, dtype=np.float32):
  cell = made(name)
  params = parameters(cell, dtype)
  return cell, params, initial(cell, params), noise(3, T, B, D, dtype=dtype)


@plain
def test_an_unroll_is_a_loop_over_its_steps(name):
  cell, params, carry, xs = drawn(name)
  valid, reset = MASKS["padding_resets"]
  fresh, h, outputs = cell.carry(params, B), carry, []
  ready = cell.prepare(params)

  def where(mask, this, other):
    return jax.tree.map(lambda a, b: jnp.where(trailing(mask, a), a, b), this, other)

  for t in range(T):
    h = where(reset[t], fresh, h)
    after, y = cell.step(ready, h, cell.project(ready, xs[t : t + 1])[0])
    h = where(valid[t], after, h)
    outputs.append(jnp.where(valid[t][:, None], y, 0))
  junk = np.where(valid[..., None], xs, np.nan)
  found = unroll(cell, params, carry, junk, valid=valid, reset=reset)
  close(found, (h, jnp.stack(outputs)), 1e-5)


@pytest.mark.parametrize("name", quickly(EQUATIONS, *PLAIN[::4]))
def test_its_gradient_is_that_of_autodiff(name):
  valid, reset = MASKS["holes_resets"]
  options = {"valid": valid, "reset": reset, "reverse": True}
  with jax.enable_x64(True):
    everything = drawn(name, np.float64)
    exact = gradients(*everything, **options, backward="autodiff")
    close(gradients(*everything, **options, backward="fast"), exact, 1e-10)


@pytest.mark.slow
@plain
def test_its_gradient_is_a_difference_of_values(name):
  with jax.enable_x64(True):
    cell, params, carry, xs = drawn(name, np.float64)

    def value(params):
      return pairing(scan.unroll(cell, params, carry, xs))

    value, gradient = quick(value), quick(jax.grad(value))(params)
    step = shaken(jax.tree.map(jnp.zeros_like, params), 7, 1e-5, np.float64)
    step = jax.tree.map(lambda s, held: 0 * s if held else s, step, frozen(params))
    up, down = (
      value(jax.tree.map(lambda p, d, sign=sign: p + sign * d, params, step))
      for sign in (1, -1)
    )
    slope = sum(map(jnp.vdot, jax.tree.leaves(gradient), jax.tree.leaves(step)))
    np.testing.assert_allclose((up - down) / 2, slope, rtol=1e-5)


@cells
def test_it_takes_the_fastest_path(name):
  cell, params, carry, xs = drawn(name)
  found = scan.path(cell, params, carry, xs)
  assert found.name == ("linear" if cell.linear else "recorded")


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN[::3])  # one rule of products is for them all
def test_half_precision_products_are_near(name):
  cell, params, carry, xs = drawn(name)
  close(unroll(cell, halved(params), carry, xs), unroll(cell, params, carry, xs), 0.05)


@pytest.mark.parametrize("name", DENSE)
def test_recurrent_blocks_start_orthogonal(name):
  params, gates = made(name).init(KEY), EQUATIONS[name][3]
  recurrent = [leaf for leaf in params if leaf.ndim == 2 and len(leaf) == H]
  found = [b for w in recurrent for b in np.split(w, w.shape[1] // H, axis=1)]
  for block in found:
    np.testing.assert_allclose(block.T @ block, np.eye(H), atol=1e-5)
  assert len(found) == gates
  assert params.w_x.shape == (D, gates * H)


# Of the gate that keeps the state: the leaf of its bias, its place, and its sign.
KEEPERS = {
  "lstm_peephole": ("b", 1, 1),
  "lstm_layer_norm": ("b", 1, 1),
  "lstm_multiplicative": ("b", 1, 1),
  "lstm_mogrifier": ("b", 1, 1),
  "lstm_projected": ("b", 1, 1),
  "gru_layer_norm": ("b", 1, 1),
  "cifg": ("b", 0, 1),
  "janet": ("b", 0, 1),
  "mgu": ("b", 0, -1),
  "mgu_reset_after": ("b", 0, 1),
  "ugrnn": ("b", 0, 1),
  "minimal_rnn": ("b", 0, 1),
  "brc": ("b", 1, 1),
  "nbrc": ("b", 1, 1),
  "rhn": ("b", 1, -1),
  "li_gru": ("b", 0, 1),
  "ran": ("b", 1, 1),
  "fast_grnn": ("b", 0, 1),
  "slstm": ("b", 1, 1),
  "phased_lstm": ("b", 1, 1),
  "gru_d": ("b", 1, -1),
  "mlstm": ("b_gates", 1, 1),
  "min_gru": ("b", 0, -1),
  "min_lstm": ("b", 0, 1),
  "qrnn": ("b", 0, 1),
  "sru": ("b", 0, 1),
}


@pytest.mark.parametrize("name", KEEPERS)
def test_the_gate_that_keeps_starts_as_it_is_told(name):
  leaf, place, sign = KEEPERS[name]
  size = {"lstm_projected": 6, "mlstm": 1}.get(name, H)

  def biases(**options):
    found = getattr(made(name, **options).init(KEY), leaf)
    layers = found if isinstance(found, tuple) else (found,)
    return [b.reshape(-1, size) for b in layers]

  for b in biases(forget_bias=2.5):
    same(b[place], np.full(size, sign * 2.5, np.float32))
    assert not np.any(np.delete(b, place, axis=0))
  for b in biases(init=Init(chrono=50.0)):
    kept = sign * b[place]
    assert np.all((kept >= 0) & (kept <= np.log(49))) and len(np.unique(kept)) == size
    others = np.delete(b, place, axis=0)
    assert not np.any(others) or np.all(others[0] == -b[place])


def test_every_gate_that_keeps_is_known():
  assert set(KEEPERS) == {
    registered
    for registered, *_ in EQUATIONS.values()
    if "forget_bias" in CELLS[registered].__kwdefaults__
  }


@pytest.mark.parametrize(
  "name",
  [
    *("fast_rnn", "scrn", "nas", "indrnn", "rg_lru", "co_rnn", "lem"),
    *("cfc", "clockwork_rnn", "gated_delta"),
  ],
)
def test_chrono_needs_a_gate(name):
  with pytest.raises(BadInput, match="init=chrono needs a gated cell"):
    made(name, init=Init(chrono=50.0))


def test_cells_with_a_start_of_their_own():
  own = {name.split(",")[0] for name in OWN_START}
  assert own == {"lru", "s5", "s4d", "echo_state", "ltc"}


@pytest.mark.parametrize("name", [name for name in EQUATIONS if name not in OWN_START])
def test_named_inits_start_every_cell(name):
  params = made(name, init=named_init("uniform")).init(KEY)
  matrices = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
  for matrix in matrices:
    assert np.max(np.abs(matrix)) <= 1
    assert len(np.unique(matrix)) == matrix.size


BAD = {
  "lstm_projected": ({"memory": 0}, "memory=0: an LSTM has at least 1 unit"),
  "lstm_mogrifier": ({"rounds": -1}, "rounds=-1: give 0 or more"),
  "rhn": ({"depth": 0}, "depth=0: a recurrent highway"),
  "scrn": ({"slow": 4}, "slow=4 of 4 hidden units: give 1 to 3"),
  "indrnn": ({"longest": 0}, "longest=0: give the steps"),
  "lru": ({"longest": 1.5}, "give 0 ≤ shortest < longest ≤ 1"),
  "s5": ({"states": 5, "blocks": 2}, "blocks=2 do not divide 5 states"),
  "co_rnn": ({"damping": 0}, "damping=0: give a number above 0"),
  "lem": ({"step": -1}, "step=-1: give a number above 0"),
  "rg_lru": ({"heads": 3}, "heads=3 do not divide 4 units"),
  "cfc": ({"units": 0}, "units=0: a backbone has at least 1"),
  "ltc": ({"unfolds": 0}, "unfolds=0: a step has at least 1 part"),
  "phased_lstm": ({"ratio": 0}, "ratio=0: give a number above 0 and up to 1"),
  "clockwork_rnn": ({"blocks": 5}, "blocks=5 of 4 hidden units: give 1 to 4"),
  "mlstm": ({"heads": 3}, "heads=3 do not divide 4 units"),
  "gated_delta": ({"shortest": 2}, "shortest=2 and longest=0.1: give 0 < shortest"),
  "s4d": ({"states": 5}, "states=5: give an even number, 2 or more"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_cell_cannot_be_is_refused(name):
  options, said = BAD[name]
  with pytest.raises(BadInput, match=said):
    CELLS[name](D, H, **options)


def test_no_share_above_one():
  with pytest.raises(BadInput, match=r"alpha=1\.5: give a share"):
    CELLS["scrn"](D, H, alpha=1.5)


SAME = {
  "cifg": "an LSTM whose input gate has the weights of the forget gate, negative",
  "lstm_mogrifier": "an LSTM, without rounds",
  "lstm_projected": "an LSTM, where the projection is the identity",
  "lstm_peephole": "an LSTM, where peepholes are 0",
}


@pytest.mark.parametrize("name", SAME, ids=SAME.get)
def test_what_is_also_an_lstm(name):
  lstm, options = CELLS["lstm"](D, H), {}
  if name == "lstm_mogrifier":
    options = {"rounds": 0}
  elif name == "lstm_projected":
    options = {"memory": H}
  cell = CELLS[name](D, H, **options)
  params, xs = parameters(cell), noise(3, T, B, D)
  if name == "lstm_projected":
    params = params._replace(w_y=jnp.eye(H))
  elif name == "lstm_peephole":
    zero = jnp.zeros(H)
    params = params._replace(p_i=zero, p_f=zero, p_o=zero)
  own = parameters(lstm)._replace(w_x=params.w_x, w_h=params.w_h, b=params.b)
  if name == "cifg":

    def opened(leaf):
      f, g, o = jnp.split(leaf, 3, axis=-1)
      return jnp.concatenate([-f, f, g, o], axis=-1)

    own = jax.tree.map(opened, own)
  carry = initial(lstm, own)
  close(unroll(cell, params, carry, xs), unroll(lstm, own, carry, xs), 1e-5)
