"""Laws of a listener: what it learns from, what padding changes, what it writes."""

import functools

import jax
import numpy as np
import optax
import pytest
from tables import close

from unroll import listening
from unroll.architecture import Architecture
from unroll.data.buckets import Buckets
from unroll.data.classes.audio import Mel
from unroll.data.speech.dictation import Sizes, Sounds, dictated, heard
from unroll.data.speech.reader import Reader, Shape, batch
from unroll.models.conditional import conditional_loss
from unroll.models.decoders import Decoders
from unroll.models.listener import example, listener
from unroll.types import BadInput, seed
from unroll.writing import Beam

READER = Reader(("a", "b"), "char", Mel(1000, 32, 10, 2), 2, (0.0,) * 2, (1.0,) * 2)
SIZES = Sizes.of(READER.shape)
DRAW = np.random.default_rng(8)
STEPS = [DRAW.normal(size=(size, 4)).astype(np.float32) for size in (6, 5, 2, 4)]
# Two labels in a sound of two steps, which CTC could not say; and no label at all.
LABELS = [np.array(own, np.int32) for own in ((1, 2), (2, 2, 1), (1, 1), ())]
# Name -> settings of the decoder, of the layers, whether it hears from both sides.
KINDS = {
  "additive": ({}, {}, True),
  "coverage": ({"coverage": True, "coverage_loss": 0.5, "bridge": "zero"}, {}, True),
  "local": ({"attention": "general", "look": "after", "window": 2}, {}, True),
  "last": ({"attention": "last"}, {"cell": "lstm", "layers": 2}, True),
  "copy": ({"bridge": "copy"}, {"layers": 2}, False),
}


def source(size=4):
  def make(rows, steps):
    return batch(STEPS.__getitem__, LABELS, rows, steps, 4)

  lengths = [len(own) for own in STEPS]
  return Buckets(lengths, make, size, buckets=1, shuffle=False)


def untrained(kind="additive", **layers):
  decoders, own, both = KINDS[kind]
  return listener(
    Decoders(**{"embedding": 3, **decoders}),
    Architecture(**{"cell": "gru", "layers": 1, "hidden": (5,), **own, **layers}),
    SIZES,
    bidirectional=both,
    places=7,
    weights=True,
  )


@functools.cache
def model(kind="additive", **layers):
  made = untrained(kind, **layers)
  return made, made.init(jax.random.key(1), example(SIZES))


def carry(made, params, size):
  return made.apply(params, size, method="initial_carry")


def test_a_decoder_learns_the_labels_and_where_they_end():
  assert SIZES == (4, 4, 3, 0) == Sizes.of(Shape(4, 3))
  utterances = source(5)  # the last column is padding
  own, plain = utterances.mapped(dictated)[0], utterances[0]
  rows = utterances.chosen(0).tolist()
  assert rows == [2, 3, 1, 0, -1]
  for column, row in enumerate(rows):
    wanted = [] if row < 0 else [*LABELS[row], SIZES.eos]
    there = own.weight[:, column] > 0
    assert there[: len(wanted)].all() and there.sum() == len(wanted)
    assert own.targets[there, column].tolist() == wanted
  np.testing.assert_array_equal(own.valid, own.weight > 0)
  for given in (own.inputs, utterances.mapped(heard)[0]):
    np.testing.assert_array_equal(given.steps, plain.inputs)
    np.testing.assert_array_equal(given.valid, plain.valid)
  assert utterances.mapped(dictated).lengths.tolist() == [6, 5, 2, 4]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_neighbours_change_nothing_and_every_part_learns(kind):
  made, params = model(kind)
  own, order = dictated(source(4)[0]), np.array([3, 1, 0, 2])
  loss = jax.jit(jax.value_and_grad(conditional_loss(made, 0.1), has_aux=True))
  first = loss(params, carry(made, params, 4), own)
  assert first[0][1][1]["loss"].count == 11
  given = own.inputs
  dirty = given._replace(steps=np.where(given.valid[..., None], given.steps, np.nan))
  targets = np.where(own.valid, own.targets, 2)
  again = loss(
    params, carry(made, params, 4), own._replace(inputs=dirty, targets=targets)
  )
  close(again, first, 1e-6)
  moved = jax.tree.map(lambda leaf: leaf[:, order], own)
  close(loss(params, carry(made, params, 4), moved), first, 1e-5)
  for path, leaf in jax.tree_util.tree_leaves_with_path(first[1]):
    name = jax.tree_util.keystr(path)
    assert np.isfinite(leaf).all()
    assert np.any(leaf != 0) or "first" in name, name  # not every state is read


