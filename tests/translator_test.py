"""The laws of a translator: its loss, what it feeds itself, what padding changes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close, noise

from unroll import readout
from unroll.architecture import Architecture
from unroll.data.examples import Examples
from unroll.data.forcing import Sampling
from unroll.data.pairs import Given, Sizes
from unroll.models import pointer, scheduled
from unroll.models.attending import translator_of
from unroll.models.conditional import conditional_loss
from unroll.models.decoders import Decoders
from unroll.models.reading import ReadingCarry
from unroll.models.translator import (
  Encoders,
  example,
  translator,
)
from unroll.transformer import Transformer, stack
from unroll.types import BadInput, seed

S, T, B, V = 5, 4, 3, 9
SIZES = Sizes(11, V, 1, 2)
ONE_WAY = {"bidirectional": False}
# Name -> settings of the decoder, of the encoder, of the layers, whether it copies.
KINDS = {
  "none": ({"attention": "none"}, {}, {}, False),
  "none_deep": ({"attention": "none", "bridge": "copy"}, ONE_WAY, {"layers": 2}, False),
  "last": ({"attention": "last"}, {}, {}, False),
  "additive": ({}, {}, {}, False),
  "deep": ({}, {}, {"layers": 2, "cell": "lstm", "residual": True}, False),
  "dot": ({"attention": "dot", "bridge": "copy"}, ONE_WAY, {}, False),
  "general": (
    {"attention": "general", "look": "after", "feeding": True},
    {},
    {},
    False,
  ),
  "local": ({"attention": "scaled_dot", "window": 2, "bridge": "zero"}, {}, {}, False),
  "coverage": ({"coverage": True, "coverage_loss": 0.5}, {}, {}, False),
  "copies": ({}, {}, {}, True),
  "tied": ({"tie_embeddings": True, "embedding": 6}, {}, {}, False),
  "blocks": ({"coverage_loss": 0.5}, {}, {}, False),
  "blocks_tied": (
    {"tie_embeddings": True, "embedding": 8},
    {"source_embedding": 8},
    {},
    False,
  ),
}
QUICK = ("additive", "copies")
some = pytest.mark.parametrize("kind", ["additive", "coverage", "copies", "blocks"])
each = pytest.mark.parametrize(
  "kind",
  [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in KINDS],
)


def batch(kind="additive", forced=None, number=0, uniform=None):
  """Pairs of other lengths, and one of which the source is empty."""
  draw = np.random.default_rng(number)
  valid = np.arange(S)[:, None] < np.array([5, 3, 0])
  real = np.arange(T)[:, None] < np.array([4, 2, 3])
  most = V + 3 if KINDS[kind][3] else V
  tokens = draw.integers(3, SIZES.source, (S, B)).astype(np.int32) * valid
  copies = draw.integers(3, most, (S, B)).astype(np.int32) * valid
  targets = draw.integers(3, V, (T, B)).astype(np.int32) * real
  if KINDS[kind][3]:
    targets[1] = copies[1]  # some of which the vocabulary has not
  sampling = None if forced is None else Sampling(forced, uniform)
  given = Given(tokens, valid, copies, sampling)
  return Examples(given, targets, real.astype(np.float32), real)


@functools.cache
def model(kind, **layers):
  decoders, encoders, own, copies = KINDS[kind]
  cells = {"cell": "gru", "layers": 1, "hidden": (6,)}
  if kind.startswith("blocks"):
    blocks = Transformer("transformer", 2, 8, 2, context=2, mlp=6)
    chosen = stack(blocks, Architecture(**layers))
  else:
    chosen = Architecture(**{**cells, **own, **layers})
  made = translator_of(
    Encoders(**{"source_embedding": 4, **encoders}),
    Decoders(**{"embedding": 5, **decoders}),
    chosen,
    SIZES,
    copies=copies,
    places=S,
  )
  return made, made.init(jax.random.key(1), example())


def carry(made, params, batch=B):
  return made.apply(params, batch, method="initial_carry")


@pytest.mark.slow
@each
def test_the_loss_is_that_of_one_token_after_another(kind):
  made, params = model(kind)
  own = batch(kind)
  sums = made.apply(params, own, carry(made, params), method="losses")
  memory, state = made.apply(params, own.inputs, method="encode")
  step = jax.jit(functools.partial(made.apply, method="next"))
  last, total = np.full(B, SIZES.bos, np.int32), 0.0
  for target, weight in zip(own.targets, own.weight):
    state, found, _ = step(params, last, state, memory, own.inputs.copies)
    logs = jax.nn.log_softmax(found)
    total -= float(np.sum(logs[np.arange(B), target] * weight))
    last = target
  np.testing.assert_allclose(sums["loss"].total, total, rtol=1e-5)
  assert sums["loss"].count == own.weight.sum()


@pytest.mark.slow
@some
def test_what_stands_on_padding_and_beside_a_pair_changes_nothing(kind):
  made, params = model(kind)
  own = batch(kind)
  loss = jax.jit(jax.value_and_grad(conditional_loss(made, 0.1), has_aux=True))
  first = loss(params, carry(made, params), own)
  given, valid = own.inputs, own.inputs.valid
  tokens = np.where(valid, given.tokens, 7).astype(np.int32)
  dirty = own._replace(
    inputs=given._replace(tokens=tokens),
    targets=np.where(own.valid, own.targets, 5).astype(np.int32),
  )
  close(loss(params, carry(made, params), dirty), first, 1e-5)
  order = np.array([2, 0, 1])
  moved = jax.tree.map(lambda leaf: leaf[:, order], own)
  close(loss(params, carry(made, params), moved), first, 1e-5)


@pytest.mark.slow
@some
def test_every_parameter_has_a_gradient(kind):
  made, params = model(kind)
  loss = conditional_loss(made, 0.1)
  grads = jax.jit(jax.grad(loss, has_aux=True))(
    params, carry(made, params), batch(kind)
  )[0]
  assert all(np.any(np.abs(leaf) > 0) for leaf in jax.tree.leaves(grads))


@pytest.mark.slow
def test_tokens_that_are_all_forced_are_teacher_forcing():
  made, params = model("additive")
  loss = jax.jit(conditional_loss(made))
  plain = loss(params, carry(made, params), batch())[0]
  all_of = loss(params, carry(made, params), batch(forced=np.ones((T, B), bool)))[0]
  none_of = loss(params, carry(made, params), batch(forced=np.zeros((T, B), bool)))[0]
  np.testing.assert_allclose(all_of, plain, rtol=1e-6)
  assert abs(none_of - plain) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("fed", ["likeliest", "drawn"])
def test_what_is_not_forced_is_a_token_of_the_decoder(fed):
  """By hand: one token after another, its own choice read where it is not forced."""
  made, params = model("additive")
  draw = np.random.default_rng(5)
  forced = draw.random((T, B)) < 0.4
  uniform = draw.random((T, B), np.float32) if fed == "drawn" else None
  own = batch(forced=forced, uniform=uniform)
  memory, state = made.apply(params, own.inputs, method="encode")
  step = jax.jit(functools.partial(made.apply, method="next"))
  truth = np.concatenate([np.full((1, B), SIZES.bos), own.targets[:-1]])
  choice, total = truth[0], 0.0
  for t in range(T):
    read = np.where(forced[t] | (t == 0), truth[t], choice).astype(np.int32)
    state, found, _ = step(params, read, state, memory)
    logs = jax.nn.log_softmax(found)
    choice = np.argmax(found, axis=-1)
    if uniform is not None and t + 1 < T:
      mass = np.cumsum(np.exp(np.asarray(logs, np.float64)), axis=-1)
      choice = np.argmax(mass > uniform[t + 1][:, None], axis=-1)
    total -= float(np.sum(logs[np.arange(B), own.targets[t]] * own.weight[t]))
  sums = made.apply(params, own, carry(made, params), method="losses")
  np.testing.assert_allclose(sums["loss"].total, total, rtol=1e-5)


def test_tokens_are_drawn_as_often_as_they_are_likely():
  logits = np.array([[0.0, 1.0, -1.0, 2.0], [3.0, -np.inf, 0.0, 0.0]], np.float32)
  uniform = (np.arange(20_000, dtype=np.float32) + 0.5) / 20_000
  draw = jax.jit(jax.vmap(scheduled.drawn, (None, 0)))
  tokens = np.asarray(draw(logits, np.stack([uniform, uniform[::-1]], axis=-1)))
  for column, own in enumerate(jax.nn.softmax(logits)):
    share = np.bincount(tokens[:, column], minlength=4) / len(tokens)
    np.testing.assert_allclose(share, own, atol=2e-4)
    assert (share > 0).tolist() == (np.asarray(own) > 0).tolist()
  ends = np.asarray(draw(logits, np.array([[0, 0], [1, 1]], np.float32)))
  assert ends.tolist() == [[0, 0], [3, 3]]


@pytest.mark.slow
@some
def test_the_gradient_through_scheduled_sampling_is_exact(kind):
  """Against finite differences, the draws fixed: the choices are the same nearby."""
  made, params = model(kind)
  with jax.enable_x64(True):
    params = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
    draw = np.random.default_rng(5)
    forced, uniform = draw.random((T, B)) < 0.4, draw.random((T, B), np.float32)
    own = batch(kind, forced=forced, uniform=uniform)
    own = own._replace(weight=own.weight.astype(np.float64))
    start = carry(made, params)
    loss = jax.jit(lambda params: conditional_loss(made, 0.1)(params, start, own)[0])
    found = jax.grad(loss)(params)
    way = jax.tree.map(lambda leaf: noise(9, *leaf.shape, dtype=np.float64), params)

    def at(distance):
      return loss(jax.tree.map(lambda p, w: p + distance * w, params, way))

    slope = (at(1e-6) - at(-1e-6)) / 2e-6
    products = jax.tree.map(lambda g, w: jnp.sum(g * w), found, way)
    np.testing.assert_allclose(sum(jax.tree.leaves(products)), slope, rtol=1e-5)


@pytest.mark.slow
def test_dropout_is_drawn_in_training_alone():
  made, params = model("additive", dropout=0.5)
  loss = jax.jit(conditional_loss(made))
  start = carry(made, params)
  plain = loss(params, start, batch())[0]
  drawn = [loss(params, seed(start, jax.random.key(k)), batch())[0] for k in (1, 1, 2)]
  assert drawn[0] == drawn[1] != drawn[2] and drawn[0] != plain
  after = loss(params, seed(start, jax.random.key(1)), batch())[1][0]
  assert isinstance(after, ReadingCarry)


def test_smoothing_is_a_share_of_every_token():
  ys, kernel, bias = noise(1, T, B, 6), noise(2, 6, V), noise(3, V)
  targets, weight = batch().targets, noise(4, T, B) ** 2
  weight[0, 1] = 0
  logs = jax.nn.log_softmax(ys @ kernel + bias[None, None])
  spread = 0.8 * jax.nn.one_hot(targets, V) + 0.2 / V
  expected = -np.sum(np.sum(spread * logs, axis=-1) * weight)
  nats = readout.cross_entropy(ys, kernel, bias, targets, weight).total
  more = readout.smoothing(ys, kernel, bias, targets, weight).total
  np.testing.assert_allclose(nats + 0.2 * more, expected, rtol=1e-5)


def test_a_pointer_shares_out_all_probability():
  logits, weights = noise(1, T, B, V), jax.nn.softmax(noise(2, T, B, S))
  weights = weights * np.array([1, 0.4, 0], np.float32)[None, :, None]
  shares = tuple(jax.nn.log_sigmoid(s * noise(3, T, B, 1)) for s in (1, -1))
  copies = np.random.default_rng(1).integers(0, V + 3, (S, B)).astype(np.int32)
  found = pointer.distribution(logits, shares, weights, copies)
  np.testing.assert_allclose(np.exp(found).sum(-1), 1, rtol=1e-5)
  targets = np.stack([copies[1], copies[2], copies[0], np.full(B, 4)]).astype(np.int32)
  hit = np.take_along_axis(np.asarray(found), targets[..., None], -1)[..., 0]
  own = pointer.nats(logits, shares, weights, copies, targets)
  np.testing.assert_allclose(own, -hit, rtol=1e-5)


def test_vocabularies_of_one_size_are_not_one():
  """Tokens of equal numbers have nothing in common then."""
  layers = Architecture(cell="gru", layers=1, hidden=(6,))
  for sizes, right in ((Sizes(V, V, 1, 2), False), (Sizes(V, V, 1, 2, True), True)):
    chosen = Encoders(share_embeddings=True), Decoders(embedding=5)
    if right:
      translator(*chosen, layers, sizes)
    else:
      with pytest.raises(BadInput, match="give `joint` too"):
        translator(*chosen, layers, sizes)


BAD = [
  ({"bridge": "copy"}, {}, {}, "drop `bidirectional`"),
  ({"attention": "last", "window": 2}, {}, {}, "has no query"),
  ({"attention": "none", "feeding": True}, {}, {}, "has no query"),
  ({"attention": "dot"}, {}, {}, "make keys as wide"),
  ({"tie_embeddings": True, "embedding": 5}, {}, {}, "make them equal"),
  ({}, {"share_embeddings": True}, {}, "give `joint` too"),
  ({}, {}, {"skip": True}, "drop it"),
]


@pytest.mark.parametrize(("decoders", "encoders", "layers", "said"), BAD)
def test_settings_that_contradict_each_other_are_refused(
  decoders, encoders, layers, said
):
  own = {"cell": "gru", "layers": 1, "hidden": (6,), **layers}
  with pytest.raises(BadInput, match=said):
    made = translator(
      Encoders(**encoders), Decoders(**decoders), Architecture(**own), SIZES
    )
    made.init(jax.random.key(0), example())
