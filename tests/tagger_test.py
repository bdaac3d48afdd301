"""Laws of the tagger: what it reads, what it does not, how its labels are judged."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close, quick, shaken

from unroll import tagging
from unroll.architecture import Architecture
from unroll.data.conll import Sentence
from unroll.data.lexicon import Lexicon, Words, batches
from unroll.models.tagger import Taggers, example, tagger, tagger_loss
from unroll.types import BadInput, seed

ROWS = [
  ("Ann Lee saw York", "B-per I-per O B-loc"),
  ("York", "B-loc"),
  ("she saw new New York", "O O O B-loc I-loc"),
  ("Ann and Lee", "B-per O B-per"),
]
SENTENCES = [Sentence(tuple(w.split()), tuple(t.split()), ()) for w, t in ROWS]
LEXICON = Lexicon.build(SENTENCES, scheme="IOB2", width=5)
slow = pytest.mark.slow
SHAPES = {
  "crf": {},
  "softmax": {"output": "softmax"},
  "words": {"char_hidden": 0},
  "characters": {"word_embedding": 0},
}
# What compiles long is tried with one shape, and with all of them where time allows.
every = pytest.mark.parametrize(
  "name",
  [name if name == "crf" else pytest.param(name, marks=slow) for name in SHAPES],
)


@functools.cache
def model_of(name="crf", dtype="float32", **chosen):
  sizes = {"word_embedding": 6, "char_embedding": 3, "char_hidden": 4}
  own = Taggers(**{**sizes, **SHAPES[name], **chosen})
  architecture = Architecture(cell="gru", layers=1, hidden=(5,))
  model = tagger(own, architecture, LEXICON.sizes, dtype=dtype)
  params = quick(model.init)(jax.random.key(1), example(LEXICON.sizes))
  return model, shaken(params, 2, 0.3)


def batch_of(rows=(0, 1, 2, 3), steps=5, sentences=SENTENCES):
  return batches(LEXICON, sentences)(np.array(list(rows)), steps)


def loss_of(model, params, batch):
  carry = model.apply(params, 1, method="initial_carry")
  return tagger_loss(model)(params, carry, batch)[1][1]["loss"]


@every
def test_padding_counts_for_nothing(name):
  """Neither more of it, nor what stands in it, nor a column of it."""
  model, params = model_of(name)
  plain, wide = batch_of(), batch_of([3, -1, 1, 0, 2], 9)
  noise = np.random.default_rng(3)
  words = np.where(wide.valid, wide.inputs.words, noise.integers(5, size=(9, 5)))
  letters = noise.integers(9, size=wide.inputs.characters.shape)
  letters = np.where(wide.valid[..., None], wide.inputs.characters, letters)
  labels = np.where(wide.valid, wide.targets, 3)
  inputs = Words(words.astype(np.int32), letters.astype(np.int32))
  wide = wide._replace(inputs=inputs, targets=labels.astype(np.int32))

  @quick
  def found(params, batch):
    def total(params):
      loss = loss_of(model, params, batch)
      return loss.total, loss.count

    return jax.value_and_grad(total, has_aux=True)(params)

  (loss, count), grads = found(params, wide)
  (wanted, _), d_wanted = found(params, plain)
  close(loss, wanted, 1e-5)
  close(grads, d_wanted, 1e-4)
  assert count == 13


@slow
@pytest.mark.parametrize("name", ["crf", "softmax"])
def test_a_sentence_alone_is_the_sentence_in_a_batch(name):
  model, params = model_of(name)
  some = [*SENTENCES[:2], Sentence((), (), ()), *SENTENCES[2:]]
  labels = tagging.labeller(model, LEXICON, some)(params)
  assert [len(own) for own in labels] == [4, 1, 0, 5, 3]
  assert tagging.labeller(model, LEXICON, some[1:2])(params) == labels[1:2]
  assert tagging.labeller(model, LEXICON, some[3:4])(params) == labels[3:4]
  assert tagging.labeller(model, LEXICON, [])(params) == []


@every
def test_what_is_read_is_what_the_settings_say(name):
  """Case reaches a model by characters, other words of one spelling by no way."""
  model, params = model_of(name)
  batch = batch_of([2])
  scores = quick(model.apply)(params, batch.inputs)
  upper = batches(
    LEXICON, [SENTENCES[2]._replace(words=("SHE", "SAW", "NEW", "NEW", "YORK"))]
  )
  changed = quick(model.apply)(params, upper(np.array([0]), 5).inputs)
  same = np.allclose(scores, changed, atol=1e-5)
  assert same == (name == "words")
  hidden = batch.inputs._replace(words=np.zeros_like(batch.inputs.words))
  same = np.allclose(scores, quick(model.apply)(params, hidden), atol=1e-5)
  assert same == (name == "characters")


@slow
def test_the_last_characters_of_a_word_and_its_first_are_read():
  model, params = model_of()
  words = np.zeros((1, 1), np.int32)

  def scores(letters):
    letters = np.array(letters, np.int32)[None, None]
    return quick(model.apply)(params, Words(words, letters))

  there = scores([3, 4, 5, 0, 0])
  assert not np.allclose(there, scores([6, 4, 5, 0, 0]), atol=1e-4)
  assert not np.allclose(there, scores([3, 4, 6, 0, 0]), atol=1e-4)
  close(there, scores([3, 4, 5]), 1e-6)
  assert np.isfinite(scores([0, 0, 0])).all()


def test_training_hides_words_that_it_has_once_and_no_others():
  model, params = model_of(word_dropout=0.9, char_hidden=0)
  batch = batch_of()
  once = batch.inputs.words >= LEXICON.sizes.singles
  assert once.any() and (~once & batch.valid).any()
  carry = model.apply(params, 4, method="initial_carry")
  table = params["params"]["embed"]["embedding"]

  def total(table, key):
    own = {"params": {**params["params"], "embed": {"embedding": table}}}
    return jnp.sum(model.apply(own, batch.inputs, seed(carry, key), batch.valid))

  reached = np.zeros((40, LEXICON.sizes.words), bool)
  grad = quick(jax.grad(total))
  for number in range(40):
    reached[number] = np.any(grad(table, jax.random.key(number)) != 0, axis=1)
  singles = LEXICON.sizes.singles
  assert reached[:, 1:singles].all()
  assert 0 < reached[:, singles:].mean() < 0.3
  assert (grad(table, None) != 0).any(axis=1)[1:].all()  # hides nothing without a key


def test_a_new_label_takes_its_sentence_out_of_the_loss_of_paths():
  new = SENTENCES[0]._replace(labels=("B-new", "I-per", "O", "B-loc"))
  with_new = batch_of(range(4), 5, [new, *SENTENCES[1:]])
  without = batch_of([-1, 1, 2, 3])
  model, params = model_of("crf")
  found = quick(lambda *given: loss_of(model, *given))
  close(found(params, with_new), found(params, without), 1e-5)
  other, params = model_of("softmax")
  assert quick(lambda *given: loss_of(other, *given))(params, with_new).count == 12


@slow
def test_paths_keep_to_the_scheme():
  model, params = model_of()
  labels = tagging.labeller(model, LEXICON, SENTENCES)
  for number in range(5):
    for own in labels(shaken(params, number, 2.0)):
      before = "O"
      for label in own:
        assert label[0] != "I" or (before[1:] == label[1:] and before != "O")
        before = label


@slow
def test_half_precision_is_near():
  inputs = batch_of().inputs
  (full, params), (half, _) = model_of(), model_of(dtype="bfloat16")
  found, wanted = (quick(model.apply)(params, inputs) for model in (half, full))
  assert found.dtype == jnp.float32
  assert 0 < np.abs(found - wanted).max() < 0.1


def test_labels_are_judged_over_all_words():
  found = [["B-per", "I-per", "O", "B-per"], ["B-loc"], ["O"] * 5, ["B-per", "O", "O"]]
  truth = [*SENTENCES[:3], SENTENCES[3]._replace(labels=("B-new", "O", "B-per"))]
  truth[2] = truth[2]._replace(words=("she", "saw", "new", "Old", "York"))
  judgement = tagging.judged(LEXICON, truth, found)
  assert judgement[:4] == (13, 8, 1, 0)
  assert judgement.spans[""] == (2, 4, 6)
  numbers = judgement.numbers()
  assert numbers["f1"] == numbers["conlleval_f1"] == pytest.approx(4 / 10)
  assert numbers["accuracy"] == pytest.approx(8 / 13)
  assert numbers["unknown_accuracy"] == 0


def test_the_f1_of_plain_labels_is_their_accuracy():
  rows = [Sentence(("a", "b", "c"), ("X", "Y", "X"), ()), Sentence(("d",), ("Z",), ())]
  plain = Lexicon.build(rows, scheme="plain")
  numbers = tagging.judged(plain, rows, [["X", "X", "X"], ["Z"]]).numbers()
  assert numbers["f1"] == numbers["accuracy"] == 0.75
  names = [measure.name for measure in tagging.measures("plain")]
  assert names == ["f1", "accuracy", "unknown_accuracy", "loss"]
  # The log has "f1_SOURCE" for the first measure by other sources.
  names += [measure.name for measure in tagging.measures("IOB2")]
  assert not any(a.startswith(f"{b}_") for a in names for b in names)
  assert "strict, IOB2" in tagging.measures("IOB2")[0].label


def test_settings_that_leave_nothing_to_read_are_refused():
  with pytest.raises(BadInput, match="word_embedding=0 and char_hidden=0"):
    model_of(word_embedding=0, char_hidden=0)
