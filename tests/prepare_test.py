"""What a cell makes of its parameters once a sequence, wherever the cell stands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import (
  MASKS,
  B,
  D,
  H,
  T,
  close,
  gradients,
  noise,
  parameters,
  quickly,
  unroll,
)

from unroll import cells, compose, regularizers, scan

LOOPS = ("custom_vjp_call", "scan", "while")
OWN = cells.exp_rnn(D, H)
AROUND = {
  "alone": OWN,
  "learned_carry": compose.learned_carry(OWN),
  "heads": compose.heads([OWN, OWN]),
  "deep": compose.deep(OWN, cells.exp_rnn(H, H)),
  "zoneout": regularizers.zoneout(OWN, 0.1),
  "dropped_state": regularizers.dropped_state(OWN, 0.2),
}


@pytest.mark.parametrize("name", AROUND)
def test_every_step_gets_what_is_made_once(name):
  cell = AROUND[name]
  params, xs = parameters(cell), noise(3, T, B, D)
  ready = cell.prepare(params)
  carry, outputs = cell.carry(params, B), []
  for x in xs:
    carry, y = cell.step(ready, carry, cell.project(ready, x[None])[0])
    outputs.append(y)
  close(unroll(cell, params, cell.carry(params, B), xs)[1], jnp.stack(outputs), 1e-5)


@pytest.mark.parametrize("name", quickly(AROUND, *list(AROUND)[:2]))
def test_its_gradient_is_that_of_autodiff(name):
  cell = AROUND[name]
  valid, reset = MASKS["holes_resets"]
  options = {"valid": valid, "reset": reset}
  params, xs = parameters(cell), noise(3, T, B, D)
  given = (cell, params, cell.carry(params, B), xs)
  assert scan.path(*given).name == "recorded"
  exact = gradients(*given, **options, backward="autodiff")
  close(gradients(*given, **options), exact, 1e-4)


def test_an_exponential_is_taken_once_a_sequence():
  params, xs = OWN.init(jax.random.key(0)), noise(3, T, B, D)

  def run(params):
    return scan.unroll(OWN, params, OWN.carry(params, B), xs)

  program = jax.make_jaxpr(run)(params)
  loops = [eqn for eqn in program.eqns if eqn.primitive.name in LOOPS]
  assert "triangular_solve" in str(program)
  assert loops and not any("triangular_solve" in str(loop) for loop in loops)


def test_a_matrix_stays_orthogonal():
  params = parameters(OWN)
  w = OWN.prepare(params).w_h
  np.testing.assert_allclose(w @ w.T, np.eye(H), atol=1e-5)
