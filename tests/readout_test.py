"""Laws of the readout: the sums and gradients of all logits, without all of them."""

import functools
import json
import math
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close, noise, quick, shaken

from unroll import linear, readout, remat
from unroll.cells import gru
from unroll.compose import Wiring
from unroll.data.batches import Batch
from unroll.layers import stacked
from unroll.models.language import LanguageModel, next_token_loss
from unroll.types import seed

B, H = 3, 5
CUT = {"rest": 7, "no rest": 8}  # T in slices of 2 steps


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
  monkeypatch.setattr(readout, "ROWS", 2 * B)
  monkeypatch.setattr(readout, "BYTES", 0)


def drawn(length, vocabulary, dtype=np.float32, zeros=True):
  """Hidden states, matrix and bias; targets; weights, some of them zero."""
  draw = np.random.default_rng(3)
  targets = draw.integers(vocabulary, size=(length, B), dtype=np.int32)
  weight = draw.uniform(0.5, 2, (length, B)).astype(dtype)
  if zeros:
    weight[draw.random((length, B)) < 0.4] = 0
  ys, kernel = noise(1, length, B, H, dtype=dtype), noise(2, H, vocabulary, dtype=dtype)
  return ys, kernel, noise(4, vocabulary, dtype=dtype), targets, weight


def loss(ys, kernel, bias, targets, weight, backward, tie=False):
  kernel = kernel.T if tie else kernel
  sums = readout.cross_entropy(ys, kernel, bias, targets, weight, backward=backward)
  return 0.7 * sums.total + sums.total * sums.count, sums


gradients = functools.partial(quick, static_argnames=("backward", "tie"))(
  jax.value_and_grad(loss, argnums=(0, 1, 2, 4), has_aux=True)
)


@pytest.mark.parametrize("zeros", [True, False], ids=["zeros", "ones"])
@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("length", CUT.values(), ids=CUT)
@pytest.mark.parametrize("vocabulary", [pytest.param(2, marks=pytest.mark.slow), 1000])
def test_fast_is_autodiff(vocabulary, length, tie, zeros):
  for dtype, rtol in ((np.float32, 1e-6), (np.float64, 1e-12)):
    with jax.enable_x64(dtype == np.float64):
      ys, kernel, *rest = drawn(length, vocabulary, dtype, zeros)
      given = (ys, kernel.T if tie else kernel, *rest)
      fast, exact = (
        gradients(*given, backward=how, tie=tie) for how in ("fast", "autodiff")
      )
      assert {leaf.dtype for leaf in jax.tree.leaves(fast)} == {jnp.dtype(dtype)}
      close(fast, exact, rtol)


def test_fast_is_a_finite_difference():
  with jax.enable_x64(True):
    ys, kernel, bias, *rest = drawn(7, 11, np.float64)
    point = (ys, kernel, bias)
    way = [noise(9 + i, *x.shape, dtype=np.float64) for i, x in enumerate(point)]

    @quick
    def take(distance):
      moved = (p + distance * w for p, w in zip(point, way))
      total = jax.value_and_grad(
        lambda *p: readout.cross_entropy(*p, *rest).total, argnums=(0, 1, 2)
      )
      return total(*moved)

    slope = (take(1e-5)[0] - take(-1e-5)[0]) / 2e-5
    products = [np.sum(g * w) for g, w in zip(take(0.0)[1], way)]
    np.testing.assert_allclose(sum(products), slope, rtol=1e-8)


@pytest.mark.parametrize("backward", ["fast", "autodiff"])
def test_what_does_not_count_reaches_nothing(backward):
  ys, kernel, bias, targets, weight = drawn(7, 11)
  padding = weight == 0
  assert padding.any() and not padding.all()
  strange = np.where(padding[..., None], np.nan, ys).astype(np.float32)
  anything = np.where(padding, np.resize([-1, 11, 2**30], padding.shape), targets)
  expected = gradients(ys, kernel, bias, targets, weight, backward=backward)
  anything = anything.astype(np.int32)
  found = gradients(strange, kernel, bias, anything, weight, backward=backward)
  close(found[1][:3], expected[1][:3], 1e-7)
  close(found[0], expected[0], 1e-7)
  assert not np.any(np.asarray(found[1][0])[padding])


