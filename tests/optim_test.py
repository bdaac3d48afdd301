"""Laws of `unroll.optim`: against optax, against float64, and by construction."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from unroll import optim
from unroll.types import BadInput

RATE = jnp.float32(0.1)
STEPS = 7

REFERENCES = {
  "sgd": optax.sgd(0.1),
  "momentum": optax.sgd(0.1, momentum=0.9),
  "momentum:0.5": optax.sgd(0.1, momentum=0.5),
  "rmsprop": optax.rmsprop(0.1),
  "rmsprop:0.99": optax.rmsprop(0.1, decay=0.99),
  "adagrad": optax.adagrad(0.1),
  "adam": optax.adam(0.1),
  "adam:0.8,0.99": optax.adam(0.1, b1=0.8, b2=0.99),
  "adamw:0.8,0.99": optax.adamw(
    0.1, b1=0.8, b2=0.99, weight_decay=0.01, mask={"w": True, "b": False}
  ),
}


def tree(seed: int, scale: float = 1.0) -> dict[str, jax.Array]:
  w, b = jax.random.split(jax.random.key(seed))
  return {
    "w": scale * jax.random.normal(w, (3, 4)),
    "b": scale * jax.random.normal(b, (4,)),
  }


def close(a, b, rtol=1e-6, atol=1e-7):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), a, b)


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def follow(reference, grads, state, params):
  with jax.numpy_dtype_promotion("standard"):
    updates, state = reference.update(grads, state, params)
  return optax.apply_updates(params, updates), state


@pytest.mark.parametrize("spec", REFERENCES)
def test_equals_optax(spec):
  ours, reference = optim.optimizer(spec, clip_norm=0), REFERENCES[spec]
  params = expected = tree(0)
  state, reference_state = ours.init(params), reference.init(params)
  update = jax.jit(ours.update)
  for i in range(STEPS):
    grads = tree(i + 1)
    params, state = update(grads, state, params, RATE)
    expected, reference_state = follow(reference, grads, reference_state, expected)
    close(params, expected)
  assert state.updates == STEPS


def norms(clip_by, grads, params):
  """What each kind of clipping holds below its threshold, in float64."""
  grads, params = jax.tree.map(lambda x: np.asarray(x, np.float64), (grads, params))
  match clip_by:
    case "global_norm":
      return [np.sqrt(sum(np.sum(g * g) for g in grads.values()))]
    case "value":
      return [np.max(np.abs(g)) for g in grads.values()]
    case "param_norm":
      return [np.sqrt(np.sum(g * g)) for g in grads.values()]
    case "agc":
      ratios = []
      for g, p in zip(grads.values(), params.values()):
        floor = np.maximum(np.linalg.norm(p, axis=0), 1e-3)
        ratios.append(np.max(np.linalg.norm(g, axis=0) / floor))
      return ratios


@pytest.mark.parametrize("clip_by", optim.CLIPS)
@pytest.mark.parametrize("scale", [0.0, 1e-25, 1.0, 1e25])
def test_clipped_is_below_the_threshold_and_the_rest_untouched(clip_by, scale):
  ours = optim.optimizer("sgd", clip_by=clip_by, clip_norm=0.7)
  params, grads = jax.tree.map(jnp.zeros_like, tree(0)), tree(1, scale)
  # At zero, and with a rate of one, sgd's step is minus the clipped gradient.
  stepped, _ = ours.update(grads, ours.init(params), params, jnp.float32(1))
  clipped = jax.tree.map(jnp.negative, stepped)
  before, after = norms(clip_by, grads, params), norms(clip_by, clipped, params)
  if scale <= 1e-25:
    same(clipped, grads)
  else:
    assert max(before) > 0.7
    np.testing.assert_allclose(max(after), 0.7, rtol=1e-6)
  if clip_by != "value":  # every other kind keeps directions
    close(clipped["b"] * before[0], grads["b"] * after[0], rtol=1e-5)


@pytest.mark.parametrize("clip_by", optim.CLIPS)
def test_just_below_the_threshold_nothing_changes(clip_by):
  params, grads = tree(0), tree(1)
  threshold = 1.001 * max(norms(clip_by, grads, params))
  clipped = optim.CLIPS[clip_by](grads, params, threshold)
  same(clipped, grads)
  clipped = optim.CLIPS[clip_by](grads, params, threshold / 1.01)
  assert max(norms(clip_by, clipped, params)) < max(norms(clip_by, grads, params))


def test_agc_equals_optax():
  params, grads = tree(0), tree(1)
  reference = optax.adaptive_grad_clip(0.4)
  expected, _ = reference.update(grads, reference.init(params), params)
  close(optim.CLIPS["agc"](grads, params, 0.4), expected)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e30])
def test_gradient_norm_neither_overflows_nor_underflows(scale):
  grads = tree(1, scale)
  expected = norms("global_norm", grads, grads)[0]
  norm = jax.jit(optim.gradient_norm)(grads)
  np.testing.assert_allclose(norm, expected, rtol=1e-6)
  assert norm.dtype == jnp.float32
  assert not jnp.isfinite(optim.gradient_norm({**grads, "c": jnp.array([jnp.nan])}))
  assert not jnp.isfinite(optim.gradient_norm({**grads, "c": jnp.array([jnp.inf])}))


@pytest.mark.parametrize("spec", optim.OPTIMIZERS)
def test_decay_shrinks_matrices_only_and_is_not_clipped_or_preconditioned(spec):
  params, rest = tree(0, 100.0), jax.tree.map(jnp.zeros_like, tree(0))
  ours = optim.optimizer(spec, weight_decay=0.5, clip_norm=1e-3)
  decayed, _ = ours.update(rest, ours.init(params), params, RATE)
  close(decayed["w"], params["w"] * (1 - 0.1 * 0.5))
  same(decayed["b"], params["b"])


@pytest.mark.parametrize("spec", ["momentum", "rmsprop", "adagrad", "adam"])
def test_clipping_comes_before_the_preconditioner(spec):
  params, grads = tree(0), [tree(1, 5.0), tree(2, 0.1)]
  ours = optim.optimizer(spec, clip_norm=1.0)
  reference = optax.chain(optax.clip_by_global_norm(1.0), REFERENCES[spec])
  expected, state, reference_state = params, ours.init(params), reference.init(params)
  for g in grads:
    params, state = ours.update(g, state, params, RATE)
    expected, reference_state = follow(reference, g, reference_state, expected)
  close(params, expected)


@pytest.mark.parametrize("spec, decay", [("adam", 0.0), ("sgd", 0.0), ("adamw", 0.01)])
def test_default_decay(spec, decay):
  params, grads = tree(0), tree(1)
  default, explicit = optim.optimizer(spec), optim.optimizer(spec, weight_decay=decay)
  step, _ = default.update(grads, default.init(params), params, RATE)
  expected, _ = explicit.update(grads, explicit.init(params), params, RATE)
  same(step, expected)


@pytest.mark.parametrize("begun", [0, 3, math.inf])
def test_asgd_is_the_mean_of_all_that_came_after_it_began(begun):
  ours = optim.optimizer("sgd", asgd=True)
  params = tree(0)
  state, seen = ours.init(params), []
  for step in range(8):
    params, state = ours.update(tree(step + 1), state, params, 0.1, begun)
    seen.append(params)
    wanted = seen[int(begun) :] if begun <= step else [params]
    mean = jax.tree.map(lambda *p: np.mean(np.float64(p), axis=0), *wanted)
    found = ours.averaged(state, params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found, mean)


@pytest.mark.parametrize("ema", [0.5, 0.9, 0.9999])
def test_average_equals_a_debiased_float64_loop(ema):
  ours = optim.optimizer("sgd", ema=ema)
  params = tree(0)
  state = ours.init(params)
  same(ours.averaged(state, params), params)  # before any update: the parameters
  biased = np.zeros((3, 4))
  for i in range(50):
    params, state = ours.update(tree(i + 1), state, params, RATE)
    biased = ema * biased + (1 - ema) * np.asarray(params["w"], np.float64)
    expected = biased / (1 - ema ** (i + 1))
    np.testing.assert_allclose(ours.averaged(state, params)["w"], expected, 1e-5, 1e-6)


def test_without_an_average_the_parameters_are_evaluated():
  ours, params = optim.optimizer("sgd"), tree(0)
  assert ours.averaged(ours.init(params), params) is params


def test_donating_parameters_and_state_together():
  ours, params = optim.optimizer("adam", ema=0.9), tree(0)
  update = jax.jit(ours.update, donate_argnums=(1, 2))
  expected, _ = ours.update(tree(1), ours.init(params), params, RATE)
  stepped, _ = update(tree(1), ours.init(params), params, RATE)
  close(stepped, expected)


@pytest.mark.parametrize("spec", optim.OPTIMIZERS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_is_a_loop_carry(spec, dtype):
  ours = optim.optimizer(spec, ema=0.999, weight_decay=0.1)
  params = jax.tree.map(lambda x: x.astype(dtype), tree(0))
  grads = jax.tree.map(lambda x: x.astype(dtype), tree(1))
  state = ours.init(params)

  @jax.jit
  def loop(params, state):
    return jax.lax.fori_loop(
      0, STEPS, lambda _, carry: ours.update(grads, carry[1], carry[0], RATE),
      (params, state),
    )  # fmt: skip

  looped, state = loop(params, state)
  assert state.updates == STEPS
  expected, other = params, ours.init(params)
  for _ in range(STEPS):
    expected, other = jax.jit(ours.update)(grads, other, expected, RATE)
  close(*jax.tree.map(lambda x: x.astype("float32"), (looped, expected)), rtol=1e-5)
  assert all(p.dtype == dtype for p in jax.tree.leaves((looped, expected)))
  floats = [x for x in jax.tree.leaves(state) if x.dtype != jnp.int32]
  assert all(x.dtype == jnp.float32 for x in floats)


@pytest.mark.parametrize("spec", optim.OPTIMIZERS)
def test_float64_stays_float64(spec):
  with jax.enable_x64(True):
    params = jax.tree.map(lambda x: x.astype("float64"), tree(0))
    ours = optim.optimizer(spec, ema=0.9, weight_decay=0.1)
    stepped, state = ours.update(params, ours.init(params), params, RATE)
    average = ours.averaged(state, stepped)
    assert all(p.dtype == "float64" for p in jax.tree.leaves((stepped, average)))


@pytest.mark.parametrize(
  "argument, spec, options",
  [
    ("optimizer", "adan", {}),
    ("optimizer", "", {}),
    ("optimizer", "sgd:0.9", {}),
    ("optimizer", "adam:0.9", {}),
    ("optimizer", "adam:0.9,0.99,0.999", {}),
    ("optimizer", "adam:", {}),
    ("optimizer", "momentum:x", {}),
    ("optimizer", "momentum:nan", {}),
    ("optimizer", "momentum:1", {}),
    ("clip_by", "adam", {"clip_by": "norm"}),
    ("clip_norm", "adam", {"clip_norm": -1.0}),
    ("clip_norm", "adam", {"clip_norm": float("nan")}),
    ("weight_decay", "adam", {"weight_decay": -0.1}),
    ("ema", "adam", {"ema": 1.0}),
  ],
)
def test_bad_input_names_the_argument(argument, spec, options):
  with pytest.raises(BadInput, match=f"^{argument}="):
    optim.optimizer(spec, **options)


def test_the_message_names_every_form():
  with pytest.raises(BadInput, match=r"sgd, momentum\[:0.9\].*adam\[:0.9,0.999\]"):
    optim.optimizer("adan")
