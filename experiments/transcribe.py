"""Speech to text: strings of digits, or your own sounds; train, evaluate, transcribe.

  python -m experiments.transcribe --cell=gru --layers=1 --hidden=128 --minutes=5
  python -m experiments.transcribe --data=calls.csv --val=more.csv --units=char
  python -m experiments.transcribe --alignment=attention --cell=gru --layers=1
  python -m experiments.transcribe --mode=transcribe --workdir=RUN --input=a.wav,b.wav

No label has a time: all paths through a sound that say its labels are learned (CTC), or
a decoder writes one after another, and looks back at the sound by attention.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from experiments.parts import hearing, hypotheses, layers, speech
from experiments.parts.hypotheses import Hypotheses
from experiments.parts.speech import Data, Speech
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Evaluation, Size, Task
from experiments.session.terminal import extra, named, result
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import listening, remat, scan, transcription
from unroll.architecture import Architecture, Precision
from unroll.data.batches import Source
from unroll.data.classes import audio
from unroll.data.speech.reader import Reader
from unroll.gradients import ChunkLoss
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models.built import SPEECH
from unroll.models.decoders import Decoders
from unroll.models.transcriber import Transcribers
from unroll.report.attention import Read, heat
from unroll.settings import setting
from unroll.types import Params

ATTENTION = "attention.png"
SHOWN = 3  # sounds of which is drawn where they were listened to


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
    "of alignment=ctc: the labels of the best path, or the likeliest ones that a beam "
    f"finds, of {hearing.PREFIXES} prefixes or as many as --beams says",
    choices=transcription.DECODERS,
    role="call",
  )


def main(settings: Settings) -> None:
  """Trains, evaluates or transcribes, as `mode` says."""
  modes.run(settings, _task, transcribe=_transcribe)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  known = None if files is None else Reader.from_json(files[SPEECH], SPEECH)
  attention = hearing.attention(settings)
  data = speech.load(settings[Speech], known, paths=not attention)
  chosen = settings[Transcribe]
  kind = hearing.hearing(settings, data.reader, chosen.decoder, data.longest)
  model, sizes = kind.model(), layers.architecture(settings).sizes

  def loss(plan: remat.Plan, backward: scan.Backward) -> ChunkLoss:
    return kind.loss(kind.model(plan=plan), backward)

  def train(seed: int, columns: slice) -> Source:
    batch = settings[Training].batch
    source = kind.batches(data.training(batch, seed, columns))
    return settings[Decoders].sampled(source)

  @functools.cache
  def listener(part: str):
    return kind.listener(model, data.evaluation(part))

  def judge(params: Params, part: str) -> Mapping[str, float]:
    own = jax.device_put(jax.device_get(params), jax.local_devices()[0])
    return _judged(data, part, listener(part)(own)).numbers()

  return Task(
    init=lambda key: model.init(key, kind.example),
    carry=functools.partial(initial_carry, model),
    loss=loss,
    train=train,
    evaluations={
      part: Evaluation({"utterances": kind.batches(data.evaluation(part))})
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
    sized_by=kind.sized_by,
    judge=judge,
    show=functools.partial(_show, data),
    shows=(ATTENTION,) if kind.attends else (),
  )


def _judged(data: Data, part: str, heard) -> transcription.Judgement:
  said = [tuple(own.tolist()) for own in data.numbers[part]]
  return transcription.judged(said, heard)


def _show(data: Data, settings: Settings, best: Loaded, path: Path) -> None:
  """Prints some of what is heard, and how well each decoder finds it; draws where."""
  part = "test" if "test" in data.parts else "val"
  source, attention = data.evaluation(part), hearing.attention(settings)
  for name in transcription.DECODERS[: 1 if attention else None]:
    kind = hearing.hearing(settings, data.reader, name)
    heard = kind.listener(best.module, source)(best.params)
    found = _judged(data, part, heard)
    numbers = found.numbers()
    shown = [m.shown(numbers[m.name]) for m in transcription.MEASURES[:2]]
    way = "" if attention else f", {name}"
    print(f"{part}{way}: {', '.join(shown)}, of {found.sounds:,}")
  for own, labels in list(zip(data.numbers[part], heard))[:5]:
    texts = (data.reader.text(each) for each in (own.tolist(), labels))
    print("said: {}\nheard: {}".format(*texts))
  if kind.attends:
    with extra(path / ATTENTION):
      reads = [_read(data, best, part, *one) for one in enumerate(heard[:SHOWN])]
      heat(reads, "The seconds that each label listened to", path / ATTENTION)


def _read(
  data: Data, best: Loaded, part: str, number: int, labels: tuple[int, ...]
) -> Read:
  """Where a listener looked as it wrote the labels of an utterance."""
  reader, steps = data.reader, data.sequence[part](number)
  tokens = np.array([*labels, best.module.sizes.eos], np.int32)
  weights = listening.looked(best.module, best.params, steps, tokens)
  times = [f"{n * reader.seconds:.1f}" * (n % 10 == 0) for n in range(len(steps))]
  return Read(times, [*(reader.labels[n - 1] for n in labels), "<eos>"], weights)


def _transcribe(settings: Settings) -> None:
  model, settings = modes.opened(settings)
  reader = Reader.from_json(model.files[SPEECH], SPEECH)
  chosen = settings[Transcribe]
  hearing.hearing(settings, reader, chosen.decoder)  # refuses what says nothing to it
  files = named(chosen.input, (".wav",), "WAVE files")
  sounds = [audio.mono(file, reader.mel.rate) for file in files]
  rows: list[dict[str, object]] = []
  if hearing.attention(settings):
    how = settings[Hypotheses].how._asdict()
    for file, some in zip(files, model.generate(model.params, sounds, **how)):
      hypotheses.write(some, f"{file}\t")
      own = {"text": some[0].text, "hypotheses": hypotheses.rows(some)}
      rows.append({"file": str(file), **own})
  else:
    decode = {"decoder": chosen.decoder, "beams": hearing.prefixes(settings)}
    for file, text in zip(files, model.predict(model.params, sounds, **decode)):
      print(f"{file}\t{text}")
      rows.append({"file": str(file), "text": text})
  result({"transcripts": rows}, settings[Folder].json)


PAGE = Page(
  "transcribe",
  main,
  (
    Transcribe,
    Hypotheses,
    Speech,
    Transcribers,
    Decoders,
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
