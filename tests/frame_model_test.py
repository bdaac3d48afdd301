"""The model of frames: what it predicts of its own predictions, and how it is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close, noise, quick, same

from unroll import cells, linear, remat
from unroll.data.video.clips import Clips, clips
from unroll.layers import initial_carry
from unroll.models.convolutions import Convolutions
from unroll.models.frames import Shape, example, frame_loss, frame_model
from unroll.types import BadInput

T, B, K = 7, 3, 3
SHAPE = Shape(4, 6, 2)
CHOSEN = {
  "lstm": Convolutions(channels=(3, 2), patch=2),
  "gru": Convolutions(cell="conv_gru", channels=(3,), kernel=2),
  "peepholes": Convolutions(layers=1, channels=(3,), peepholes=True),
}


def frames(number=0, length=T):
  return np.random.default_rng(number).random((length, B, *SHAPE), np.float32)


@pytest.fixture(scope="module", params=CHOSEN)
def built(request):
  """A model whose parameters are all of some size."""
  model = frame_model(CHOSEN[request.param], SHAPE)
  params = jax.device_get(quick(model.init)(jax.random.key(0), example(SHAPE)))
  draw = np.random.default_rng(1)
  return model, jax.tree.map(
    lambda leaf: jnp.asarray(leaf + 0.4 * draw.normal(size=leaf.shape), jnp.float32),
    params,
  )


def applied(model, **options):
  return quick(lambda *given: model.apply(*given, **options))


def test_with_the_truth_fed_all_is_one_step_ahead(built):
  model, params = built
  xs = frames()
  _, logits = applied(model)(params, xs[:-1])
  forced = np.ones((K, B), np.float32)
  given = quick(lambda *at: model.apply(*at, K, forced=forced, method="ahead"))
  close(given(params, xs), logits[-K:], 1e-4)


def test_it_reads_its_own_predictions_one_after_another(built):
  model, params = built
  xs = frames()
  rolled = quick(lambda *at: model.apply(*at, K, method="ahead"))
  found = rolled(params, xs)
  apply, own = applied(model), xs[: T - K]
  for _ in range(K):
    _, logits = apply(params, own)
    own = np.concatenate([own, jax.nn.sigmoid(logits[-1:])])
  close(jax.nn.sigmoid(found), own[-K:], 1e-4)
  # What is to be predicted is not read, be it NaN.
  unknown = xs.copy()
  unknown[-K:] = np.nan
  same(rolled(params, unknown), found)


def test_a_forced_step_is_read_by_the_next_alone(built):
  model, params = built
  xs, forced = frames(), np.zeros((K, B), np.float32)
  forced[0, 1] = 1
  rolled = quick(lambda *at: model.apply(*at, K, forced=forced, method="ahead"))
  free = quick(lambda *at: model.apply(*at, K, method="ahead"))(params, xs)
  found = rolled(params, xs)
  close(found[:, ::2], free[:, ::2], 1e-6)
  close(found[0], free[0], 1e-6)
  assert np.abs(found[1, 1] - free[1, 1]).max() > 1e-3


def test_one_frame_of_context_is_enough(built):
  model, params = built
  xs = frames(length=3)
  found = quick(lambda *at: model.apply(*at, 2, method="ahead"))(params, xs)
  _, logits = applied(model)(params, xs[:1])
  close(found[:1], logits, 1e-4)


def test_a_carry_goes_on_where_a_clip_was_cut(built):
  model, params = built
  xs, apply = frames(), applied(model)
  after, logits = apply(params, xs)
  carry, first = apply(params, xs[:4])
  last, second = apply(params, xs[4:], carry)
  close(np.concatenate([first, second]), logits, 1e-4)
  close(last, after, 1e-4)


@pytest.mark.slow
def test_segments_computed_again_change_nothing(built):
  model, params = built
  batch, carry = clips(frames(), K, free=True), initial_carry(model, params, B)

  def taken(model):
    loss = frame_loss(model, forced=False)
    return quick(jax.value_and_grad(loss, has_aux=True))(params, carry, batch)

  close(taken(model.clone(plan=remat.every(2))), taken(model), 1e-4)


def test_the_errors_are_those_of_the_frames_that_count(built):
  model, params = built
  xs = frames()
  batch = clips(xs, K, np.array([True, False, True]))
  dirty = batch._replace(frames=xs.copy())
  dirty.frames[:, 1] = np.nan
  carry = initial_carry(model, params, B)
  value, (_, sums) = quick(frame_loss(model))(params, carry, dirty)
  _, logits = applied(model)(params, xs[:-1])
  chance, truth = (np.asarray(a, np.float64)[:, ::2] for a in (logits, xs[1:]))
  chance = 1 / (1 + np.exp(-chance))
  nats = -(truth * np.log(chance) + (1 - truth) * np.log(1 - chance))
  assert sums["loss"].count == sums["next"].count == 12
  np.testing.assert_allclose(value, nats.mean(), rtol=1e-4)
  wrong = np.square(chance - truth).sum((2, 3, 4))
  np.testing.assert_allclose(sums["next"].total, wrong.sum(), rtol=1e-4)
  ahead = quick(lambda *at: model.apply(*at, K, method="ahead"))(params, xs)
  error = np.square(jax.nn.sigmoid(ahead) - xs[-K:]).sum((2, 3, 4))[:, ::2]
  np.testing.assert_allclose(sums["ahead"].total, error.sum(1), rtol=1e-4)
  assert sums["ahead"].count.tolist() == [2, 2, 2]


@pytest.mark.parametrize("context", [T - K, 1])
def test_free_training_has_the_errors_of_an_evaluation(built, context):
  """It reads the context once, and of the others its own predictions."""
  model, params = built
  xs = frames()[T - K - context :]
  carry, real = initial_carry(model, params, B), np.array([True, False, True])
  whole, free = (clips(xs, K, real, free=free) for free in (False, True))
  loss = quick(frame_loss(model, forced=False))
  value, (_, sums) = loss(params, carry, whole)
  own, (_, found) = loss(params, carry, free)
  close(own, value, 1e-5)
  close(found["ahead"], sums["ahead"], 1e-4)
  assert found["loss"].count == sums["loss"].count == 2 * (len(xs) - 1)
  assert found["next"].count == 2 * (context - 1)


def test_training_predicts_no_further_than_one_step():
  model = frame_model(CHOSEN["gru"], SHAPE)
  params = quick(model.init)(jax.random.key(0), example(SHAPE))
  batch: Clips = clips(frames(), 0)
  _, (_, sums) = quick(frame_loss(model))(
    params, initial_carry(model, params, B), batch
  )
  assert sums.keys() == {"loss", "next"}


def test_a_clip_starts_afresh(built):
  model, params = built
  batch, loss = clips(frames(), K), quick(frame_loss(model))
  fresh = initial_carry(model, params, B)
  read = jax.tree.map(lambda leaf: leaf + jnp.ones_like(leaf), fresh)
  same(loss(params, fresh, batch)[0], loss(params, read, batch)[0])


def test_a_patch_is_one_place_of_the_state():
  model = frame_model(CHOSEN["lstm"], SHAPE)
  xs = frames()
  patches = model.apply({}, xs, method="_patches")
  assert patches.shape == (T, B, 2, 3, 8)
  np.testing.assert_array_equal(patches[2, 1, 1, 2], xs[2, 1, 2:4, 4:6].reshape(-1))
  np.testing.assert_array_equal(model.apply({}, patches, method="_pixels"), xs)
  first = model.cells[0]
  carry = jax.eval_shape(lambda key: first.carry(first.init(key), B), jax.random.key(0))
  assert carry.h.shape == (B, 2, 3, 3)


def test_settings_are_those_of_the_cells():
  key = jax.random.key(0)
  [one] = CHOSEN["peepholes"].cells((4, 4), 2)
  params = jax.eval_shape(one.init, key)
  assert params.peepholes.value.shape == (3, 4, 4, 3)
  both = Convolutions(cell="conv_gru", channels=(3, 5), kernel=5).cells((4, 4), 2)
  shapes = [jax.eval_shape(cell.init, key).w_x.shape for cell in both]
  assert shapes == [(5, 5, 2, 9), (5, 5, 3, 15)]


@pytest.mark.parametrize(
  ("chosen", "said"),
  [
    ({"channels": (2, 3, 4)}, "channels=2,3,4 and layers=2: give one number"),
    ({"cell": "conv_gru", "peepholes": True}, "peepholes with cell=conv_gru"),
    ({"patch": 3}, "patch=3 does not divide frames of 4 by 6 pixels"),
  ],
)
def test_settings_that_do_not_fit_are_refused(chosen, said):
  with pytest.raises(BadInput, match=said):
    frame_model(Convolutions(**chosen), SHAPE)


@pytest.mark.slow
def test_the_cells_have_the_gradient_of_plain_convolutions():
  """Through a scan, by products instead of JAX's transposes of a convolution."""
  cell = cells.conv_gru((4, 3, 2), 2)
  params = cell.init(jax.random.key(0))
  xs = noise(1, 5, B, 4, 3, 2)

  def run(params, xs):
    def step(carry, x):
      return cell.step(params, carry, cell.project(params, x[None])[0])

    return jnp.sum(jnp.sin(jax.lax.scan(step, cell.carry(params, B), xs)[1]))

  found = quick(jax.grad(run, (0, 1)))(params, xs)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(linear, "_convolved", linear._convolved.fun)
    close(found, jax.jit(jax.grad(run, (0, 1)))(params, xs), 1e-4)
