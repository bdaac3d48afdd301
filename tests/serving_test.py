"""What models answer: each of many as if it were alone, and as `apply` says it."""

import functools
import json

import jax
import numpy as np
import pytest
from tables import close, quick, quickly

from unroll import beam, generate, layers, writing
from unroll.data import captions, pairs, tokens
from unroll.data.classes.reader import EXAMPLES, Reader
from unroll.data.conll import Sentence
from unroll.data.lexicon import Lexicon
from unroll.data.music.rolls import KEYS
from unroll.data.pairs import Pair
from unroll.data.speech import reader as speech
from unroll.data.speech.reader import Mel
from unroll.data.vocabulary import VOCABULARY
from unroll.loading import Loaded
from unroll.models import saved
from unroll.serving import classifier as of_classes
from unroll.serving import kinds
from unroll.serving import language as of_language
from unroll.types import BadInput

TEXT = "the fox saw a dog . a dog saw the fox .\n"
LAYERS = {"cell": "gru", "layers": 1, "hidden": (6,), "dtype": "float32"}
LANGUAGE = {**LAYERS, "embedding": 5, "tie_embeddings": False}
BOTH = {"bidirectional": True, "direction": "forward", "merge": "concat"}
PAIRS = [Pair("the fox saw", "le renard vit"), Pair("a dog", "un chien")]
WORDS = [("the", "fox", "saw"), ("dog",), ("a", "dog", "saw", "a", "fox"), ()]
DRAW = np.random.default_rng(5)
SHAPE = {"targets": 2, "inputs": 1, "known": 0, "window": 4, "horizon": 3}
SCALER = {"mean": [5.0, -3.0, 2.0], "scale": [2.0, 0.5, 3.0]}
BOW = captions.Reader.build(["a red disc", "a blue bar on it"], 8)


def vocabulary(tokenizer="char"):
  return tokens.build(TEXT, tokenizer, "none")


def files(kind):
  match kind:
    case "language" | "cloze":
      return {VOCABULARY: vocabulary().to_json()}
    case "classify":
      known = vocabulary("word")
      return Reader(("bad", "good", "none"), known, (), (), None, 0).files()
    case "series":
      return Reader(("up", "down"), None, (1.0, 2.0), (2.0, 3.0), None, 3).files()
    case "tag":
      labels = [("D", "N", "V"), ("N",), ("D", "N", "V", "D", "N")]
      some = [Sentence(*both, ()) for both in zip(WORDS, labels)]
      return {saved.LEXICON: Lexicon.build(some, scheme="plain").to_json()}
    case "music":
      return {saved.SCORES: json.dumps({"grid": 4})}
    case "forecast":
      return {saved.SERIES: json.dumps({"shape": SHAPE, "scaler": SCALER})}
    case "frames":
      shape = {"height": 4, "width": 4, "channels": 1}
      return {saved.FRAMES: json.dumps({"shape": shape})}
    case "translate":
      return pairs.Reader.build(PAIRS, "whitespace").files()
    case "caption":
      return BOW.files()
    case "transcribe" | "listen":
      mel = Mel(8000, 256, 80, 6)
      zeros, ones = (0.0,) * 6, (1.0,) * 6
      labels = ("one", "two")
      return {
        saved.SPEECH: speech.Reader(labels, "word", mel, 2, zeros, ones).to_json()
      }
  return {}


FLAGS = {
  "language": LANGUAGE,
  "cloze": {**LANGUAGE, **BOTH},
  "memory": {**LAYERS, "task": "adding"},
  "forecast": LAYERS,
  "frames": {"channels": (3,), "layers": 1},
  "caption": {**LAYERS, "channels": (4,), "memory": 4, "embedding": 5},
  "listen": {**LAYERS, "alignment": "attention", "embedding": 5},
}


@functools.cache
def model(kind):
  """Its functions with parameters, and what it was built as."""
  own = files(kind)
  name = {"series": "classify", "listen": "transcribe"}.get(kind, kind)
  built = saved.built(name, FLAGS.get(kind, LAYERS), own)
  return kinds.served(name, built), drawn(built), built


