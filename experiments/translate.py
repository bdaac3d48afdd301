"""From sequence to sequence: translation, and rules on symbols; train, evaluate, write.

  python -m experiments.translate --data=multi30k --tokenizer=bpe:8000 --epochs=10
  python -m experiments.translate --train=train.tsv --val=dev.tsv --attention=general
  python -m experiments.translate --data=reverse --hidden=64 --steps=2000
  python -m experiments.translate --mode=translate --workdir=RUN < lines.txt

An encoder reads the source; a decoder writes the target, and looks back by attention.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax

from experiments.parts import layers, pairs
from experiments.parts.pairs import Data, Pairs
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Evaluation, Size, Task
from experiments.session.terminal import given, result, say
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import remat, scan, translating, translation
from unroll.architecture import Architecture, Precision
from unroll.data import text
from unroll.data.pairs import Reader
from unroll.gradients import ChunkLoss
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models.decoder import Decoders
from unroll.models.translator import Encoders, example, translator, translator_loss
from unroll.settings import setting
from unroll.translating import Beam
from unroll.types import Params


@dataclass(frozen=True)
class Translate:
  """Translation"""

  mode: str = setting(
    "train", "what to do", choices=("train", "eval", "translate"), role="call"
  )
  input: str = setting(
    "-",
    "file that --mode=translate reads, a line a source; -: standard input",
    kind="path",
    role="call",
  )
  beams: int = setting(
    1, "hypotheses side by side; 1: the likeliest token at each step", role="call",
    least=1, most=1000,
  )
  best: int = setting(
    1, "translations of a line that --mode=translate writes", role="call", least=1
  )
  length_penalty: float = setting(
    0.0,
    "more favours longer hypotheses, 0.6 to 1 is common; 0: by log-probability",
    role="call",
  )
  coverage_penalty: float = setting(
    0.0, "what it costs to leave words of the source unread", least=0, role="call"
  )
