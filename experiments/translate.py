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

from experiments.parts import hypotheses, layers, pairs
from experiments.parts.hypotheses import Hypotheses, Writer
from experiments.parts.pairs import Data, Pairs
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Evaluation, Size, Task
from experiments.session.terminal import extra, given, result, warn
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import remat, scan, translating, translation
from unroll.architecture import Architecture, Precision
from unroll.data import text
from unroll.data.pairs import Reader, Source
from unroll.gradients import ChunkLoss
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models.attending import translator_of
from unroll.models.conditional import conditional_loss
from unroll.models.decoders import Decoders
from unroll.models.translator import Encoders, example
from unroll.report.attention import Read, heat
from unroll.settings import setting
from unroll.transformer import Transformer
from unroll.types import Params
from unroll.writing import Hypothesis

ATTENTION = "attention.png"
SHOWN = 3  # pairs that are shown of a finished run


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


def main(settings: Settings) -> None:
  """Trains, evaluates or translates, as `mode` says."""
  modes.run(settings, _task, translate=_translate)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  known = None if files is None else Reader.from_files(files)
  data = pairs.load(settings[Pairs], known, warn)
  exact = pairs.exact(settings[Pairs])
  if not exact:
    translation.check()
  architecture, decoders = layers.chosen(settings), settings[Decoders]
  reader, how = data.reader, settings[Hypotheses].first
  model_of = functools.partial(
    translator_of,
    settings[Encoders],
    decoders,
    architecture,
    reader.sizes,
    copies=reader.copy,
    places=max(len(s.tokens) for part in data.sources.values() for s in part),
    weights=bool(how.coverage_penalty),
    dtype=settings[Precision].dtype,
  )
  model, sizes, batch = model_of(), architecture.sizes, settings[Training].batch

  def loss(plan: remat.Plan, backward: scan.Backward) -> ChunkLoss:
    return conditional_loss(model_of(plan=plan), decoders.label_smoothing, backward)

  @functools.cache
  def writer(part: str):
    return translating.writer(model, reader, data.sources[part], how)

  def judge(params: Params, part: str) -> Mapping[str, float]:
    own = jax.device_put(jax.device_get(params), jax.local_devices()[0])
    found = [some[0].text for some in writer(part)(own)]
    return _judged(data, part, found).numbers()

  targets = {name: sum(map(len, own)) for name, own in data.targets.items()}
  return Task(
    init=lambda key: model.init(key, example()),
    carry=functools.partial(initial_carry, model),
    loss=loss,
    train=lambda seed, columns: decoders.sampled(data.training(batch, seed, columns)),
    evaluations={
      part: Evaluation({"pairs": data.evaluation(part)})
      for part in data.parts
      if part != "train"
    },
    measures=translation.measures(exact),
    size=Size(max(sizes), sum(sizes), targets["train"] / len(data.parts["train"])),
    data=data.sha256,
    model="translate",
    files=reader.files(),
    splits=targets,
    counted="tokens",
    sized_by=layers.sized_by(settings, "embedding", "source_embedding"),
    judge=judge,
    show=functools.partial(_show, data, writer),
    shows=(ATTENTION,) if model.decoder.core.context else (),
  )


def _judged(data: Data, part: str, found: list[str]) -> translation.Judgement:
  return translation.judged(
    found,
    [wanted for _, wanted in data.texts(part)],
    data.reader.target.split_each,
    lower=data.reader.lower,
    scores=not pairs.exact(data.settings),
  )


def _show(
  data: Data, writer: Writer, settings: Settings, best: Loaded, path: Path
) -> None:
  """Prints how right what it writes is, and some of it; draws where it looked."""
  part = "test" if "test" in data.parts else "val"
  written = [some[0] for some in writer(part)(best.params)]
  found = [one.text for one in written]
  for (source, wanted), own in list(zip(data.texts(part), found))[:SHOWN]:
    print(f"source  {source}\nwritten {own}\nwanted  {wanted}\n")
  if best.module.decoder.core.context:
    with extra(path / ATTENTION):
      sources = data.sources[part][:SHOWN]
      reads = [_read(data.reader, best, *one) for one in zip(sources, written)]
      heat(reads, f"{data.settings.data}, {part}", path / ATTENTION)
  judgement = _judged(data, part, found)
  measures = {measure.name: measure for measure in translation.measures(True)}
  measures |= {measure.name: measure for measure in translation.measures(False)}
  numbers = judgement.numbers().items()
  print(f"{part}: {', '.join(measures[n].shown(x) for n, x in numbers)}")
  if judgement.scores:
    print("\n".join(judgement.scores.signatures.values()))


def _read(reader: Reader, best: Loaded, source: Source, one: Hypothesis) -> Read:
  """Where a translator looked as it wrote."""
  weights = translating.looked(best.module, best.params, source, one.tokens)
  names = (*reader.target.tokens, *source.new)
  pieces = source.pieces if weights.shape[1] == len(source.pieces) else ("end",)
  return Read(pieces, [names[number] for number in one.tokens.tolist()], weights)


def _translate(settings: Settings) -> None:
  model, settings = modes.opened(settings)
  reader, how = Reader.from_files(model.files), settings[Hypotheses].how
  file = settings[Translate].input
  lines = text.read_lines(given(file), f"--input={file}")
  for number, source in enumerate(reader.read(lines), 1):
    unknown = reader.unknown(source)
    if unknown:
      warn(f"line {number}: training has not {', '.join(unknown)}")
  found = model.generate(model.params, lines, **how._asdict())
  for some in found:
    hypotheses.write(some)
  rows = [
    {"source": line, "translations": hypotheses.rows(some)}
    for line, some in zip(lines, found)
  ]
  result({"lines": rows}, settings[Folder].json)


PAGE = Page(
  "translate",
  main,
  (
    Translate,
    Hypotheses,
    Pairs,
    Encoders,
    Decoders,
    Architecture,
    Transformer,
    Precision,
    Training,
    Transfer,
    Folder,
    Processes,
    Arms,
  ),
  objective=("bleu", "higher"),
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
