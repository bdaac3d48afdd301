"""The laws of the cells: one protocol, how they start, and what each one's gates do."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rows import ROWS
from tables import (
  ACTIVATIONS,
  CELLS,
  REGISTRY,
  USERS,
  B,
  D,
  H,
  inputs,
  noise,
  parameters,
  same,
  unroll,
)

from unroll import cells
from unroll.start import Init, named_init
from unroll.types import BadInput

KEY = jax.random.key(0)
EVERY = CELLS | ACTIVATIONS
DENSE = {name: row for name, row in ROWS.items() if row.gates}


@pytest.mark.parametrize("name", EVERY)
def test_every_cell_keeps_the_protocol(name):
  cell = EVERY[name]
  for part, count in {"init": 1, "carry": 2, "project": 2, "step": 3}.items():
    inspect.signature(getattr(cell, part)).bind(*range(count))
  params, xs = cell.init(KEY), inputs(name)
  zs = cell.project(params, xs)
  assert zs.shape[:2] == xs.shape[:2]
  np.testing.assert_allclose(zs[1:2], cell.project(params, xs[1:2]), atol=1e-6)
  carry = cell.carry(params, B)
  for leaf in jax.tree.leaves(params):
    assert leaf.dtype == jnp.float32
  after, y = cell.step(params, carry, zs[0])
  assert jax.tree.structure(after) == jax.tree.structure(carry)
  assert len(y) == B
  for mine, other in zip(jax.tree.leaves(carry), jax.tree.leaves(after)):
    assert mine.shape == other.shape


@pytest.mark.parametrize("name", sorted(REGISTRY.keys() & DENSE.keys()))
def test_constructors_take_the_same_arguments(name):
  signature = inspect.signature(REGISTRY[name]).parameters
  assert list(signature)[:2] == ["input_size", "hidden_size"]
  assert signature["init"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", EVERY | USERS)
def test_parameters_are_a_function_of_the_key(name):
  cell = (EVERY | USERS)[name]
  same(cell.init(KEY), cell.init(KEY))
  mine, other = (jax.tree.leaves(cell.init(k)) for k in (KEY, jax.random.key(1)))
  assert any(not jnp.array_equal(a, b) for a, b in zip(mine, other))


@pytest.mark.parametrize("name", DENSE)
def test_recurrent_blocks_start_orthogonal(name):
  params, gates = EVERY[name].init(KEY), DENSE[name].gates
  recurrent = [leaf for leaf in params if leaf.ndim == 2 and len(leaf) == H]
  for matrix in recurrent:
    for block in np.split(matrix, matrix.shape[1] // H, axis=1):
      np.testing.assert_allclose(block.T @ block, np.eye(H), atol=1e-5)
  assert sum(leaf.shape[1] for leaf in recurrent) == gates * H
  assert params.w_x.shape == (D, gates * H)


@pytest.mark.parametrize("name", DENSE)
def test_named_inits_start_every_cell(name):
  if name == "irnn":
    pytest.skip("has a start of its own")
  options = {"forget_bias": 0.0} if name == "lstm" else {}
  params = DENSE[name].make(init=named_init("uniform"), **options).init(KEY)
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


@pytest.mark.parametrize("name", ["rnn", "relu_rnn", "linear_rnn", "irnn"])
def test_chrono_needs_a_gate(name):
  with pytest.raises(BadInput, match="init=chrono needs a gated cell"):
    REGISTRY[name](D, H, init=Init(chrono=50.0))


def test_the_irnn_starts_as_the_identity():
  params = cells.irnn(D, 64).init(KEY)
  same(params.w_h, np.eye(64, dtype=np.float32))
  assert 0.0008 < np.std(params.w_x) < 0.0012
  assert not np.any(params.b)


def test_an_orthogonal_linear_cell_keeps_the_norm_of_its_state():
  cell = cells.linear_rnn(D, 16)
  params, nothing = cell.init(KEY), np.zeros((500, B, D), np.float32)
  start = cells.VanillaCarry(noise(5, B, 16))
  after, _ = unroll(cell, params, start, nothing)
  norms = (np.linalg.norm(carry.h, axis=1) for carry in (after, start))
  np.testing.assert_allclose(*norms, rtol=1e-3)
  assert np.abs(after.h - start.h).max() > 0.1


@pytest.mark.parametrize("name", ROWS)
def test_a_step_is_the_equation(name):
  cell = EVERY[name]
  params, xs = parameters(cell), inputs(name)
  carry, _ = unroll(cell, params, cell.carry(params, B), xs)
  after, y = cell.step(params, carry, cell.project(params, xs[:1])[0])
  known = jax.tree.map(np.asarray, (params, carry))
  expected, output = ROWS[name].equation(*known, xs[0])
  for got, wanted in zip((*after, y), (*expected, output), strict=True):
    np.testing.assert_allclose(got, wanted, atol=1e-5)