def test_half_precision_products_are_summed_in_full():
  ys, kernel, bias, targets, weight = drawn(8, 300)
  rounded = (ys, kernel.astype(jnp.bfloat16), bias, targets, weight)
  fast, exact = (gradients(*rounded, backward=how) for how in ("fast", "autodiff"))
  # The forward pass is the same; gradients round dl, which autodiff's need not.
  close(fast[0], exact[0], 1e-6)
  assert [g.dtype for g in fast[1]] == [g.dtype for g in exact[1]]
  for got, wanted in zip(fast[1], exact[1]):
    close(got.astype(jnp.float32), wanted.astype(jnp.float32), 0.02)


def test_half_precision_hidden_states_are_transposed_as_they_are(monkeypatch):
  """On a CPU XLA would multiply them by dl as float32 otherwise, at half the rate."""
  monkeypatch.setattr(linear, "ROWS", 2)
  ys, kernel, *rest = drawn(8, 200)
  given = (ys, kernel.astype(jnp.bfloat16), *rest)
  program = gradients.lower(*given, backward="fast").compile().as_text()
  assert re.search(rf"u16\[(?:1,)*{H},{2 * B}\]", program)  # yᵀ of a slice


def test_no_third_backward():
  with pytest.raises(ValueError, match="'slow': choose 'fast', 'autodiff' or 'para"):
    readout.cross_entropy(*drawn(2, 3), backward="slow")


# The language model.
V, T = 40, 11


@functools.cache
def language(tie=False, dropout=0.0):
  core = stacked(gru(H, H), wiring=Wiring(output_dropout=dropout))
  return LanguageModel(V, H, core, H, tie)


def training(model, length=T, dtype=np.float32):
  """Parameters, carry and a batch whose rows start, end and have holes."""
  params = model.init(jax.random.key(1), jnp.zeros((1, 1), int))
  params = shaken(params, 1, 0.3, dtype)
  carry = shaken(model.apply(params, B, method="initial_carry"), 2, 0.5, dtype)
  draw = np.random.default_rng(3)
  tokens = draw.integers(V, size=(2, length, B), dtype=np.int32)
  masks = draw.random((3, length, B)) < np.array([0.8, 0.2, 0.8])[:, None, None]
  batch = Batch(*tokens, masks[0].astype(np.float32), masks[1], masks[2])
  return params, seed(carry, jax.random.key(4)), batch


@pytest.mark.parametrize(
  "plan, tie, dropout",
  [
    *[("none", tie, 0.3) for tie in (True, False)],
    *[("every:5", True, 0.3), ("recursive:2", False, 0.0)],
  ],
)
@pytest.mark.slow
def test_a_model_trains_alike_under_every_plan(plan, tie, dropout):
  model = language(tie, dropout)
  given = training(model)
  fast, exact = (
    quick(jax.value_and_grad(loss, has_aux=True))(*given)
    for loss in (
      next_token_loss(model, remat.named_plan(plan)),
      next_token_loss(model, backward="autodiff"),
    )
  )
  close(fast, exact, 1e-5)


def test_autodiff_goes_forward_and_twice():
  model = language(tie=True)
  params, carry, batch = training(model)
  way = shaken(jax.tree.map(jnp.zeros_like, params), 5, 1.0)
  slow = next_token_loss(model, backward="autodiff")

  def at(params):
    return slow(params, carry, batch)[0]

  @quick
  def take(params):
    gradient, curved = jax.jvp(jax.grad(at), (params,), (way,))
    return jax.jvp(at, (params,), (way,))[1], gradient, curved

  slope, gradient, curved = take(params)

  def dot(a, b):
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))

  np.testing.assert_allclose(slope, dot(gradient, way), rtol=1e-5)

  def at_distance(d):
    return take(jax.tree.map(lambda p, w: p + d * w, params, way))[0]

  change = (at_distance(1e-3) - at_distance(-1e-3)) / 2e-3
  np.testing.assert_allclose(dot(curved, way), change, rtol=2e-2)


@pytest.mark.parametrize(
  "tie",
  [True, pytest.param(False, marks=pytest.mark.slow)],
  ids=["tied", "untied"],
)
def test_second_derivatives_of_a_model(tie):
  """The gradient of |dL/dθ|², in slices, as all logits at once have it."""
  model = language(tie=tie)
  params, carry, batch = training(model)

  def penalty(backward):
    value = next_token_loss(model, backward=backward)
    take = jax.grad(lambda params: value(params, carry, batch)[0])
    return lambda params: sum(jnp.sum(g**2) for g in jax.tree.leaves(take(params)))

  both = quick(lambda at: [jax.grad(penalty(b))(at) for b in ("fast", "autodiff")])
  close(*both(params), 1e-4)


