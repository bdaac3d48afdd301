"""A transcriber: what is said in sounds, and how likely it finds texts."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from unroll import ctc, transcription
from unroll.data.examples import Examples
from unroll.data.speech.reader import BLANK, Reader
from unroll.models.built import SPEECH, Built
from unroll.models.listener import Listener
from unroll.score import Scores
from unroll.serving import listener
from unroll.serving.sounds import batches, said
from unroll.serving.value import Functions
from unroll.types import Array, Params


def functions(built: Built) -> Functions:
  """What a transcriber answers of sounds: arrays of samples, at the rate of the run.

  `predict(params, sounds, *, decoder="greedy", beams=10)`: the texts that are heard, by
  a decoder of `transcription.DECODERS`.

  `score(params, sounds, texts)`: the log-probability of a text of each sound, and its
  labels; -inf where a sound is too short for them.

  One with a decoder in place of CTC answers as `listener` says.
  """
  reader, module = Reader.from_json(built.files[SPEECH], SPEECH), built.module
  if isinstance(module, Listener):
    return listener.functions(built)

  def predict(
    params: Params,
    sounds: Sequence[NDArray],
    *,
    decoder: str = "greedy",
    beams: int = 10,
  ) -> list[str]:
    decode = transcription.decoder(decoder, beams)
    source = batches(reader, sounds, [np.zeros(0, np.int32)] * len(sounds))
    heard = transcription.listener(module, source, decode)(params)
    return [reader.text(labels) for labels in heard]

  def score(params: Params, sounds: Sequence[NDArray], texts: Sequence[str]) -> Scores:
    labels = said(reader, sounds, texts)
    found, likelihood = np.zeros(len(texts), np.float32), _likelihood(module)
    source = batches(reader, sounds, labels)
    for number, some in enumerate(source):
      rows = source.chosen(number)
      found[rows[rows >= 0]] = np.asarray(likelihood(params, jax.device_put(some)))[
        rows >= 0
      ]
    return Scores(found, np.array([*map(len, labels)], np.int32))

  return Functions(predict, score=score)


@lru_cache(maxsize=16)  # so that the same model is the same program
def _likelihood(module: Any):
  @jax.jit
  def likelihood(params: Params, some: Examples) -> Array:
    labels, weight, valid = map(jnp.asarray, some[1:])
    logits = module.apply(params, some.inputs, None, valid)
    return ctc.log_likelihood(logits, labels, valid, weight > 0, blank=BLANK)

  return likelihood
