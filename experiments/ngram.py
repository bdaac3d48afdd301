"""An n-gram model of text: count, evaluate, sample, score; ARPA files in and out.

  python -m experiments.ngram --corpus=tinyshakespeare --order=7
  python -m experiments.ngram --corpus=ptb --tokenizer=word --sentences=lines
  python -m experiments.ngram --mode=export --workdir=RUN --arpa=model.arpa
  python -m experiments.ngram --mode=score --arpa=model.arpa --tokenizer=whitespace

It has the corpora, vocabularies and splits of experiments.charlm: a floor for the
perplexities of neural models, in seconds.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.parts import likelihoods, ngrams, text
from experiments.parts.ngrams import MEASURES
from experiments.parts.text import Corpus, Dataset
from experiments.session import door, folder, identity
from experiments.session.folder import Folder
from experiments.session.output import as_json
from experiments.session.settings import Page, Settings
from experiments.session.terminal import extra, given, result, say
from unroll import files, loading
from unroll.data import text as lines
from unroll.data import tokens
from unroll.data.vocabulary import VOCABULARY, Vocabulary
from unroll.metrics import Measure
from unroll.models.ngrams import NGrams, made, sentences
from unroll.ngram import counts, saved, written
from unroll.ngram.backoff import Backoff
from unroll.ngram.model import Model
from unroll.ngram.sentences import Sentences
from unroll.records import METRICS
from unroll.report.page import page
from unroll.serving import counted
from unroll.settings import setting
from unroll.types import BadInput

ORDERS, ZIPF = "orders.txt", "zipf.png"  # in a run's folder


@dataclass(frozen=True)
class NGram:
  """n-gram model"""

  mode: str = setting(
    "train",
    "what to do",
    choices=("train", "eval", "sample", "score", "export"),
    role="call",
  )
  arpa: str = setting(
    "",
    "an ARPA file: --mode=export writes it; eval, sample and score read it in place of "
    "a run",
    kind="path",
    role="call",
  )
  prompt: str = setting(
    "",
    "text that samples continue and scores are given; a line break if empty",
    role="call",
  )
  length: int = setting(400, "tokens of a sample", least=1, role="call")
  temperature: float = setting(
    1.0, "temperature of samples; 0: the likeliest token", least=0, role="call"
  )
  samples: int = setting(1, "how many samples", least=1, role="call")
  seed: int = setting(0, "of the samples; counting draws nothing", least=0, role="call")
  input: str = setting(
    "-",
    "file that --mode=score reads, a line a sentence; -: standard input",
    kind="path",
    role="call",
  )


class Product(NamedTuple):
  """What a run's folder is known by; see `folder.Kept`."""

  data: str
  splits: dict[str, int]
  files: dict[str, str]
  model: str = "ngram"
  shows: tuple[str, ...] = (ORDERS, ZIPF, saved.NAME)
  measures: tuple[Measure, ...] = MEASURES


class Opened(NamedTuple):
  """A model to use: of a run, or of an ARPA file."""

  model: Model
  vocabulary: Vocabulary
  sentences: Sentences
  settings: Settings


def main(settings: Settings) -> None:
  """Counts, evaluates, samples, scores or exports, as `mode` says."""
  ngrams.check(settings)
  if "checkpoint" in settings.given:
    raise BadInput(f"{settings.shown('checkpoint')}: an n-gram model has none: drop it")
  modes = {
    "train": _train,
    "eval": _evaluate,
    "sample": _sample,
    "score": _score,
    "export": _export,
  }
  modes[settings[NGram].mode](settings)


