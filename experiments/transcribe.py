"""Speech to text: strings of digits, or your own sounds; train, evaluate, transcribe.

  python -m experiments.transcribe --cell=gru --layers=1 --hidden=128 --minutes=5
  python -m experiments.transcribe --data=calls.csv --val=more.csv --units=char
  python -m experiments.transcribe --mode=transcribe --workdir=RUN --input=a.wav,b.wav

No label has a time: all paths through a sound that say its labels are learned (CTC).
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from experiments.parts import layers, speech
from experiments.parts.speech import Data, Speech
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Evaluation, Size, Task
from experiments.session.terminal import named, result
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import remat, scan, transcription
from unroll.architecture import Architecture, Precision
from unroll.data.classes import audio
from unroll.data.speech.reader import Reader
from unroll.gradients import ChunkLoss
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models.saved import SPEECH
from unroll.models.transcriber import (
  Transcribers,
  example,
  transcriber,
  transcriber_loss,
)
from unroll.settings import setting
from unroll.types import Params


@dataclass(frozen=True)
class Transcribe:
  """Transcription"""

  mode: str = setting(
    "train", "what to do", choices=("train", "eval", "transcribe"), role="call"
  )
  input: str = setting(
    "-",
    "WAVE files that --mode=transcribe reads, with commas between, or a folder of "
    "them; -: their names on standard input, one a line",
    kind="path",
    role="call",
  )
  decoder: str = setting(
    "greedy",
    "the labels of the best path, or the likeliest ones that a beam of prefixes finds",
    choices=transcription.DECODERS,
    role="call",
  )
  beams: int = setting(10, "prefixes of a beam", least=1, role="call")


def main(settings: Settings) -> None:
  """Trains, evaluates or transcribes, as `mode` says."""
  modes.run(settings, _task, transcribe=_transcribe)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  known = None if files is None else Reader.from_json(files[SPEECH], SPEECH)
  data = speech.load(settings[Speech], known)
  architecture, training = layers.architecture(settings), settings[Training]
  model_of = functools.partial(
    transcriber,
    settings[Transcribers],
    architecture,
    data.reader.shape,
    dtype=settings[Precision].dtype,
  )
  model, sizes = model_of(), architecture.sizes

  def loss(plan: remat.Plan, backward: scan.Backward) -> ChunkLoss:
    return transcriber_loss(model_of(plan=plan), backward)

  @functools.cache
  def listener(part: str):
    source = data.evaluation(part)
    return transcription.listener(model, source, _decoder(settings))

  def judge(params: Params, part: str) -> Mapping[str, float]:
    own = jax.device_put(jax.device_get(params), jax.local_devices()[0])
    return _judged(data, part, listener(part)(own)).numbers()

  return Task(
    init=lambda key: model.init(key, example(data.reader.shape)),
    carry=functools.partial(initial_carry, model),
    loss=loss,
    train=lambda seed, columns: data.training(training.batch, seed, columns),
    evaluations={
      part: Evaluation({"utterances": data.evaluation(part)})
      for part in data.parts
      if part != "train"
    },
    measures=transcription.MEASURES,
    size=Size(
      max(sizes),
      sum(sizes),
      float(np.mean(data.reader.steps(data.parts["train"].samples))),
    ),
    data=data.sha256,
    model="transcribe",
    files={SPEECH: data.reader.to_json()},
    splits={part: sum(map(len, own.labels)) for part, own in data.parts.items()},
    counted="labels",
    sized_by=("hidden", "layers"),
    judge=judge,
    show=functools.partial(_show, data),
  )


def _decoder(settings: Settings) -> transcription.Decoder:
  chosen = settings[Transcribe]
  return transcription.decoder(chosen.decoder, chosen.beams)


def _judged(data: Data, part: str, heard) -> transcription.Judgement:
  said = [tuple(own.tolist()) for own in data.numbers[part]]
  return transcription.judged(said, heard)


def _show(data: Data, settings: Settings, best: Loaded, path: Path) -> None:
  """Prints some of what is heard, and how well each decoder finds it."""
  part = "test" if "test" in data.parts else "val"
  source, beams = data.evaluation(part), settings[Transcribe].beams
  for name in transcription.DECODERS:
    decode = transcription.decoder(name, beams)
    heard = transcription.listener(best.module, source, decode)(best.params)
    found = _judged(data, part, heard)
    numbers = found.numbers()
    shown = [m.shown(numbers[m.name]) for m in transcription.MEASURES[:2]]
    print(f"{part}, {name}: {', '.join(shown)}, of {found.sounds:,}")
  for own, labels in list(zip(data.numbers[part], heard))[:5]:
    texts = (data.reader.text(each) for each in (own.tolist(), labels))
    print("said: {}\nheard: {}".format(*texts))


def _transcribe(settings: Settings) -> None:
  model, settings = modes.opened(settings)
  reader = Reader.from_json(model.files[SPEECH], SPEECH)
  chosen = settings[Transcribe]
  files = named(chosen.input, (".wav",), "WAVE files")
  sounds = [audio.mono(file, reader.mel.rate) for file in files]
  texts = model.predict(
    model.params, sounds, decoder=chosen.decoder, beams=chosen.beams
  )
  for file, text in zip(files, texts):
    print(f"{file}\t{text}")
  rows = [{"file": str(file), "text": text} for file, text in zip(files, texts)]
  result({"transcripts": rows}, settings[Folder].json)


PAGE = Page(
  "transcribe",
  main,
  (
    Transcribe,
    Speech,
    Transcribers,
    Architecture,
    Precision,
    Training,
    Transfer,
    Folder,
    Processes,
    Arms,
  ),
  objective=("label_error", "lower"),
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