@pytest.mark.slow
def test_the_loss_is_that_of_one_label_after_another():
  made, params = model("coverage")
  own = dictated(source()[0])
  sums = made.apply(params, own, carry(made, params, 4), method="losses")
  memory, state = made.apply(params, own.inputs, method="encode")
  last, total = np.full(4, SIZES.bos, np.int32), 0.0
  for target, weight in zip(own.targets, own.weight):
    state, found, _ = made.apply(params, last, state, memory, method="next")
    logs = jax.nn.log_softmax(found)
    total -= float(np.sum(logs[np.arange(4), target] * weight))
    last = target
  np.testing.assert_allclose(sums["loss"].total, total, rtol=1e-5)


@pytest.mark.slow
def test_what_is_written_does_not_depend_on_what_stands_beside():
  made, params = model("coverage")
  together = listening.writer(
    made, READER, source(4).mapped(heard), Beam(3, 2, 0.5, 0.1)
  )(params)
  alone = listening.writer(made, READER, source(1).mapped(heard), Beam(3, 2, 0.5, 0.1))(
    params
  )
  for some, others in zip(together, alone):
    assert len(some) == 2 and some[0].score >= some[1].score
    for one, other in zip(some, others):
      assert one.text == other.text == READER.text(listening.labels(made, one.tokens))
      assert one.score == pytest.approx(other.score, abs=1e-4)
  weights = listening.looked(made, params, STEPS[0], np.array([1, 2, 0], np.int32))
  assert weights.shape == (3, 6) and np.ptp(weights[0]) > 0
  np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)


@pytest.mark.slow
def test_a_few_sounds_are_learned_by_heart():
  made, params = model(hidden=(16,))
  own, chain = dictated(source()[0]), optax.adam(0.02)
  loss = jax.value_and_grad(conditional_loss(made), has_aux=True)

  @jax.jit
  def update(params, state):
    grads = loss(params, carry(made, params, 4), own)[1]
    updates, state = chain.update(grads, state)
    return optax.apply_updates(params, updates), state

  state = chain.init(params)
  with jax.numpy_dtype_promotion("standard"):  # of optax
    for _ in range(150):
      params, state = update(params, state)
  found = listening.writer(made, READER, source().mapped(heard))(params)
  assert [some[0].text for some in found] == ["ab", "bba", "aa", ""]


@pytest.mark.slow
def test_dropout_is_drawn_in_training_alone():
  made, params = model("local", dropout=0.5)
  own, start = dictated(source()[0]), carry(made, params, 4)
  loss = jax.jit(conditional_loss(made))
  plain = loss(params, start, own)[0]
  drawn = [loss(params, seed(start, jax.random.key(k)), own)[0] for k in (1, 1, 2)]
  assert drawn[0] == drawn[1] != drawn[2] and drawn[0] != plain


def test_coverage_takes_no_longer_sound_than_it_was_made_for():
  steps = np.zeros((8, 1, 4), np.float32)
  own = example(SIZES)._replace(inputs=Sounds(steps, np.ones((8, 1), bool)))
  with pytest.raises(BadInput, match="has 8 places, and with `coverage`"):
    jax.eval_shape(untrained("coverage").init, jax.random.key(1), own)


def test_settings_that_contradict_each_other_are_refused():
  layers = Architecture(cell="gru", layers=1, hidden=(5,))
  for decoders, options, said in (
    (Decoders(bridge="copy"), {}, "bridge=copy with `bidirectional`"),
    (Decoders(attention="last", window=2), {}, "has no query"),
  ):
    with pytest.raises(BadInput, match=said):
      listener(decoders, layers, SIZES, **options)