def _train(settings: Settings) -> None:
  if settings[NGram].arpa:
    raise BadInput(f"{settings.shown('arpa')}: mode=export writes it, of a trained run")
  began = time.perf_counter()
  data = text.load(settings[Corpus])
  product = _product(data)
  folder.check(settings, product)
  how = sentences(settings[NGrams], data.vocabulary)
  start = time.perf_counter()
  stream = how.to_count(data.tokens["train"])
  counted = counts.count(stream, settings[NGrams].order, how.size)
  model, discounts = made(settings[NGrams], counted, say)
  seconds = time.perf_counter() - start
  found = ngrams.judged(model, how, data, ("val",))
  path = folder.prepare(settings, product)
  table = ngrams.table(counted, discounts)
  saved.write(counted, path / saved.NAME)
  files.write(path / ORDERS, table)
  files.write(path / METRICS, as_json({"step": 1, **found}) + "\n")
  with extra(path / ZIPF):
    ngrams.draw(counted, f"Zipf's law, {settings[Corpus].corpus}", path / ZIPF)
  summary = {
    "parameters": int(sum(map(np.count_nonzero, counted.counts))),
    "tokens": int(data.tokens["train"].size),
    "count_seconds": round(seconds, 3),
    "seconds": round(time.perf_counter() - began, 2),
    **found,
    "finished": True,
    "workdir": str(path),
  }
  command, shows = folder.command(settings), (ORDERS, ZIPF)
  with extra(path / "report.html"):
    page(path, command=command, summary=summary, measures=MEASURES, shows=shows)
  shown = ", ".join(measure.shown(found[f"val/{measure.name}"]) for measure in MEASURES)
  print(f"{table}counted and smoothed in {seconds:.2f} s: {path}\nvalidation: {shown}")
  result(summary, settings[Folder].json)


def _product(data: Dataset) -> Product:
  splits = {split: tokens.size for split, tokens in data.tokens.items()}
  return Product(data.digest, splits, {VOCABULARY: data.vocabulary.to_json()})


def _opened(settings: Settings) -> Opened:
  """The model of `arpa` or else of `workdir`, with the settings that it has."""
  page = settings[NGram]
  if page.arpa and page.mode != "export":
    if settings[Folder].workdir:
      raise BadInput("give `workdir` or `arpa`, not both: each is a model")
    corpus = settings[Corpus]
    vocabulary, model = ngrams.read(Path(page.arpa), corpus.tokenizer, corpus.normalize)
  else:
    path, settings = folder.existing(settings)
    kept = loading.texts(path, identity.read(path, settings.page)["files"])
    vocabulary = tokens.from_json(kept[VOCABULARY])
    counted = saved.read(path / saved.NAME)
    model = made(settings[NGrams], counted, lambda said: None).model
  how = sentences(settings[NGrams], vocabulary)
  return Opened(model, vocabulary, how, settings)


def _evaluate(settings: Settings) -> None:
  """The validation split, and the test split where there is one."""
  model, vocabulary, how, settings = _opened(settings)
  data = text.load(settings[Corpus], vocabulary)
  where = settings[NGram].arpa or settings[Folder].workdir
  if not settings[NGram].arpa:
    path = Path(where)
    kept = identity.read(path, settings.page)
    identity.check_data(path, kept, _product(data), settings)
  found = ngrams.judged(model, how, data, ("val", "test"))
  for name, value in found.items():
    print(f"{name:24} {value:{'.4f' if isinstance(value, float) else 'd'}}")
  result({**found, "model": where}, settings[Folder].json)


def _sample(settings: Settings) -> None:
  model, vocabulary, how, settings = _opened(settings)
  page = settings[NGram]
  samples = counted.functions(vocabulary, how).generate(
    model,
    page.prompt,
    length=page.length,
    samples=page.samples,
    seed=page.seed,
    temperature=page.temperature,
  )
  print("\n---\n".join(one.strip("\n") for one in samples))
  result({"samples": samples}, settings[Folder].json)


def _score(settings: Settings) -> None:
  model, vocabulary, how, settings = _opened(settings)
  page, file = settings[NGram], settings[NGram].input
  texts = lines.read_lines(given(file), f"--input={file}", vocabulary.tokenizer)
  if not texts:
    raise BadInput(f"input={file} holds no line to score: give some text")
  answers = counted.functions(vocabulary, how)
  scores = answers.score(model, texts, context=page.prompt)
  result({"sentences": likelihoods.tell(texts, scores)}, settings[Folder].json)


def _export(settings: Settings) -> None:
  if not settings[NGram].arpa:
    raise BadInput("mode=export needs `arpa`, the file to write")
  model, vocabulary, _, settings = _opened(settings)
  if not isinstance(model, Backoff):
    raise BadInput(
      f"{settings.shown('smoothing')} is no model that backs off, which is all that an "
      "ARPA file holds: train with another smoothing"
    )
  path = Path(settings[NGram].arpa)
  end = ngrams.line_end(vocabulary.tokenizer)
  written.write(model, vocabulary.tokens, path, end)
  result({"arpa": str(path)}, settings[Folder].json)


PAGE = Page("ngram", main, (NGram, NGrams, Corpus, Folder))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
