"""From a picture to a sentence: made scenes, or your pictures; train, evaluate, write.

  python -m experiments.caption --cell=gru --layers=1 --minutes=5
  python -m experiments.caption --data=FOLDER --captions=captions.csv --size=64
  python -m experiments.caption --mode=caption --workdir=RUN --input=a.png,b.jpg

Convolutions read the picture; a decoder writes, and looks at places by attention.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from experiments.parts import captions, hypotheses, layers
from experiments.parts.captions import Captions, Data
from experiments.parts.hypotheses import Hypotheses, Writer
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Evaluation, Size, Task
from experiments.session.terminal import extra, named, result
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import captioning, remat, scan, translation
from unroll.architecture import Architecture, Precision
from unroll.data.captions import Reader
from unroll.gradients import ChunkLoss
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models.captioner import captioner, example
from unroll.models.conditional import conditional_loss
from unroll.models.decoders import Decoders
from unroll.models.images import Images
from unroll.report.attention import Looked, looks
from unroll.settings import setting
from unroll.types import Params
from unroll.writing import Hypothesis

ATTENTION = "attention.png"
SHOWN = 3  # pictures of a part that are shown of a finished run


@dataclass(frozen=True)
class Caption:
  """Captions of pictures"""

  mode: str = setting(
    "train", "what to do", choices=("train", "eval", "caption"), role="call"
  )
  input: str = setting(
    "-",
    "PNG or JPEG files that --mode=caption reads, with commas between, or a folder of "
    "them; -: their names on standard input, one a line",
    kind="path",
    role="call",
  )
  longest: int = setting(
    100, "tokens after which a sentence ends anyhow", least=1, most=10_000, role="call"
  )


def main(settings: Settings) -> None:
  """Trains, evaluates or writes captions, as `mode` says."""
  modes.run(settings, _task, caption=_caption)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  known = None if files is None else Reader.from_files(files)
  data = captions.load(settings[Captions], known)
  if not captions.exact(settings[Captions]):
    translation.check()
  architecture, decoders = layers.architecture(settings), settings[Decoders]
  reader, how = data.reader, settings[Hypotheses].first
  model_of = functools.partial(
    captioner,
    settings[Images],
    decoders,
    architecture,
    reader.sizes,
    weights=bool(how.coverage_penalty),
    dtype=settings[Precision].dtype,
  )
  model, sizes, batch = model_of(), architecture.sizes, settings[Training].batch

  def loss(plan: remat.Plan, backward: scan.Backward) -> ChunkLoss:
    return conditional_loss(model_of(plan=plan), decoders.label_smoothing, backward)

  @functools.cache
  def writer(part: str):
    own, longest = data.parts[part].images, settings[Caption].longest
    return captioning.writer(model, reader, own, longest, how)

  def judge(params: Params, part: str) -> Mapping[str, float]:
    own = jax.device_put(jax.device_get(params), jax.local_devices()[0])
    found = [some[0] for some in writer(part)(own)]
    return _judged(data, part, found).numbers()

  every = {name: itertools.chain(*own) for name, own in data.targets.items()}
  targets = {name: sum(map(len, sentences)) for name, sentences in every.items()}
  return Task(
    init=lambda key: model.init(key, example(reader.sizes)),
    carry=functools.partial(initial_carry, model),
    loss=loss,
    train=lambda seed, columns: decoders.sampled(data.training(batch, seed, columns)),
    evaluations={
      part: Evaluation({"captions": data.evaluation(part)})
      for part in data.parts
      if part != "train"
    },
    measures=captioning.measures(captions.exact(data.settings)),
    size=Size(
      max(sizes), sum(sizes), targets["train"] / sum(map(len, data.targets["train"]))
    ),
    data=data.sha256,
    model="caption",
    files=reader.files(),
    splits=targets,
    counted="tokens",
    sized_by=("hidden", "layers", "embedding", "channels", "memory"),
    judge=judge,
    show=functools.partial(_show, data, writer),
    shows=(ATTENTION,) if model.decoder.core.context else (),
  )


def _judged(data: Data, part: str, found: Sequence[Hypothesis]) -> captioning.Judgement:
  """How right the captions of a part are."""
  scores = None
  if not captions.exact(data.settings):
    scores = translation.corpus_scores(
      [one.text for one in found], data.parts[part].captions, lower=data.reader.lower
    )
  words = [data.reader.words(one.tokens) for one in found]
  return captioning.judged(words, data.wanted(part), scores)


def _show(
  data: Data, writer: Writer, settings: Settings, best: Loaded, path: Path
) -> None:
  """Prints how right what it writes is, and some of it; draws where it looked."""
  measures = captioning.measures(captions.exact(data.settings))
  labels = {measure.name: measure for measure in measures}
  shown = []
  for part in [p for p in ("test", "held_out") if p in data.parts] or ["val"]:
    own = data.parts[part]
    found = [some[0] for some in writer(part)(best.params)]
    for one, wanted in list(zip(found, own.captions))[:SHOWN]:
      print(f"written {one.text}\nwanted  {' / '.join(wanted)}\n")
    numbers = _judged(data, part, found).numbers()
    print(f"{part}: {', '.join(labels[n].shown(x) for n, x in numbers.items())}\n")
    shown += list(zip(own.images, found))[:SHOWN]
  if best.module.decoder.core.context:
    with extra(path / ATTENTION):
      pictures = [_looked(data.reader, best, *one) for one in shown]
      looks(pictures, "Where was looked as each word was written", path / ATTENTION)


def _looked(reader: Reader, best: Loaded, image: np.ndarray, one: Hypothesis) -> Looked:
  """Where a captioner looked as it wrote."""
  weights = captioning.looked(best.module, best.params, image, one.tokens)
  words = [reader.vocabulary.tokens[number] for number in one.tokens.tolist()]
  return Looked(image, words, weights)


def _caption(settings: Settings) -> None:
  model, settings = modes.opened(settings)
  reader, chosen = Reader.from_files(model.files), settings[Caption]
  how = settings[Hypotheses].how
  files = named(chosen.input, captions.SUFFIXES, "PNG or JPEG files")
  images = captions.seen(reader, files)
  found = model.generate(model.params, images, longest=chosen.longest, **how._asdict())
  for file, some in zip(files, found):
    hypotheses.write(some, f"{file}\t")
  rows = [
    {"file": str(file), "captions": hypotheses.rows(some)}
    for file, some in zip(files, found)
  ]
  result({"pictures": rows}, settings[Folder].json)


PAGE = Page(
  "caption",
  main,
  (
    Caption,
    Hypotheses,
    Captions,
    Images,
    Decoders,
    Architecture,
    Precision,
    Training,
    Transfer,
    Folder,
    Processes,
    Arms,
  ),
  objective=("exact", "higher"),
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