def drawn(built):
  """Parameters of random numbers, so that biases of 0 hide nothing."""
  params = quick(built.module.init)(jax.random.key(3), built.example)
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(4), len(leaves))
  leaves = [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys)]
  return jax.tree.unflatten(tree, leaves)


def opened(kind, flags, built, params):
  """A model as `load` opens it, of a run that nobody trained."""
  return Loaded(
    params=params,
    apply=built.apply,
    step=None,
    initial_carry=functools.partial(layers.initial_carry, built.module),
    **kinds.served(kind, built)._asdict(),
    module=built.module,
    vocabulary=built.vocabulary,
    files=built.files,
    config={"experiment": kind, "model": kind, "flags": flags},
    at=1,
  )


def alone(function, params, things, *others):
  """What each thing has alone, one after another."""
  each = zip(things, *others)
  return [function(params, [own], *([x] for x in rest))[0] for own, *rest in each]


def logs(built, params, inputs, *rest):
  carry = built.module.apply(params, inputs.shape[1], method="initial_carry")
  return jax.nn.log_softmax(built.apply(params, carry, inputs, *rest)[1])


# Every kind.


def test_every_kind_of_model_answers():
  assert set(kinds.SERVED) == set(saved.MODELS)


@pytest.mark.slow
def test_what_a_model_does_not_answer_says_what_it_does():
  found, params, _ = model("translate")
  with pytest.raises(BadInput, match="translate has no predict: use generate, score"):
    found.predict(params, ["a dog"])


SOUNDS = [DRAW.normal(size=n) for n in (3000, 700, 2000)]
ROLLS = [(DRAW.random((n, KEYS)) < 0.1).astype(np.uint8) for n in (5, 1, 9)]
PICTURES = DRAW.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
SERIES = [DRAW.normal(size=(n, 2)).astype(np.float32) for n in (2, 5, 1)]
# Kind -> what it is asked about, with labels.
ASKED = {
  "language": (["the fox", "a", "dog saw "],),
  "classify": (["the fox", "a", "dog saw the cat"], ["good", "none", "bad"]),
  "series": (SERIES, ["up", "down", "up"]),
  "music": (ROLLS,),
  "translate": (["the fox saw", "dog", "a a a a a dog"], ["un chien", "", "le un"]),
  "caption": (PICTURES, ["a red bar", "it", "a blue disc on it"]),
  "transcribe": (SOUNDS, ["one two", "", "two one"]),
  "listen": (SOUNDS, ["one two", "", "two one"]),
}


@pytest.mark.parametrize("kind", quickly(ASKED, "language", "classify"))
def test_each_is_scored_as_if_it_were_alone(kind):
  found, params, _ = model(kind)
  scores = found.score(params, *ASKED[kind])
  assert np.isfinite(scores.log_prob).all() and (scores.log_prob < 0).all()
  rows = zip(*ASKED[kind])
  own = [found.score(params, *([one] for one in row)) for row in rows]
  close(scores.log_prob, np.concatenate([one.log_prob for one in own]), 1e-5)
  np.testing.assert_array_equal(scores.count, np.concatenate([o.count for o in own]))


@pytest.mark.parametrize("kind", ["language", "classify", "series", "music"])
def test_each_is_predicted_as_if_it_were_alone(kind):
  found, params, _ = model(kind)
  things = ASKED[kind][0]
  chances = found.predict(params, things)
  close(chances, np.stack(alone(found.predict, params, things)), 1e-5)
  if kind != "music":
    close(chances.sum(1), np.ones(3, np.float32), 1e-5)


@pytest.mark.parametrize("kind", ["language", "classify", "series", "music", "tag"])
def test_nothing_has_no_answer(kind):
  found, params, _ = model(kind)
  assert len(found.predict(params, [])) == 0


@pytest.mark.slow
def test_nothing_is_moved_that_is_not_told_to():
  for kind, asked in {**ASKED, "tag": (WORDS,)}.items():
    found, params, _ = model(kind)
    with jax.transfer_guard_host_to_device("disallow"):
      if kind in ("translate", "caption"):
        found.generate(params, asked[0], beams=2)
      else:
        found.predict(params, asked[0])
      if kind != "tag":
        found.score(params, *asked)
      if kind in ("language", "music"):
        found.generate(params, length=3)


# One by one.


