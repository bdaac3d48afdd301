"""The laws of `diagnose.keeping`: the gate that keeps a state is a derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import B, D, H

from unroll import cells, compose, diagnose
from unroll.diagnose.keeping import kept

T = 6


def started(cell, scale=1.0):
  params = jax.tree.map(lambda leaf: scale * leaf, cell.init(jax.random.key(1)))
  return params, cell.carry(params, B), jax.random.normal(jax.random.key(2), (T, B, D))


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def forget_gates(params, xs):
  """The forget gates `[T, B, H]` of an LSTM, in NumPy."""
  w_x, w_h, b = (np.asarray(leaf, np.float64) for leaf in params)
  c = h = np.zeros((B, H))
  found = []
  for x in np.asarray(xs, np.float64):
    i, f, g, o = np.split(x @ w_x + h @ w_h + b, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    found.append(sigmoid(f))
  return np.array(found)


def test_the_gate_of_an_lstm_is_its_forget_gate():
  cell = cells.lstm(D, H)
  params, carry, xs = started(cell, scale=4.0)
  found = diagnose.keeping(cell, params, carry, xs)
  assert list(found) == ["c"]  # h goes through products alone
  gates = forget_gates(params, xs)
  np.testing.assert_allclose(found["c"], gates, rtol=1e-4, atol=1e-6)
  counted = diagnose.gate(found["c"])
  shares = np.mean(gates < 0.1), np.mean(gates > 0.9)
  assert (counted.closed, counted.open) == shares and min(shares) > 0
  valid = np.arange(T)[:, None] < np.arange(1, B + 1)
  held = diagnose.keeping(cell, params, carry, xs, jnp.asarray(valid))["c"]
  counted = diagnose.gate(held, valid)
  assert counted.closed == np.mean(gates[valid] < 0.1)


@pytest.mark.slow
def test_one_step_has_the_gates_of_all():
  cell = compose.deep(cells.lstm(D, H), cells.lru(H, H))
  params, carry, xs = started(cell)
  found = diagnose.keeping(cell, params, carry, xs)
  for t, x in enumerate(xs):
    gates = kept(cell, params, carry, x)
    assert found.keys() < gates.keys()  # that of an LSTM's h is 0
    for name, own in found.items():
      np.testing.assert_allclose(own[t], gates[name], rtol=1e-5)
    carry, _ = cell.step(params, carry, x)


def test_a_constant_gate_has_its_time_scale():
  cell = cells.lstm(D, H)
  params, carry, xs = started(cell, scale=0.0)
  keeps = np.linspace(0.3, 0.99, H)
  bias = jnp.asarray(np.log(keeps / (1 - keeps)), jnp.float32)
  params = params._replace(b=params.b.at[H : 2 * H].set(bias))
  found = diagnose.keeping(cell, params, carry, xs)["c"]
  np.testing.assert_allclose(found, np.broadcast_to(keeps, (T, B, H)), rtol=1e-5)
  least, *_, most = diagnose.gate(found).scales
  np.testing.assert_allclose([least, most], -1 / np.log(keeps[[0, -1]]), rtol=1e-3)
  assert diagnose.gate(np.ones((T, B, H))) == (0, 1, [np.inf] * 5)
  assert diagnose.gate(np.zeros((T, B, H))) == (1, 0, [0] * 5)


@pytest.mark.slow
def test_layers_as_one_cell_have_the_gates_of_each():
  lstm, gru = cells.lstm(D, H), cells.gru(H, H)
  cell = compose.deep(lstm, gru)
  params, carry, xs = started(cell)
  found = diagnose.keeping(cell, params, carry, xs)
  assert list(found) == ["layers/0/c", "layers/1/h"]
  own = forget_gates(params[0], xs)
  np.testing.assert_allclose(found["layers/0/c"], own, rtol=1e-4)


@pytest.mark.slow
def test_cells_without_a_gate_and_complex_ones():
  for name in ("rnn", "irnn", "linear_rnn", "gated_delta"):
    cell = cells.CELLS[name](D, H)
    assert diagnose.keeping(cell, *started(cell)) == {}, name
  lru = cells.lru(D, H, shortest=0.9, longest=0.95)
  found = diagnose.keeping(lru, *started(lru))
  assert list(found) == ["h"]  # of its two parts, the modulus
  assert np.all((found["h"] > 0.9) & (found["h"] < 0.95))
