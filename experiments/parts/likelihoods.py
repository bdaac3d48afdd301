"""How likely a model finds sentences: shown, a line each."""

import math
from collections.abc import Sequence
from typing import Any

from unroll.data import text
from unroll.metrics import perplexity
from unroll.score import Scores


def tell(sentences: Sequence[str], scores: Scores) -> list[dict[str, Any]]:
  """Prints the scores of sentences; returns them as JSON has them."""
  # A blank line has no token, and so no perplexity.
  rows: list[dict[str, Any]] = [
    {
      "text": sentence,
      "log_prob": float(p),
      "tokens": int(n),
      "perplexity": perplexity(-float(p) / int(n)) if n else math.nan,
    }
    for sentence, p, n in zip(sentences, scores.log_prob, scores.count)
  ]
  print("log_prob\ttokens\tperplexity\ttext")
  for row in rows:
    numbers = f"{row['log_prob']:.4f}\t{row['tokens']}\t{row['perplexity']:.4f}"
    print(f"{numbers}\t{text.one_line(row['text'])}")
  return rows
