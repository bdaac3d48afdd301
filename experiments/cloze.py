"""The missing character, from its context on both sides.

  python -m experiments.cloze --corpus=tinyshakespeare --hidden=176 --minutes=3
  python -m experiments.cloze --model=transformer --embedding=256
  python -m experiments.cloze --mode=fill --workdir=RUN --text="to be or n_t to be"

Bidirectional against one-way models of as many parameters: `docs/results.md`.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from experiments.parts import layers, text
from experiments.parts.text import Batches, Text
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Task
from experiments.session.terminal import result
from experiments.session.training import Training, Truncation
from experiments.session.transfer import Transfer
from unroll import remat, scan
from unroll.architecture import Architecture, Precision
from unroll.gradients import ChunkLoss
from unroll.layers import MERGES
from unroll.models.cloze import ClozeModel, cloze_loss
from unroll.models.masked import cloze_of
from unroll.serving.cloze import GAP
from unroll.settings import setting
from unroll.transformer import Transformer
from unroll.types import BadInput


@dataclass(frozen=True)
class Cloze:
  """Cloze"""

  mode: str = setting(
    "train", "what to do", choices=("train", "eval", "fill"), role="call"
  )
  bidirectional: bool = setting(True, "reads from both sides")
  direction: str = setting(
    "forward",
    "the side that is read with --nobidirectional",
    choices=("forward", "backward"),
  )
  merge: str = setting("concat", "how both sides become one", choices=list(MERGES))
  text: str = setting(
    "",
    "text that --mode=fill completes: _ stands for one token, such as a character",
    role="call",
  )


def main(settings: Settings) -> None:
  """Trains, evaluates or fills, as `mode` says."""
  modes.run(settings, _task, fill=_fill)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  data = text.load(settings[Text], text.known(files))
  page = settings[Cloze]
  model_of = functools.partial(
    cloze_of,
    layers.chosen(settings),
    len(data.vocabulary),
    embedding=settings[Text].embedding,
    embedding_dropout=settings[Text].embedding_dropout,
    side=None if page.bidirectional else page.direction,
    merge=page.merge,
    dtype=settings[Precision].dtype,
  )

  def loss(_: ClozeModel, plan: remat.Plan, backward: scan.Backward) -> ChunkLoss:
    return cloze_loss(model_of(plan=plan), backward)

  return text.task(
    settings,
    data,
    model_of(),
    kind="cloze",
    loss=loss,
    train=text.windows,
    sources={"windowed": text.evaluation_windows},
  )


def _fill(settings: Settings) -> None:
  model, settings = modes.opened(settings)
  if GAP not in settings[Cloze].text:
    raise BadInput('mode=fill needs a `text` with a gap, such as --text="n_t to be"')
  filled, found = model.predict(model.params, settings[Cloze].text)
  for chances in found:
    best = np.argsort(-chances)[:5]
    print(", ".join(f"{model.vocabulary.tokens[i]!r} {chances[i]:.3f}" for i in best))
  print(filled)
  result({"text": filled}, settings[Folder].json)


PAGE = Page(
  "cloze",
  main,
  (
    Cloze,
    Text,
    Batches,
    Architecture,
    Transformer,
    Precision,
    Truncation,
    Training,
    Transfer,
    Folder,
    Processes,
    Arms,
  ),
  # Of older runs, which had every setting of a language model.
  former={"partition": "random", "tie_embeddings": False},
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