def test_a_language_model_expects_what_it_scores():
  found, params, built = model("language")
  text, letter = "the dog", "s"
  number = built.vocabulary.tokens.index(letter)
  chance = found.predict(params, ["\n" + text])[0, number]
  both = found.score(params, [text, text + letter]).log_prob
  close(np.exp(both[1] - both[0]), chance, 1e-5)
  given = built.vocabulary.encode("\n" + text + letter)[:, None]
  each = np.take_along_axis(logs(built, params, given[:-1])[:, 0], given[1:], 1)
  close(both[1], each.sum(), 1e-5)
  after = found.score(params, [letter], context="\n" + text)
  close(after.log_prob[0], both[1] - both[0], 1e-3)


def test_a_language_model_goes_on_as_it_samples():
  found, params, built = model("language")
  options = {"length": 12, "samples": 3, "temperature": 0.7, "top_k": 4}
  texts = found.generate(params, "the ", seed=7, **options)
  assert len(set(texts)) > 1 and all(text.startswith("the ") for text in texts)
  assert texts == found.generate(params, "the ", seed=7, **options)
  assert texts != found.generate(params, "the ", seed=8, **options)
  greedy = found.generate(params, "the ", length=5, temperature=0.0)[0]
  for place in range(4, len(greedy)):
    chances = found.predict(params, [greedy[:place]])[0]
    chances[built.vocabulary.unknown] = 0
    assert built.vocabulary.tokens[chances.argmax()] == greedy[place]
  short = found.generate(params, "the ", length=5, temperature=0.0, stop=greedy[5])
  assert short[0] == greedy[:6]
  with pytest.raises(BadInput, match="temperature is -1"):
    found.generate(params, temperature=-1)


def test_gaps_are_filled_from_left_to_right():
  found, params, built = model("cloze")
  text, chances = found.predict(params, "th_ f_x")
  assert chances.shape == (2, len(built.vocabulary)) and len(text) == 7
  assert text[:2] + text[3:5] + text[6:] == "th fx" and "_" not in text
  known = built.vocabulary.encode(text[:5] + "~" + text[6:])[:, None]
  expected = np.exp(logs(built, params, known)[5, 0])
  expected[built.vocabulary.unknown] = 0
  close(chances[1], expected, 1e-5)
  with pytest.raises(BadInput, match="has no gap"):
    found.predict(params, "the fox")


def test_a_classifier_scores_what_it_predicts():
  found, params, built = model("series")
  chances = found.predict(params, SERIES)
  scores = found.score(params, SERIES, ["up", "down", "up"])
  close(np.exp(scores.log_prob), chances[[0, 1, 2], [0, 1, 0]], 1e-5)
  scaled = ((SERIES[1] - [1, 2]) / [2, 3]).astype(np.float32)[:3, None]
  close(chances[1], np.exp(logs(built, params, scaled))[0], 1e-5)
  with pytest.raises(BadInput, match="training has not left: give each"):
    found.score(params, SERIES, ["up", "left", "up"])
  assert json.loads(built.files[EXAMPLES])["classes"] == ["up", "down"]


def test_a_tagger_labels_each_sentence_as_if_it_were_alone():
  found, params, _ = model("tag")
  labels = found.predict(params, WORDS)
  assert [*map(len, labels)] == [*map(len, WORDS)]
  assert labels == alone(found.predict, params, WORDS)
  assert len({label for own in labels for label in own}) > 1


def test_a_piece_goes_on_as_it_is_scored():
  found, params, _ = model("music")
  chances = found.predict(params, [ROLLS[0][:4]])[0]
  both = found.score(params, [ROLLS[0][:4], ROLLS[0]]).log_prob
  nats = np.log(np.where(ROLLS[0][4], chances, 1 - chances)).sum()
  close(both[1] - both[0], nats, 1e-4)
  drawn = found.generate(params, ROLLS[1], length=6, samples=2, seed=1)
  assert drawn.shape == (2, 7, KEYS) and drawn.dtype == np.uint8
  np.testing.assert_array_equal(drawn[:, :1], np.stack([ROLLS[1]] * 2))
  sure = found.generate(params, ROLLS[0], length=1, temperature=0.0)[0, -1]
  np.testing.assert_array_equal(sure, found.predict(params, [ROLLS[0]])[0] > 0.5)


