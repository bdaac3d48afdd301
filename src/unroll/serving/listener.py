"""A listener: what it writes of sounds, and how likely it finds texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unroll import listening
from unroll.data.powers import Powers
from unroll.data.speech.dictation import Sounds, heard
from unroll.data.speech.reader import Reader
from unroll.models.built import SPEECH, Built
from unroll.score import Scores
from unroll.serving.conditional import scores
from unroll.serving.sounds import ROWS, batches, said
from unroll.serving.value import Functions
from unroll.types import Params
from unroll.writing import Beam, Hypothesis


def functions(built: Built) -> Functions:
  """What a listener answers of sounds: arrays of samples, at the rate of the run.

  `generate(params, sounds, *, beams=1, best=1, length_penalty=0, coverage_penalty=0)`:
  the `writing.Hypothesis`es of each sound, the best first; see `beam.search`.

  `predict`: the texts of the best ones, of the same arguments.

  `score(params, sounds, texts)`: the log-probability of a text of each sound, and its
  tokens, with the one that ends it.
  """
  reader, module = Reader.from_json(built.files[SPEECH], SPEECH), built.module

  def source(sounds: Sequence[NDArray]) -> Powers[Sounds]:
    plain = batches(reader, sounds, [np.zeros(0, np.int32)] * len(sounds))
    return Powers(plain.lengths, lambda *both: heard(plain.make(*both)), ROWS)

  def generate(
    params: Params, sounds: Sequence[NDArray], **how: Any
  ) -> list[list[Hypothesis]]:
    return listening.writer(module, reader, source(sounds), Beam(**how))(params)

  def predict(params: Params, sounds: Sequence[NDArray], **how: Any) -> list[str]:
    return [some[0].text for some in generate(params, sounds, **how)]

  def score(params: Params, sounds: Sequence[NDArray], texts: Sequence[str]) -> Scores:
    end = np.array([module.sizes.eos], np.int32)
    targets = [np.append(own, end) for own in said(reader, sounds, texts)]
    own = source(sounds)
    return scores(module, params, own.lengths.tolist(), own.make, targets)

  return Functions(predict, generate, score)
