"""How labels are heard in sounds, as settings choose: by CTC, or by a decoder."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.parts import layers
from experiments.parts.hypotheses import Hypotheses
from experiments.session.settings import Settings
from unroll import listening, scan, transcription
from unroll.architecture import Precision
from unroll.data.buckets import Buckets
from unroll.data.examples import Examples
from unroll.data.speech import dictation
from unroll.data.speech.reader import Reader
from unroll.gradients import ChunkLoss
from unroll.models import listener, transcriber
from unroll.models.conditional import conditional_loss
from unroll.models.decoders import Decoders
from unroll.models.transcriber import Transcribers
from unroll.settings import refuse
from unroll.types import BadInput, Params

PREFIXES = 10  # of a beam of CTC, where settings do not say how many

# (params -> the classes that are heard in each sound).
Heard = Callable[[Params], list[tuple[int, ...]]]


class Hearing(NamedTuple):
  """A kind of model of speech.

  Attributes:
    model: (plan) -> the model.
    example: to make parameters with.
    loss: (model, backward) -> its chunk loss.
    batches: what it reads of utterances side by side.
    listener: (model, sounds) -> what it hears in them.
    sized_by: the settings that make it as large as it is.
    attends: whether each label looks back at the steps of a sound.
  """

  model: Callable[..., Any]
  example: Any
  loss: Callable[[Any, scan.Backward], ChunkLoss]
  batches: Callable[[Buckets[Examples]], Buckets[Examples]]
  listener: Callable[[Any, Buckets[Examples]], Heard]
  sized_by: tuple[str, ...] = ("hidden", "layers")
  attends: bool = False


def attention(settings: Settings) -> bool:
  """Whether a decoder writes the labels; else steps say them, by CTC."""
  return settings[Transcribers].alignment == "attention"


def hearing(
  settings: Settings, reader: Reader, decoder: str, longest: int = 0
) -> Hearing:
  """The kind of model of some settings.

  Args:
    settings: of the page.
    reader: of its sounds and labels.
    decoder: how CTC finds labels, see `transcription.decoder`.
    longest: the steps of the longest sound; of a model that there is, of no effect.

  Raises:
    BadInput: settings contradict each other, or say nothing to it.
  """
  if attention(settings):
    return _attention(settings, reader, decoder, longest)
  return _ctc(settings, reader, decoder)


def prefixes(settings: Settings) -> int:
  """How many prefixes a beam of CTC keeps.

  Raises:
    BadInput: a setting is of hypotheses of a decoder.
  """
  own = settings[Hypotheses]
  refuse(own, "alignment=ctc", "beams")
  return own.beams if "beams" in settings.given else PREFIXES


def _ctc(settings: Settings, reader: Reader, decoder: str) -> Hearing:
  refuse(settings[Decoders], "alignment=ctc")
  decode = transcription.decoder(decoder, prefixes(settings))
  model = functools.partial(
    transcriber.transcriber,
    settings[Transcribers],
    layers.architecture(settings),
    reader.shape,
    dtype=settings[Precision].dtype,
  )
  return Hearing(
    model,
    transcriber.example(reader.shape),
    transcriber.transcriber_loss,
    lambda source: source,
    lambda model, source: transcription.listener(model, source, decode),
  )


def _attention(
  settings: Settings, reader: Reader, decoder: str, longest: int
) -> Hearing:
  if decoder != transcription.DECODERS[0]:
    raise BadInput(
      f"decoder={decoder} says nothing to alignment=attention: drop it, and give "
      "`beams` for more than one hypothesis"
    )
  sizes, how = dictation.Sizes.of(reader.shape), settings[Hypotheses].first
  decoders = settings[Decoders]
  model = functools.partial(
    listener.listener,
    decoders,
    layers.architecture(settings),
    sizes,
    bidirectional=settings[Transcribers].bidirectional,
    places=longest,
    weights=bool(how.coverage_penalty),
    dtype=settings[Precision].dtype,
  )

  def listen(model: listener.Listener, source: Buckets[Examples]) -> Heard:
    write = listening.writer(model, reader, source.mapped(dictation.heard), how)
    return lambda params: [
      listening.labels(model, some[0].tokens) for some in write(params)
    ]

  return Hearing(
    model,
    listener.example(sizes),
    lambda model, backward: conditional_loss(model, decoders.label_smoothing, backward),
    lambda source: source.mapped(dictation.dictated),
    listen,
    ("hidden", "layers", "embedding"),
    decoders.attention != "none",
  )