def test_forward_mode_names_autodiff():
  given = drawn(CUT["rest"], 7)
  way = jax.tree.map(np.ones_like, given[:3])
  value = jax.jit(lambda *given: readout.cross_entropy(*given).total)
  with pytest.raises(TypeError, match="give backward='autodiff' for forward mode"):
    jax.jvp(lambda *some: value(*some, *given[3:]), given[:3], way)


def shapes(program):
  """Of every array of real numbers in a compiled program."""
  found = re.findall(r"\bf(?:16|32|64)\[([\d,]+)\]", program.compile().as_text())
  return [tuple(map(int, shape.split(","))) for shape in found]


@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
def test_all_logits_never_exist(tie):
  model, length = language(tie), 64
  given = training(model, length)

  def largest(**options):
    loss = next_token_loss(model, **options)
    program = quick(jax.value_and_grad(loss, has_aux=True)).lower(*given)
    return max(math.prod(s) for s in shapes(program) if V in s)

  assert largest(backward="autodiff") == length * B * V
  assert largest() <= max(4 * B * V, length * B * H)  # nor anything nearly as large


def products(jaxpr):
  """How many matrix products a program has."""
  count = 0
  for eqn in jaxpr.eqns:
    inner = [getattr(p, "jaxpr", p) for p in jax.tree.leaves(list(eqn.params.values()))]
    count += eqn.primitive.name == "dot_general"
    count += sum(products(each) for each in inner if hasattr(each, "eqns"))
  return count


def test_nothing_is_computed_twice_or_for_nothing():
  ys, *rest = drawn(8, 11)

  def total(ys):
    return readout.cross_entropy(ys, *rest).total

  forward, both, again = (
    products(jax.make_jaxpr(f)(ys).jaxpr)
    for f in (total, jax.grad(total), jax.grad(jax.checkpoint(total)))
  )
  # Logits; then dy, dW and db; a segment that is run again has no gradient at first.
  assert (forward, both, again) == (1, 4, 5)


SPREAD = """
import json, sys
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import jax.numpy as jnp, numpy as np
from tables import noise
from unroll import readout
from unroll.devices import Spread
spread = Spread(int(sys.argv[1]))
readout.ROWS, readout.BYTES = 8, 0
T, B, H, V = 13, 8, 5, 50  # slices of 1 or 2 steps
draw = np.random.default_rng(0)
rows = noise(1, T, B, H), draw.integers(V, size=(T, B)), draw.random((T, B)) < 0.7
ys, targets, weight = (jax.device_put(x, spread.rows(x, 1)) for x in rows)
kernel, bias = jax.device_put((noise(2, H, V), noise(3, V)), spread.whole)

def loss(ys, kernel, bias):
  state = jnp.tanh(ys), kernel.T * 2, bias  # what a mesh is known of, inside a program
  sums = readout.cross_entropy(
    state[0], state[1].T, bias, targets, weight.astype(jnp.float32)
  )
  return sums.mean()

take = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
text = take.lower(ys, kernel, bias).compile().as_text()
names = "all-gather", "all-to-all", "collective-permute", "reduce-scatter"
out = take(ys, kernel, bias)
print(json.dumps({
  "strangers": sum(text.count(f" {name}(") for name in names),
  "sums": text.count(" all-reduce("),
  "devices": out[1][0].sharding.num_devices,
  "out": [np.asarray(leaf).ravel().tolist() for leaf in jax.tree.leaves(out)],
}))
"""


def test_a_batch_spread_over_devices_meets_once():
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  command = [sys.executable, "-c", SPREAD]
  running = [
    subprocess.Popen([*command, n], env=environment, stdout=subprocess.PIPE)
    for n in "12"
  ]
  one, two = (json.loads(process.communicate()[0]) for process in running)
  assert (one["devices"], one["sums"]) == (1, 0)
  assert (two["devices"], two["strangers"]) == (2, 0)
  assert 1 <= two["sums"] <= 2  # the count, and all else at once
  for a, b in zip(one["out"], two["out"], strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.max(np.abs(a)))