def test_a_forecast_is_in_the_units_of_its_columns():
  found, params, built = model("forecast")
  past = DRAW.normal(size=(4, 5, 3)) * 7
  mean, scale = np.array(SCALER["mean"]), np.array(SCALER["scale"])
  window = built.example._replace(past=((past - mean) / scale).astype(np.float32))
  shape = (3, 5, 2)
  window = window._replace(
    known=np.zeros((7, 5, 0), np.float32),
    **{name: np.zeros(shape, np.float32) for name in ("future", "weight", "forced")},
  )
  carry = built.module.apply(params, 5, method="initial_carry")
  scaled = np.asarray(built.apply(params, carry, window)[1])
  expected = scaled * scale[:2, None] + mean[:2, None]
  close(found.predict(params, past), expected, 1e-5)
  with pytest.raises(BadInput, match=r"give \[4, B, 3\]"):
    found.predict(params, past[1:])


def test_frames_to_come_are_read_one_after_another():
  found, params, built = model("frames")
  frames = DRAW.random((3, 2, 4, 4, 1)).astype(np.float32)
  ahead = found.predict(params, frames, 2)
  carry = built.module.apply(params, 2, method="initial_carry")
  first = jax.nn.sigmoid(built.apply(params, carry, frames)[1][-1])
  close(ahead[0], first, 1e-5)
  more = np.concatenate([frames, ahead[:1]])
  close(ahead[1], found.predict(params, more, 1)[0], 1e-5)
  with pytest.raises(BadInput, match=r"give \[T, B, 4, 4, 1\]"):
    found.predict(params, frames[0], 1)


def test_a_task_of_long_memory_is_answered_from_a_fresh_carry():
  found, params, built = model("memory")
  inputs = DRAW.normal(size=(4, 2, 2)).astype(np.float32)
  carry = built.module.apply(params, 2, method="initial_carry")
  close(found.predict(params, inputs), built.apply(params, carry, inputs)[1], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
  "kind", quickly(["translate", "caption", "listen"], "translate")
)
def test_hypotheses_have_the_score_of_their_texts(kind):
  found, params, _ = model(kind)
  things = ASKED[kind][0]
  written = found.generate(params, things, beams=3, best=2)
  assert [len(own) for own in written] == [2] * len(things)
  for rank in range(2):
    some = [own[rank] for own in written]
    again = found.score(params, things, [one.text for one in some])
    for one, log_prob, count in zip(some, again.log_prob, again.count):
      if len(one.tokens) == count:  # one that ended
        close(np.float32(one.log_prob), log_prob, 1e-4)
  first = [own[0] for own in found.generate(params, things)]
  own = [one[0] for one in alone(found.generate, params, things)]
  assert [one.text for one in first] == [one.text for one in own]


def test_what_is_heard_is_the_best_path():
  found, params, _ = model("transcribe")
  heard = found.predict(params, SOUNDS)
  assert heard == alone(found.predict, params, SOUNDS)
  beam = found.predict(params, SOUNDS, decoder="beam", beams=8)
  scores = [found.score(params, SOUNDS, texts).log_prob for texts in (heard, beam)]
  assert (scores[1] >= scores[0] - 1e-4).all()
  with pytest.raises(BadInput, match="text 2: no training utterance has the label"):
    found.score(params, SOUNDS[:2], ["one", "ten"])


# Few programs.


def test_other_texts_of_like_length_run_the_same_programs():
  language, classify, translate = map(model, ("language", "classify", "translate"))

  def ask(texts, seed):
    language[0].generate(language[1], texts[0], length=3, seed=seed)
    language[0].predict(language[1], texts)
    classify[0].predict(classify[1], texts)
    translate[0].generate(translate[1], texts, beams=2, length_penalty=seed)

  programs = (
    generate._sample,
    of_language._after(language[2].module),
    of_classes._chances(classify[2].module),
    writing._programs(translate[2].module, False)[0],
    beam._search,
  )
  ask(["the fox saw", "dog saw dog"], 1)
  before = [program._cache_size() for program in programs]
  assert min(before) > 0
  ask(["a fox a dog", "the the dog"], 2)
  assert [program._cache_size() for program in programs] == before
