"""An n-gram model: how texts go on, and how likely they are, by counting."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unroll.data.vocabulary import Vocabulary
from unroll.ngram.model import Model
from unroll.ngram.sample import sample
from unroll.ngram.sentences import Sentences
from unroll.score import Scores
from unroll.serving.value import Functions


def functions(vocabulary: Vocabulary, sentences: Sentences) -> Functions:
  """What an n-gram model answers; its parameters are a `Model`.

  `predict(params, texts)`: float64 `[N, V]`, the probabilities of the token after each
  text.

  `generate(params, prompt="", *, length=400, samples=1, seed=0, temperature=1.0)`:
  texts that begin with the prompt, and have `length` tokens more.

  `score(params, texts, *, context="")`: the log-probability of each text as if it alone
  followed the context, and its tokens.

  Without a prompt or context a text follows a line break, or begins a sentence where
  lines are sentences.

  Args:
    vocabulary: of its tokens.
    sentences: where they begin.
  """

  def opening(text: str) -> NDArray[np.int32]:
    running = sentences.end is None
    return vocabulary.encode(text or ("\n" if running else ""))

  def predict(params: Model, texts: Sequence[str]) -> NDArray[np.float64]:
    found = np.zeros((len(texts), len(vocabulary)))
    for row, text in enumerate(texts):
      found[row] = np.exp(params.next(sentences.context(opening(text)).tolist()))
    return found

  def generate(
    params: Model,
    prompt: str = "",
    *,
    length: int = 400,
    samples: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
  ) -> list[str]:
    start, generator = opening(prompt).tolist(), np.random.default_rng(seed)
    unknown, found = vocabulary.unknown, []
    for _ in range(samples):
      drawn = sample(
        params,
        sentences,
        start,
        generator,
        length=length,
        temperature=temperature,
        forbid=() if unknown is None else (unknown,),
      )
      found.append(vocabulary.decode([*start, *drawn]))
    return found

  def score(params: Model, texts: Sequence[str], *, context: str = "") -> Scores:
    before = opening(context)
    log_probs, counts = np.zeros(len(texts)), np.zeros(len(texts), np.int32)
    for row, text in enumerate(texts):
      ids = np.append(before, vocabulary.encode(text))
      if sentences.end is not None:
        ids = np.append(ids, sentences.end)
      stream = sentences.to_score(ids)
      counts[row] = count = ids.size - before.size
      log_probs[row] = params.score(stream)[stream.size - count :].sum()
    return Scores(log_probs, counts)

  return Functions(predict, generate, score)
