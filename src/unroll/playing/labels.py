"""What the server of a page answers of texts: labels, and words with labels."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from unroll import crf
from unroll.data import text as text_lib
from unroll.data.classes.reader import Reader
from unroll.data.conll import Sentence
from unroll.data.lexicon import Lexicon, batches
from unroll.data.powers import Powers
from unroll.loading import Loaded
from unroll.models.built import LEXICON
from unroll.models.tagger import Tagger
from unroll.types import BadInput

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]
MOST = 100_000  # characters of a text
SHOWN = 50  # labels of a text
OF_WORD = 5  # labels of a word
LINES, WORDS = 32, 512  # sentences at once, and words of each


def text_of(given: Mapping[str, Any]) -> str:
  """The text of `{"text": …}`.

  Raises:
    BadInput: there is none, or it is too long.
  """
  text = given.get("text")
  if not isinstance(text, str) or not text.strip():
    raise BadInput("text: there is none; give some")
  if len(text) > MOST:
    raise BadInput(f"text: it has {len(text)} characters; give at most {MOST}")
  return text.encode("utf-8", "replace").decode()


def classifying(loaded: Loaded) -> Answer:
  """`{"text": …}` -> `{"labels": [[label, probability], …]}`, the likeliest first.

  Raises:
    BadInput: the model reads no texts.
  """
  reader = Reader.from_files(loaded.files)
  if reader.vocabulary is None:
    raise BadInput(
      "this run labels sounds, pictures or series: a page takes texts only"
    )

  def answer(given: Mapping[str, Any]) -> dict[str, Any]:
    [chances] = loaded.predict(loaded.params, [text_of(given)])
    order = np.argsort(-chances, kind="stable")[:SHOWN]
    return {"labels": [[reader.classes[i], float(chances[i])] for i in order]}

  return answer


def tagging(loaded: Loaded) -> Answer:
  """`{"text": …}` -> `{"sentences": [[{"word", "labels"}, …], …]}`, one a line.

  The first label of a word is the answer, that of the best path; then come others, each
  `[label, probability]`.
  """
  lexicon = Lexicon.from_json(loaded.files[LEXICON], LEXICON)
  split = text_lib.tokenizer("word").split

  def answer(given: Mapping[str, Any]) -> dict[str, Any]:
    lines = [line for line in text_of(given).splitlines() if line.strip()]
    words = [[word for word in split(line) if word != text_lib.EOS] for line in lines]
    words = [line for line in words if line]
    if not words:
      raise BadInput("text: it holds no word; give a sentence")
    if len(words) > LINES or max(map(len, words)) > WORDS:
      raise BadInput(f"text: give at most {LINES} lines of {WORDS} words each")
    best = loaded.predict(loaded.params, words)
    rows = _chances(loaded, lexicon, words)
    return {
      "sentences": [
        [
          {"word": word, "labels": _ranked(lexicon.labels, label, row)}
          for word, label, row in zip(*line)
        ]
        for line in zip(words, best, rows)
      ]
    }

  return answer


def _ranked(labels: Sequence[str], first: str, row: Any) -> list[list[Any]]:
  """An answer and its probability, and then the likeliest others."""
  found = {labels[i]: float(row[i]) for i in np.argsort(-row, kind="stable")}
  others = [[name, p] for name, p in found.items() if name != first]
  return [[first, found[first]], *others[: OF_WORD - 1]]


def _chances(loaded: Loaded, lexicon: Lexicon, words: Sequence[Sequence[str]]):
  """The probabilities of the labels of each word, `[T, N]` of each sentence."""
  sentences = [Sentence(tuple(line), (), ()) for line in words]
  lengths = [*map(len, words)]
  source = Powers(lengths, batches(lexicon, sentences), LINES)
  found: list[Any] = [None] * len(words)
  for number, batch in enumerate(source):
    given = jax.device_put((batch.inputs, batch.valid))
    chances = np.asarray(_labels(loaded.module)(loaded.params, *given))
    for column, row in enumerate(source.chosen(number).tolist()):
      if row >= 0:
        found[row] = chances[: lengths[row], column]
  return found


@lru_cache(maxsize=16)  # so that the same model is the same program
def _labels(module: Tagger) -> Callable[..., Any]:
  def chances(module: Tagger, inputs: Any, valid: Any) -> Any:
    scores = module(inputs, None, valid)
    if not module.crf:
      return jax.nn.softmax(scores)
    return crf.marginals(module.transitions(), scores, valid)

  return jax.jit(
    lambda params, inputs, valid: module.apply(params, inputs, valid, method=chances)
  )
