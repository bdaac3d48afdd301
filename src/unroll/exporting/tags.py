"""What is exported of a tagger: from the words of sentences to their labels."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import symbolic_shape

from unroll.data.lexicon import Words
from unroll.exporting.program import Named, Program, told_of
from unroll.loading import Loaded
from unroll.types import Array


def tagger(loaded: Loaded, told: Mapping[str, str]) -> Program:
  """A tagger as `words [T, B], characters [T, B, C] -> emissions [T, B, N], labels`.

  It takes of the two what the model reads. Labels `[T, B]` are those of the best path,
  or the best of each word; a file has the scores of a path from label to label as
  `transitions [N + 1, N + 1]`, where N is what is before the first and after the last.
  """
  module, params = loaded.module, loaded.params
  sizes, (t, b) = module.sizes, symbolic_shape("t, b")
  wanted: dict[str, tuple[Any, ...]] = {}
  if module.words:
    wanted["words"] = (t, b)
  if module.spelling:
    wanted["characters"] = (t, b, sizes.width)
  inputs = {name: jax.ShapeDtypeStruct(s, jnp.int32) for name, s in wanted.items()}

  def run(inputs: Named, valid: Array, states: Named) -> tuple[Named, Named]:
    lead = next(iter(inputs.values())).shape[:2]
    none = jnp.zeros((*lead, sizes.width), jnp.int32)
    characters = inputs.get("characters", none)
    words = Words(inputs.get("words", none[..., 0]), characters)
    _, emissions = loaded.apply(params, None, words, valid)
    labels = module.apply(params, emissions, valid, method="decoded")
    return {"emissions": emissions, "labels": labels}, {}

  said = {"program": "sequence", **told, **told_of({})}
  if module.crf:
    scores = np.asarray(module.apply(params, method="transitions"))
    said["transitions"] = json.dumps(scores.tolist())
  return Program(
    run,
    inputs,
    {},
    jax.ShapeDtypeStruct((t, b), jnp.bool_),
    (t, b),
    said,
    {"words": sizes.words, "characters": sizes.characters},
    padded=("characters",),
  )
