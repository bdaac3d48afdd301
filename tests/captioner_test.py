"""The laws of a captioner: its loss, what it writes, what padding changes."""

import functools

import jax
import numpy as np
import pytest
from tables import close

from unroll import captioning
from unroll.architecture import Architecture
from unroll.data.captions import Pictures, Reader
from unroll.data.examples import Examples
from unroll.models.captioner import captioner, example
from unroll.models.conditional import conditional_loss
from unroll.models.decoders import Decoders
from unroll.models.images import Images
from unroll.types import BadInput, seed
from unroll.writing import Beam

T, B, SIDE = 4, 3, 8
READER = Reader.build(["a red square", "one blue cross above it"], SIDE)
SIZES = READER.sizes
V = SIZES.target
# Name -> settings of the decoder, of the layers.
KINDS = {
  "none": ({"attention": "none"}, {"layers": 2, "cell": "lstm"}),
  "last": ({"attention": "last", "bridge": "zero"}, {}),
  "additive": ({"coverage": True, "coverage_loss": 0.5}, {}),
  "general": ({"attention": "general", "look": "after", "feeding": True}, {}),
}
each = pytest.mark.parametrize("kind", KINDS)


def batch(number=0):
  """Sentences of other lengths about pictures, the last of which is padding."""
  draw = np.random.default_rng(number)
  real = np.arange(T)[:, None] < np.array([4, 2, 0])
  images = draw.integers(256, size=(1, B, SIDE, SIDE, 3)).astype(np.uint8)
  targets = draw.integers(3, V, (T, B)).astype(np.int32) * real
  return Examples(Pictures(images), targets, real.astype(np.float32), real)


@functools.cache
def model(kind, **layers):
  decoders, own = KINDS[kind]
  made = captioner(
    Images(channels=(3, 4), memory=7),
    Decoders(**{"embedding": 5, **decoders}),
    Architecture(**{"cell": "gru", "layers": 1, "hidden": (6,), **own, **layers}),
    SIZES,
    weights=True,
  )
  return made, made.init(jax.random.key(1), example(SIZES))


def carry(made, params):
  return made.apply(params, B, method="initial_carry")


@pytest.mark.slow
@each
def test_the_loss_is_that_of_one_token_after_another(kind):
  made, params = model(kind)
  own = batch()
  sums = made.apply(params, own, carry(made, params), method="losses")
  memory, state = made.apply(params, own.inputs, method="encode")
  step = jax.jit(functools.partial(made.apply, method="next"))
  last, total = np.full(B, SIZES.bos, np.int32), 0.0
  for target, weight in zip(own.targets, own.weight):
    state, found, _ = step(params, last, state, memory)
    logs = jax.nn.log_softmax(found)
    total -= float(np.sum(logs[np.arange(B), target] * weight))
    last = target
  np.testing.assert_allclose(sums["loss"].total, total, rtol=1e-5)
  assert sums["loss"].count == own.weight.sum() == 6


@pytest.mark.slow
@each
def test_padding_and_what_stands_beside_a_picture_change_nothing(kind):
  made, params = model(kind)
  own, other = batch(), batch(1)
  loss = jax.jit(jax.value_and_grad(conditional_loss(made, 0.1), has_aux=True))
  first = loss(params, carry(made, params), own)
  images = own.inputs.images.copy()
  images[:, 2] = other.inputs.images[:, 2]
  dirty = own._replace(
    inputs=Pictures(images), targets=np.where(own.valid, own.targets, 5)
  )
  close(loss(params, carry(made, params), dirty), first, 1e-5)
  order = np.array([2, 0, 1])
  moved = jax.tree.map(lambda leaf: leaf[:, order], own)
  close(loss(params, carry(made, params), moved), first, 1e-5)
  grads = jax.tree_util.tree_leaves_with_path(first[1])
  assert all(np.any(np.abs(leaf) > 0) for _, leaf in grads)


@pytest.mark.slow
def test_what_is_written_is_the_likeliest_token_whatever_stands_beside():
  made, params = model("additive")
  images = np.concatenate([batch(n).inputs.images[0] for n in (0, 1)])
  found = captioning.writer(made, READER, images, 6)(params)
  step = jax.jit(functools.partial(made.apply, method="next"))
  memory, state = made.apply(params, Pictures(images[None]), method="encode")
  last, tokens = np.full(len(images), SIZES.bos), []
  for _ in range(6):
    state, logits, _ = step(params, last, state, memory)
    logits = np.asarray(logits).copy()
    logits[:, SIZES.bos] = -np.inf
    last = logits.argmax(-1)
    tokens.append(last)
  for [one], own in zip(found, np.transpose(tokens)):
    count = list(own).index(SIZES.eos) + 1 if SIZES.eos in own else 6
    np.testing.assert_array_equal(one.tokens, own[:count])
    assert one.text == READER.text(own)
  [[alone]] = captioning.writer(made, READER, images[4:5], 6)(params)
  assert alone.text == found[4][0].text
  assert alone.log_prob == pytest.approx(found[4][0].log_prob, abs=1e-4)
  assert captioning.writer(made, READER, images[:0], 6)(params) == []
  one = captioning.writer(made, READER, images[:1], 6, Beam(3, 2))(params)[0]
  assert len(one) == 2 and one[0].log_prob >= one[1].log_prob


@pytest.mark.slow
def test_where_was_looked_is_a_share_of_every_place():
  made, params = model("additive")
  image, tokens = batch().inputs.images[0, 1], np.array([3, 4, SIZES.eos], np.int32)
  found = captioning.looked(made, params, image, tokens)
  assert found.shape == (3, 2, 2) and np.ptp(found[0]) > 0
  np.testing.assert_allclose(found.sum((1, 2)), 1, rtol=1e-5)


@pytest.mark.slow
def test_dropout_is_drawn_in_training_alone():
  made, params = model("general", dropout=0.5)
  loss = jax.jit(conditional_loss(made))
  start = carry(made, params)
  plain = loss(params, start, batch())[0]
  drawn = [loss(params, seed(start, jax.random.key(k)), batch())[0] for k in (1, 1, 2)]
  assert drawn[0] == drawn[1] != drawn[2] and drawn[0] != plain


BAD = [
  ({}, {"bridge": "copy"}, {}, "give bridge=dense or zero"),
  ({}, {"attention": "last", "window": 2}, {}, "has no query"),
  ({}, {"attention": "dot"}, {}, "make keys as wide"),
  ({"channels": (2, 2, 2, 2)}, {}, {}, "give fewer"),
  ({}, {}, {"skip": True}, "drop it"),
]


@pytest.mark.parametrize(("images", "decoders", "layers", "said"), BAD)
def test_settings_that_contradict_each_other_are_refused(
  images, decoders, layers, said
):
  own = {"cell": "gru", "layers": 1, "hidden": (6,), **layers}
  with pytest.raises(BadInput, match=said):
    made = captioner(
      Images(**{"channels": (2, 2), "memory": 7, **images}),
      Decoders(**decoders),
      Architecture(**own),
      SIZES,
    )
    made.init(jax.random.key(0), example(SIZES))
