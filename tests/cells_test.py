"""The laws of the cells: one protocol, how they start, and what each one's gates do."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import CELLS, REGISTRY, USERS, B, D, H, inputs, parameters, same, unroll

from unroll import cells
from unroll.linear import Init, named_init
from unroll.types import BadInput

KEY = jax.random.key(0)
# How many gates stand side by side in each matrix.
GATES = {"rnn": 1, "relu_rnn": 1, "irnn": 1, "gru": 3, "gru_reset_before": 3, "lstm": 4}


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_keeps_the_protocol(name):
  cell = CELLS[name]
  for part, count in {"init": 1, "carry": 2, "project": 2, "step": 3}.items():
    assert len(inspect.signature(getattr(cell, part)).parameters) == count
  params, xs = cell.init(KEY), inputs()
  zs = cell.project(params, xs)
  assert zs.shape[:2] == xs.shape[:2]
  np.testing.assert_allclose(zs[1:2], cell.project(params, xs[1:2]), atol=1e-6)
  carry = cell.carry(params, B)
  for leaf in jax.tree.leaves(params):
    assert leaf.dtype == jnp.float32
  after, y = cell.step(params, carry, zs[0])
  assert jax.tree.structure(after) == jax.tree.structure(carry)
  assert y.ndim == 2 and len(y) == B


@pytest.mark.parametrize("name", REGISTRY)
def test_constructors_take_the_same_arguments(name):
  signature = inspect.signature(REGISTRY[name]).parameters
  assert list(signature)[:2] == ["input_size", "hidden_size"]
  assert signature["init"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", CELLS | USERS)
def test_parameters_are_a_function_of_the_key(name):
  cell = (CELLS | USERS)[name]
  same(cell.init(KEY), cell.init(KEY))
  mine, other = (jax.tree.leaves(cell.init(k)) for k in (KEY, jax.random.key(1)))
  assert any(not jnp.array_equal(a, b) for a, b in zip(mine, other))


@pytest.mark.parametrize("name", REGISTRY)
def test_recurrent_blocks_start_orthogonal(name):
  params = REGISTRY[name](D, H).init(KEY)
  recurrent = [leaf for leaf in params if leaf.ndim == 2 and len(leaf) == H]
  for matrix in recurrent:
    for block in np.split(matrix, matrix.shape[1] // H, axis=1):
      np.testing.assert_allclose(block.T @ block, np.eye(H), atol=1e-5)
  assert sum(leaf.shape[1] for leaf in recurrent) == GATES[name] * H
  assert params.w_x.shape == (D, GATES[name] * H)


@pytest.mark.parametrize("name", REGISTRY)
def test_named_inits_start_every_cell(name):
  if name == "irnn":
    pytest.skip("has a start of its own")
  options = {"forget_bias": 0.0} if name == "lstm" else {}
  params = REGISTRY[name](D, H, init=named_init("uniform"), **options).init(KEY)
  values = np.concatenate([leaf.ravel() for leaf in params])
  assert 0.8 * H**-0.5 < np.abs(values).max() <= H**-0.5
  assert len(np.unique(values)) == len(values)


@pytest.mark.parametrize("forget_bias", [0.0, 1.0, 2.5])
def test_the_forget_gate_starts_open(forget_bias):
  b = cells.lstm(D, H, forget_bias=forget_bias).init(KEY).b.reshape(4, H)
  same(b, np.array([[0.0], [forget_bias], [0.0], [0.0]], np.float32).repeat(H, 1))
  for gru in (cells.gru, cells.gru_reset_before):
    b = gru(D, H, forget_bias=-forget_bias).init(KEY).b.reshape(3, H)
    same(b, np.array([[0.0], [-forget_bias], [0.0]], np.float32).repeat(H, 1))


def test_chrono_sets_the_gates_that_remember():
  init = Init(chrono=50.0)
  i, f, g, o = cells.lstm(D, H, init=init).init(KEY).b.reshape(4, H)
  same(i, -f)
  assert np.all((f >= 0) & (f <= np.log(49)))
  assert not np.any(g) and not np.any(o)
  for gru in (cells.gru, cells.gru_reset_before):
    r, z, n = gru(D, H, init=init).init(KEY).b.reshape(3, H)
    assert np.all((z > 0) & (z <= np.log(49)))
    assert not np.any(r) and not np.any(n)


@pytest.mark.parametrize("name", ["rnn", "relu_rnn", "irnn"])
def test_chrono_needs_a_gate(name):
  with pytest.raises(BadInput, match="--init=chrono needs a gated cell"):
    REGISTRY[name](D, H, init=Init(chrono=50.0))


def test_the_irnn_starts_as_the_identity():
  params = cells.irnn(D, 64).init(KEY)
  same(params.w_h, np.eye(64, dtype=np.float32))
  assert 0.0008 < np.std(params.w_x) < 0.0012
  assert not np.any(params.b)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def equation(name, params, carry, x):
  """One step in numpy, gate by gate, as the papers write it."""

  def blocks(array, count):
    return np.split(np.asarray(array), count, axis=-1)

  if name in ("rnn", "relu_rnn", "irnn"):
    a = x @ params.w_x + carry.h @ params.w_h + params.b
    h = np.tanh(a) if name == "rnn" else np.maximum(a, 0)
    return (h,), h
  if name == "lstm":
    w, u, b = (blocks(leaf, 4) for leaf in params)
    i, f, g, o = (x @ w[k] + carry.h @ u[k] + b[k] for k in range(4))
    c = sigmoid(f) * carry.c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (c, h), h
  w, b = blocks(params.w_x, 3), blocks(params.b, 3)
  h = np.asarray(carry.h)
  u = blocks(params.w_h, 3) if name == "gru" else blocks(params.w_rz, 2)
  r, z = (sigmoid(x @ w[k] + h @ u[k] + b[k]) for k in range(2))
  if name == "gru":
    n = np.tanh(x @ w[2] + b[2] + r * (h @ u[2] + params.b_n))
  else:
    n = np.tanh(x @ w[2] + b[2] + (r * h) @ params.w_n)
  h = (1 - z) * n + z * h
  return (h,), h


@pytest.mark.parametrize("name", REGISTRY)
def test_a_step_is_the_equation(name):
  cell = CELLS[name]
  params, xs = parameters(cell), inputs()
  carry, _ = unroll(cell, params, cell.carry(params, B), xs)
  after, y = cell.step(params, carry, cell.project(params, xs[:1])[0])
  expected, output = equation(name, *jax.tree.map(np.asarray, (params, carry)), xs[0])
  for got, wanted in zip((*after, y), (*expected, output), strict=True):
    np.testing.assert_allclose(got, wanted, atol=1e-5)
