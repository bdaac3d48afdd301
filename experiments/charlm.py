"""A language model on text: train, resume, sample, score, evaluate.

  python -m experiments.charlm --minutes=1.5
  python -m experiments.charlm --corpus=book.txt --cell=gru --hidden=512 --epochs=5
  python -m experiments.charlm --model=transformer --blocks=4 --context=256
  python -m experiments.charlm --mode=sample --workdir=RUN --prompt="The " --samples=3
  tail -f server.log | python -m experiments.charlm --online=- --tokenizer=byte

The first trains the default, two LSTM layers of 256 units, on the help text that
comes with Python; `docs/results.md` has the figures, with command, machine and time.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.parts import adaptation, layers, likelihoods, online, text, watching
from experiments.parts.adaptation import Adaptation
from experiments.parts.online import Online
from experiments.parts.text import Batches, Text
from experiments.parts.watching import Watching
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Task
from experiments.session.terminal import extra, given, result
from experiments.session.training import Training, Truncation
from experiments.session.transfer import Transfer
from unroll import files, generate, memory
from unroll.architecture import Architecture, Precision
from unroll.data import text as lines
from unroll.data.batches import Source
from unroll.data.live import LiveText
from unroll.data.packed import Packed
from unroll.data.vocabulary import Vocabulary
from unroll.loading import Loaded
from unroll.metrics import NATS, PERPLEXITY
from unroll.models.language import (
  LanguageModel,
  language_model,
  next_token_loss,
)
from unroll.penalties import Penalties
from unroll.serving.language import opening, tokens_of
from unroll.settings import setting
from unroll.transformer import Transformer
from unroll.types import BadInput

SAMPLES = "sample.txt"  # in a run's folder


@dataclass(frozen=True)
class CharLM:
  """Language model"""

  mode: str = setting(
    "train", "what to do", choices=("train", "eval", "sample", "score"), role="call"
  )
  partition: str = setting(
    "sequential",
    "sequential: the carry passes from chunk to chunk; random: windows, each with a "
    "fresh carry",
    choices=("sequential", "random"),
  )
  pack: str = setting(
    "",
    "the token that ends a document, such as \\n: what follows in its row starts from "
    "a fresh state; empty: the text is one",
  )
  tie_embeddings: bool = setting(False, "uses the embedding as the output matrix")
  prompt: str = setting(
    "",
    "text that samples continue and scores are given; a line break if empty",
    role="call",
  )
  length: int = setting(400, "most tokens of a sample", least=1, role="call")
  temperature: float = setting(
    1.0, "temperature of samples; 0: the likeliest token", least=0, role="call"
  )
  top_k: int = setting(0, "draws from the likeliest k; 0: all", least=0, role="call")
  top_p: float = setting(
    1.0, "draws from the nucleus of this mass; 1: all", role="call"
  )
  stop: str = setting("", "ends a sample once it has drawn this string", role="call")
  samples: int = setting(1, "samples at once", least=1, role="call")
  input: str = setting(
    "-",
    "file that --mode=score reads, a line a sentence; -: standard input",
    kind="path",
    role="call",
  )


def main(settings: Settings) -> None:
  """Trains, evaluates, samples or scores, as `mode` says."""
  _check(settings[CharLM])
  adaptation.check(settings)
  if settings[CharLM].mode == "train":
    settings = online.prepared(settings)
  modes.run(settings, _task, sample=_sample, score=_score)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  data = text.load(settings[Text], text.known(files))
  model = _model(settings, data.vocabulary)
  sequential = settings[CharLM].partition == "sequential"
  sources: dict[str, Any] = {
    "streamed": text.evaluation_lanes,
    "windowed": text.evaluation_windows,
  }
  order = sources if sequential else reversed(sources)
  packed = _packed(settings[CharLM].pack, data.vocabulary)

  def of_documents(make: Callable[..., Source]) -> Callable[..., Source]:
    return lambda *given: packed(make(*given))

  task = text.task(
    settings,
    data,
    model,
    kind="language",
    loss=functools.partial(next_token_loss, penalties=settings[Penalties]),
    watch=watching.watch(
      *(settings, layers.chosen(settings), model.embedding or model.vocabulary),
      *(model, next_token_loss),
    ),
    train=of_documents(text.lanes if sequential else text.windows),
    sources={name: of_documents(sources[name]) for name in order},
    shows=(SAMPLES,),
    show=_show,
    check=lambda: _check_samples(settings, data.vocabulary),
  )
  if settings[Online].online and files is None:
    length, overlap = online.chunks(settings)
    return online.streamed(
      settings,
      task,
      lambda incoming: packed(LiveText(incoming, data.vocabulary, length, overlap)),
      (NATS, PERPLEXITY),
    )
  return adaptation.adapted(settings, task, model, data.tokens, packed)


def _packed(end: str, vocabulary: Vocabulary) -> Callable[[Source], Source]:
  """Makes a source start every document afresh; leaves it as it is without an end."""
  if not end:
    return lambda source: source
  text = end.replace("\\n", "\n")
  tokens = vocabulary.encode(text)
  if len(tokens) != 1 or tokens[0] == vocabulary.unknown:
    raise BadInput(
      f"pack={end!r} must be one token of the training text, and tokenizer="
      f"{vocabulary.tokenizer} makes {len(tokens)} of it"
      + (", which is unknown" if len(tokens) == 1 else "")
      + ": give the token that ends a document"
    )
  return lambda source: Packed(source, int(tokens[0]))


def _model(settings: Settings, vocabulary: Vocabulary) -> LanguageModel:
  return language_model(
    layers.chosen(settings),
    len(vocabulary),
    embedding=settings[Text].embedding,
    embedding_dropout=settings[Text].embedding_dropout,
    tie=settings[CharLM].tie_embeddings,
    dtype=settings[Precision].dtype,
  )


def _check(page: CharLM) -> None:
  """Refuses values that no setting can have, whatever the run."""
  t, p = page.temperature, page.top_p
  if not (t == 0 or generate.COLDEST <= t <= generate.HOTTEST):
    raise BadInput(
      f"temperature={t}: give 0 for the likeliest token, or a number from "
      f"{generate.COLDEST:g} to {generate.HOTTEST:g}"
    )
  if not 0 < p <= 1:
    raise BadInput(f"top_p={p}: give a mass above 0, at most 1")


def _check_samples(settings: Settings, vocabulary: Vocabulary) -> None:
  """Refuses before training what samples cannot have."""
  page, sizes = settings[CharLM], layers.chosen(settings).sizes
  opening(vocabulary, page.prompt)
  if page.stop:
    tokens_of(vocabulary, page.stop, "stop")
  numbers = 2 * (page.length + len(vocabulary)) + sum(sizes)
  memory.check(4 * page.samples * numbers, settings.shown("length", "samples"))


def _show(settings: Settings, best: Loaded, path: Path) -> None:
  samples = _samples(settings, best)
  with extra(path / SAMPLES):
    files.write(path / SAMPLES, _shown(samples))


def _sample(settings: Settings) -> None:
  model, settings = modes.opened(settings, "seed")
  _check_samples(settings, model.vocabulary)
  result({"samples": _samples(settings, model)}, settings[Folder].json)


def _samples(settings: Settings, model: Loaded) -> list[str]:
  """Draws samples and prints them."""
  page = settings[CharLM]
  samples = model.generate(
    model.params,
    page.prompt,
    length=page.length,
    samples=page.samples,
    seed=settings[Training].seed,
    temperature=page.temperature,
    top_k=page.top_k,
    top_p=page.top_p,
    stop=page.stop,
  )
  print(_shown(samples), end="")
  return samples


def _shown(samples: list[str]) -> str:
  return "\n---\n".join(sample.strip("\n") for sample in samples) + "\n"


def _score(settings: Settings) -> None:
  model, settings = modes.opened(settings)
  file, vocabulary = settings[CharLM].input, model.vocabulary
  _check_samples(settings, vocabulary)
  sentences = lines.read_lines(given(file), f"--input={file}", vocabulary.tokenizer)
  if not sentences:
    raise BadInput(f"input={file} holds no line to score: give some text")
  scores = model.score(model.params, sentences, context=settings[CharLM].prompt)
  result({"sentences": likelihoods.tell(sentences, scores)}, settings[Folder].json)


PAGE = Page(
  "charlm",
  main,
  (
    CharLM,
    Text,
    Batches,
    Adaptation,
    Architecture,
    Transformer,
    Penalties,
    Precision,
    Truncation,
    Online,
    Training,
    Watching,
    Transfer,
    Folder,
    Processes,
    Arms,
  ),
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
