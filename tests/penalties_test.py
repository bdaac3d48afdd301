"""Laws of the penalties: they are the means of their definitions, however cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close, noise, quick, same

from unroll import remat
from unroll.architecture import Architecture
from unroll.data.batches import Batch
from unroll.models.language import language_model, next_token_loss
from unroll.penalties import NO_PENALTIES, Edge, Penalties

V, T, B, H = 7, 6, 3, 5
RNG = np.random.default_rng(3)
EACH = {
  "activation_penalty": lambda before, now: np.mean(now**2),
  "temporal_penalty": lambda before, now: np.mean((now - before) ** 2),
  "norm_penalty": lambda before, now: (
    (np.linalg.norm(now) - np.linalg.norm(before)) ** 2
  ),
}
each = pytest.mark.parametrize("name", EACH)


def masks():
  valid, reset = RNG.random((T, B)) < 0.8, RNG.random((T, B)) < 0.2
  valid[:, 0], reset[:, 0] = True, False
  reset[2, 1] = True
  return valid, reset


def batch(length=T):
  tokens = RNG.integers(V, size=(2, length, B), dtype=np.int32)
  valid = np.ones((length, B), bool)
  valid[-1, 0] = False
  reset = np.zeros((length, B), bool)
  reset[0], reset[3, 1] = True, True
  return Batch(tokens[0], tokens[1], valid.astype(np.float32), reset, valid)


def model(**options):
  return language_model(Architecture("lstm", 2, (H,), **options), V, embedding=4)


def started(of):
  params = of.init(jax.random.key(1), jnp.zeros((1, 1), jnp.int32))
  return params, of.apply(params, B, method="initial_carry")


@each
def test_a_penalty_is_the_mean_of_its_definition(name):
  ys, (valid, reset) = noise(1, T, B, H), masks()
  first = noise(2, B, H)
  there = np.array([True, False, True])
  values = []
  for column in range(B):
    before = first[column] if there[column] else None
    for t in range(T):
      if valid[t, column]:
        alone = name == "activation_penalty"
        if alone or (before is not None and not reset[t, column]):
          values.append(EACH[name](before, ys[t, column]))
      before = ys[t, column] if valid[t, column] else None
  dirty = np.where(valid[..., None], ys, np.nan)
  edge, sums = Penalties(**{name: 0.5}).of_states(
    jnp.array(dirty), Edge(jnp.array(first), jnp.array(there)), valid, reset
  )
  close(sums[name].mean(), np.mean(values), 1e-6)
  assert sums[name].count == len(values)
  same(edge.there, valid[-1])


@pytest.mark.slow
@each
@pytest.mark.parametrize(
  "plan", [remat.every(2), pytest.param(remat.every(1), marks=pytest.mark.slow)]
)
def test_a_cut_sequence_has_the_penalties_of_the_whole(name, plan):
  of, data = model(), batch()
  params, carry = started(of)
  penalties = Penalties(**{name: 0.7})

  def gradient(plan):
    loss = next_token_loss(of, plan, penalties=penalties)
    return quick(jax.value_and_grad(loss, has_aux=True))(params, carry, data)

  close(gradient(plan), gradient(remat.NONE), 1e-6)


def test_the_value_is_raised_and_what_is_measured_is_not():
  of, data = model(), batch()
  params, carry = started(of)
  penalties = Penalties(2.0, 1.0, 0.5, 0.25)
  value, (_, sums) = next_token_loss(of, penalties=penalties)(params, carry, data)
  plain, (_, alone) = next_token_loss(of)(params, carry, data)
  same(sums["loss"], alone["loss"])
  core = params["params"]["recurrent"]["core"]
  squares = sum(float(jnp.sum(layer.w_h**2)) for layer in core)
  rates = {"activation_penalty": 2.0, "temporal_penalty": 1.0, "norm_penalty": 0.5}
  added = sum(rate * sums[name].mean() for name, rate in rates.items())
  close(value, plain + added + 0.25 * squares, 1e-6)


def test_the_gradient_is_that_of_the_value():
  of, data = model(), batch()
  params, carry = started(of)
  loss = next_token_loss(of, penalties=Penalties(2.0, 1.0, 0.5, 0.25))
  ways = [noise(n, *leaf.shape) for n, leaf in enumerate(jax.tree.leaves(params))]
  way = jax.tree.unflatten(jax.tree.structure(params), ways)

  def along(step):
    moved = jax.tree.map(lambda p, w: p + step * w, params, way)
    return loss(moved, carry, data)[0]

  slope = quick(jax.grad(along))(0.0)
  size = 1e-2
  close(slope, (along(size) - along(-size)) / (2 * size), 2e-3)


def test_states_of_zero_have_a_gradient_of_zero():
  edge = Edge.none(B, H)

  def value(ys):
    penalties = Penalties(norm_penalty=1.0)
    return penalties.added(
      jnp.zeros(()), penalties.of_states(ys, edge, None, None)[1], {}
    )

  assert np.all(jax.grad(value)(jnp.zeros((T, B, H))) == 0)


def test_no_penalty_is_no_work():
  def sums(ys):
    return NO_PENALTIES.of_states(ys, Edge.none(B, H), None, None)[1]

  assert jax.eval_shape(sums, jnp.zeros((T, B, H))) == {}
