"""Models by the kind that a run's configuration names, built from its settings."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from unroll.architecture import Architecture
from unroll.data import captions, pairs, tokens
from unroll.data.classes.reader import Reader
from unroll.data.examples import Examples
from unroll.data.lexicon import Lexicon
from unroll.data.music.rolls import KEYS
from unroll.data.speech import dictation
from unroll.data.speech import reader as speech
from unroll.data.synthetic.named import TASKS
from unroll.data.vocabulary import VOCABULARY, Vocabulary
from unroll.models import captioner as captioners
from unroll.models import classifier as classifiers
from unroll.models import frames as frame_models
from unroll.models import listener as listeners
from unroll.models import tagger as taggers
from unroll.models import transcriber as transcribers
from unroll.models import translator as translators
from unroll.models.attending import translator_of
from unroll.models.built import FRAMES, LEXICON, SCORES, SERIES, SPEECH, Built
from unroll.models.convolutions import Convolutions
from unroll.models.decoders import Decoders
from unroll.models.forecaster import Forecasts, Shape, example, forecaster
from unroll.models.images import Images
from unroll.models.language import language_model
from unroll.models.masked import cloze_of
from unroll.models.music import roll_model
from unroll.models.sequence import sequence_model
from unroll.settings import checked, described
from unroll.transformer import Stack, Transformer, stack
from unroll.types import BadInput

PLACES = 1000  # tokens or steps that a model with coverage can read at once
# What runs of older versions, whose configuration names no kind, trained.
KINDS = {"charlm": "language", "cloze": "cloze"}
# What differs between runs of a sweep, most often, and no model reads.
TRAINING = ("seed", "learning_rate", "clip_norm")

Group = TypeVar("Group")
_TOKEN = np.zeros((1, 1), np.int32)


def kind(config: Mapping[str, Any]) -> str:
  """The kind of model that a configuration names; empty: one of no kind."""
  return config.get("model") or KINDS.get(config["experiment"], "")


def built(kind: str, flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  """The model of a kind.

  Args:
    kind: a key of `MODELS`.
    flags: the settings of the run, as its configuration has them.
    files: the texts that accompany it, by name.

  Raises:
    BadInput: there is no such kind, or a setting or a text is missing.
  """
  if kind not in MODELS:
    raise BadInput(f"model={kind} is not one of {', '.join(sorted(MODELS))}")
  read = {name: value for name, value in flags.items() if name not in TRAINING}
  return _built(kind, json.dumps([read, dict(files)]))


@functools.lru_cache(maxsize=8)  # so that the same model is the same program
def _built(kind: str, given: str) -> Built:
  return MODELS[kind](*json.loads(given))


def architecture(flags: Mapping[str, Any]) -> Architecture:
  """The architecture among the settings of a run; what is younger is by default."""
  return group(Architecture, flags)


def layers(flags: Mapping[str, Any]) -> Architecture | Stack:
  """The layers of a model that may be a Transformer."""
  return stack(group(Transformer, flags), architecture(flags))


def group(kind: type[Group], flags: Mapping[str, Any]) -> Group:
  """A group of settings among those of a run; what is younger is by default."""
  known = described(kind)
  return kind(**{n: checked(s, flags[n]) for n, s in known.items() if n in flags})


def _language(flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  vocabulary = _vocabulary(files)
  module = language_model(
    layers(flags),
    len(vocabulary),
    embedding=flags["embedding"],
    tie=flags["tie_embeddings"],
    dtype=flags["dtype"],
  )

  def apply(params, carry, tokens, valid=None):
    return module.apply(params, tokens, carry, valid=valid)

  return Built(module, apply, True, _TOKEN, vocabulary, files)


def _cloze(flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  vocabulary = _vocabulary(files)
  side = None if flags["bidirectional"] else flags["direction"]
  module = cloze_of(
    layers(flags),
    len(vocabulary),
    embedding=flags["embedding"],
    side=side,
    merge=flags["merge"],
    dtype=flags["dtype"],
  )

  def apply(params, carry, tokens, valid=None):
    if valid is not None:
      raise ValueError("valid: a cloze model reads whole sequences only")
    return carry, module.apply(params, tokens, carry)

  return Built(module, apply, False, _TOKEN, vocabulary, files)


def _forecast(flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  if SERIES not in files:
    raise BadInput(f"{SERIES} is missing: restore it")
  shape = Shape(**json.loads(files[SERIES])["shape"])
  module = forecaster(group(Forecasts, flags), architecture(flags), shape)

  def apply(params, carry, window, valid=None):
    if valid is not None:
      raise ValueError("valid: a forecaster reads whole windows only")
    return carry, module.apply(params, window, carry)

  return Built(module, apply, False, example(shape), None, files)


def _music(flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  if SCORES not in files:
    raise BadInput(f"{SCORES} is missing: restore it")
  module = roll_model(architecture(flags), dtype=flags["dtype"])

  def apply(params, carry, keys, valid=None):
    return module.apply(params, keys, carry, valid=valid)

  return Built(module, apply, True, np.zeros((1, 1, KEYS), np.float32), None, files)


def _classify(flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  reader, chosen = Reader.from_files(files), group(classifiers.Classifiers, flags)
  shape = reader.shape
  module = classifiers.classifier(chosen, layers(flags), shape, dtype=flags["dtype"])

  def apply(params, carry, inputs, valid=None):
    return carry, module.apply(params, inputs, carry, valid)

  example = classifiers.example(shape)
  return Built(module, apply, False, example, reader.vocabulary, files)


def _memory(flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  task = TASKS[flags["task"]]
  module = sequence_model(architecture(flags), task)

  def apply(params, carry, inputs, valid=None):
    return module.apply(params, inputs, carry, valid=valid)

  return Built(module, apply, True, task.example, None, files)


def _tag(flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  if LEXICON not in files:
    raise BadInput(f"{LEXICON} is missing: restore it")
  sizes = Lexicon.from_json(files[LEXICON], LEXICON).sizes
  chosen = group(taggers.Taggers, flags)
  module = taggers.tagger(chosen, architecture(flags), sizes, dtype=flags["dtype"])

  def apply(params, carry, words, valid=None):
    return carry, module.apply(params, words, carry, valid)

  return Built(module, apply, False, taggers.example(sizes), None, files)


def _translate(flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  reader = pairs.Reader.from_files(files)
  module = translator_of(
    group(translators.Encoders, flags),
    group(Decoders, flags),
    layers(flags),
    reader.sizes,
    copies=reader.copy,
    places=PLACES,
    weights=True,
    dtype=flags["dtype"],
  )
  return _conditional(module, translators.example(), files)


def _caption(flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  sizes = captions.Reader.from_files(files).sizes
  module = captioners.captioner(
    group(Images, flags),
    group(Decoders, flags),
    architecture(flags),
    sizes,
    weights=True,
    dtype=flags["dtype"],
  )
  return _conditional(module, captioners.example(sizes), files)


def _conditional(module: Any, example: Examples, files: Mapping[str, str]) -> Built:
  """A model that ends in a decoder: it reads `Examples`, which say what is valid."""

  def apply(params, carry, examples: Examples, valid=None):
    if valid is not None:
      raise ValueError("valid: it stands in the examples that a decoder is given")
    return carry, module.apply(params, examples, carry)

  return Built(module, apply, False, example, None, files)


def _frames(flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  if FRAMES not in files:
    raise BadInput(f"{FRAMES} is missing: restore it")
  shape = frame_models.Shape(**json.loads(files[FRAMES])["shape"])
  chosen = group(Convolutions, flags)
  module = frame_models.frame_model(chosen, shape)

  def apply(params, carry, frames, valid=None):
    return module.apply(params, frames, carry, valid=valid)

  return Built(module, apply, True, frame_models.example(shape), None, files)


def _transcribe(flags: Mapping[str, Any], files: Mapping[str, str]) -> Built:
  if SPEECH not in files:
    raise BadInput(f"{SPEECH} is missing: restore it")
  shape = speech.Reader.from_json(files[SPEECH], SPEECH).shape
  chosen, own = group(transcribers.Transcribers, flags), architecture(flags)
  if chosen.alignment == "attention":
    sizes = dictation.Sizes.of(shape)
    listener = listeners.listener(
      group(Decoders, flags),
      own,
      sizes,
      bidirectional=chosen.bidirectional,
      places=PLACES,
      weights=True,
      dtype=flags["dtype"],
    )
    return _conditional(listener, listeners.example(sizes), files)
  module = transcribers.transcriber(chosen, own, shape, dtype=flags["dtype"])

  def apply(params, carry, inputs, valid=None):
    return carry, module.apply(params, inputs, carry, valid)

  return Built(module, apply, False, transcribers.example(shape), None, files)


def _vocabulary(files: Mapping[str, str]) -> Vocabulary:
  if VOCABULARY not in files:
    raise BadInput(f"{VOCABULARY} is missing: restore it")
  return tokens.from_json(files[VOCABULARY])


MODELS: dict[str, Callable[[Mapping[str, Any], Mapping[str, str]], Built]] = {
  "language": _language,
  "cloze": _cloze,
  "forecast": _forecast,
  "music": _music,
  "classify": _classify,
  "memory": _memory,
  "tag": _tag,
  "frames": _frames,
  "translate": _translate,
  "transcribe": _transcribe,
  "caption": _caption,
}
