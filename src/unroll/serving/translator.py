"""A translator: what texts become, and how likely it finds translations."""

from collections.abc import Sequence
from typing import Any

from unroll import translating
from unroll.data.pairs import Reader
from unroll.data.pairs.batches import given
from unroll.models.built import Built
from unroll.score import Scores
from unroll.serving.conditional import scores
from unroll.serving.value import Functions
from unroll.types import BadInput, Params
from unroll.writing import Beam, Hypothesis


def functions(built: Built) -> Functions:
  """What a translator answers.

  `generate(params, texts, *, beams=1, best=1, length_penalty=0, coverage_penalty=0)`:
  the `writing.Hypothesis`es of each text, the best first; see `beam.search`.

  `score(params, texts, targets)`: the log-probability of a target of each text, and its
  tokens, with the one that ends it.
  """
  reader, module = Reader.from_files(built.files), built.module

  def generate(
    params: Params, texts: Sequence[str], **how: Any
  ) -> list[list[Hypothesis]]:
    sources = reader.read(texts)
    return translating.writer(module, reader, sources, Beam(**how))(params)

  def score(params: Params, texts: Sequence[str], targets: Sequence[str]) -> Scores:
    if len(texts) != len(targets):
      raise BadInput(
        f"there are {len(texts)} texts and {len(targets)} targets: pair them"
      )
    sources = reader.read(texts)
    return scores(
      module,
      params,
      [len(source.tokens) for source in sources],
      lambda rows, steps: given(sources, rows, steps),
      reader.write(targets, sources),
    )

  return Functions(generate=generate, score=score)
