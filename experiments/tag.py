"""A label for each word: parts of speech, names; train, evaluate, tag plain text.

  python -m experiments.tag --sentences=ud_english_ewt --layers=1 --epochs=10
  python -m experiments.tag --train=train.conll --val=dev.conll --learn=BIOES
  python -m experiments.tag --mode=tag --workdir=RUN < lines.txt > lines.conll

A word is read by its form and by its characters; labels are scored as a path.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax

from experiments.parts import layers, tagged
from experiments.parts.tagged import Data, Tagged
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Evaluation, Size, Task
from experiments.session.terminal import given, result, say
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import remat, scan, tagging
from unroll.architecture import Architecture, Precision
from unroll.data import text
from unroll.data.conll import written
from unroll.data.lexicon import Lexicon
from unroll.gradients import ChunkLoss
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models.built import LEXICON
from unroll.models.tagger import Taggers, example, tagger, tagger_loss
from unroll.settings import setting
from unroll.types import Params


@dataclass(frozen=True)
class Tag:
  """Tagging"""

  mode: str = setting(
    "train", "what to do", choices=("train", "eval", "tag"), role="call"
  )
  input: str = setting(
    "-",
    "file that --mode=tag reads, a line a sentence; -: standard input",
    kind="path",
    role="call",
  )
  tokenizer: str = setting(
    "word",
    "what --mode=tag takes for words: letters and marks apart, or all between spaces",
    choices=("word", "whitespace"),
    role="call",
  )


def main(settings: Settings) -> None:
  """Trains, evaluates or tags, as `mode` says."""
  modes.run(settings, _task, tag=_tag)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  known = None if files is None else Lexicon.from_json(files[LEXICON], LEXICON)
  data = tagged.load(settings[Tagged], known, say)
  architecture, training = layers.architecture(settings), settings[Training]
  model_of = functools.partial(
    tagger,
    settings[Taggers],
    architecture,
    data.lexicon.sizes,
    dtype=settings[Precision].dtype,
  )
  model, sizes = model_of(), architecture.sizes
  words = {part: sum(len(s.words) for s in own) for part, own in data.parts.items()}

  def loss(plan: remat.Plan, backward: scan.Backward) -> ChunkLoss:
    return tagger_loss(model_of(plan=plan), backward)

  @functools.cache
  def labeller(part: str):
    return tagging.labeller(model, data.lexicon, data.parts[part])

  def judge(params: Params, part: str) -> Mapping[str, float]:
    own = jax.device_put(jax.device_get(params), jax.local_devices()[0])
    found = labeller(part)(own)
    return tagging.judged(data.lexicon, data.parts[part], found).numbers()

  return Task(
    init=lambda key: model.init(key, example(data.lexicon.sizes)),
    carry=functools.partial(initial_carry, model),
    loss=loss,
    train=lambda seed, columns: data.training(training.batch, seed, columns),
    evaluations={
      part: Evaluation({"sentences": data.evaluation(part)})
      for part in data.parts
      if part != "train"
    },
    measures=tagging.measures(data.lexicon.scheme),
    size=Size(max(sizes), sum(sizes), words["train"] / len(data.parts["train"])),
    data=data.sha256,
    model="tag",
    files={LEXICON: data.lexicon.to_json()},
    splits=words,
    counted="words",
    sized_by=("hidden", "layers", "word_embedding"),
    judge=judge,
    show=functools.partial(_show, data),
  )


def _show(data: Data, settings: Settings, best: Loaded, path: Path) -> None:
  """Prints how well each label is found, or each type of span."""
  part, lexicon = "test" if "test" in data.parts else "val", data.lexicon
  own = data.parts[part]
  found = tagging.labeller(best.module, lexicon, own)(best.params)
  judgement = tagging.judged(lexicon, own, found)
  print(f"{part:16} {'precision':>9} {'recall':>7} {'F1':>7} {'there':>6}")
  for name, counts in sorted(judgement.spans.items(), key=lambda one: -one[1].there):
    numbers = f"{counts.precision:9.4f} {counts.recall:7.4f} {counts.f1:7.4f}"
    print(f"{name or 'all':16} {numbers} {counts.there:6}")
  labels = {measure.name: measure for measure in tagging.measures(lexicon.scheme)}
  shown = [labels[n].shown(x) for n, x in judgement.numbers().items() if n in labels]
  print(f"{part}: {', '.join(shown)}")


def _tag(settings: Settings) -> None:
  model, settings = modes.opened(settings)
  lexicon = Lexicon.from_json(model.files[LEXICON], LEXICON)
  file = settings[Tag].input
  split = text.tokenizer(settings[Tag].tokenizer).split
  lines = text.read_lines(given(file), f"--input={file}")
  sentences = [tuple(split(line)) for line in lines]
  found = model.predict(model.params, sentences)
  for words, labels in zip(sentences, found):
    print(written(words, labels, lexicon.format), end="")
  rows = [{"words": words, "labels": labels} for words, labels in zip(sentences, found)]
  result({"sentences": rows}, settings[Folder].json)


PAGE = Page(
  "tag",
  main,
  (
    Tag,
    Tagged,
    Taggers,
    Architecture,
    Precision,
    Training,
    Transfer,
    Folder,
    Processes,
    Arms,
  ),
  objective=("f1", "higher"),
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
