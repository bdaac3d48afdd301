"""n-gram models beside nltk's: seconds and memory to count, seconds to score.

  python -m bench.ngram --corpus=ptb --tokenizer=word --order=3

Both have the tokens of the training text as one array or list, count all n-grams up to
`order`, and give interpolated Kneser–Ney probabilities of the validation text with one
discount of 0.75: ours of all of it, nltk of its first `scored` tokens, each of which
takes it a tenth of a second or more. The perplexity is that of those tokens. Each
library has a process to itself, and the memory is what that adds to its tokens.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.parts import text
from experiments.parts.text import Corpus
from experiments.session import door
from experiments.session.settings import Page, Settings
from unroll.ngram.counts import count
from unroll.ngram.estimates import discounted
from unroll.ngram.sentences import Sentences
from unroll.settings import setting
from unroll.types import BadInput

DISCOUNT = 0.75
STATUS = Path("/proc/self/status")
# Tokens -> the log-probability of each but the first.
Score = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Race:
  """Race of n-gram libraries"""

  order: int = setting(3, "n, the tokens of the longest n-grams", least=1, most=10)
  scored: int = setting(200, "tokens that nltk scores", least=2)
  repeat: int = setting(3, "processes a library, in turn; the fastest counts", least=1)


def main(settings: Settings) -> None:
  """Runs each library in turn, and prints a table."""
  race, data = settings[Race], text.load(settings[Corpus])
  train, val = data.tokens["train"], data.tokens["val"]
  with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "tokens.npz")
    np.savez(path, train=train, val=val, size=len(data.vocabulary))
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in LIBRARIES}
    for _ in range(race.repeat):
      for name, found in runs.items():
        found.append(_child(name, path, race))
  print(f"{train.size:,d} tokens, {len(data.vocabulary):,d} kinds, order {race.order}")
  print(f"{'':8} {'count, s':>9} {'MiB':>7} {'score, tokens/s':>16} {'perplexity':>11}")
  for name, found in runs.items():
    seconds, memory = (min(one[key] for one in found) for key in ("seconds", "memory"))
    speed = max(one["speed"] for one in found)
    perplexity = found[0]["perplexity"]
    print(f"{name:8} {seconds:9.3f} {memory:7.0f} {speed:16,.0f} {perplexity:11.2f}")


def _child(name: str, path: Path, race: Race) -> dict[str, Any]:
  """What one library takes, in a new process."""
  arguments = [name, str(path), str(race.order), str(race.scored)]
  command = [sys.executable, "-c", "from bench import ngram; ngram.child()", *arguments]
  done = subprocess.run(command, capture_output=True, text=True)
  if done.returncode:
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    raise BadInput(
      f"{name} cannot be raced: {said}; pip install -e '.[peers]' brings it"
    )
  return json.loads(done.stdout.splitlines()[-1])


def child() -> None:
  """Counts and scores in this process, and prints what that took."""
  name, path, order, scored = sys.argv[1:]
  with np.load(path) as arrays:
    train, val, size = arrays["train"], arrays["val"], int(arrays["size"])
  make = LIBRARIES[name](train, size, int(order))
  before = _memory("VmRSS")
  start = time.perf_counter()
  score = make()
  seconds = time.perf_counter() - start
  memory = _memory("VmHWM") - before
  if name != "unroll":
    val = val[: int(scored)]
  start = time.perf_counter()
  log_probs = score(val)
  speed = log_probs.size / (time.perf_counter() - start)
  perplexity = float(np.exp(-log_probs[: int(scored) - 1].mean()))
  found = {"seconds": seconds, "memory": memory, "speed": speed}
  print(json.dumps({**found, "perplexity": perplexity}))


def _memory(name: str) -> float:
  """MiB of this process, as Linux tells of it."""
  (line,) = (one for one in STATUS.read_text().splitlines() if one.startswith(name))
  return int(line.split()[1]) / 1024


def _unroll(train: np.ndarray, size: int, order: int) -> Callable[[], Score]:
  how = Sentences(size)

  def make() -> Score:
    counts = count(how.to_count(train), order, size)
    model = discounted(counts, "kneser_ney", discount=[DISCOUNT]).model
    return lambda tokens: model.score(tokens)[1:]

  return make


def _nltk(train: np.ndarray, size: int, order: int) -> Callable[[], Score]:
  from nltk.lm import KneserNeyInterpolated, Vocabulary
  from nltk.util import everygrams

  words = [str(token) for token in train.tolist()]

  def make() -> Score:
    model = KneserNeyInterpolated(
      order, discount=DISCOUNT, vocabulary=Vocabulary(words)
    )
    model.fit([everygrams(words, max_len=order)])

    def score(tokens: np.ndarray) -> np.ndarray:
      text = [str(token) for token in tokens.tolist()]
      ends = range(1, len(text))
      each = [model.score(text[i], text[max(i - order + 1, 0) : i]) for i in ends]
      return np.log(each)

    return score

  return make


LIBRARIES = {"unroll": _unroll, "nltk": _nltk}
PAGE = Page("ngram", main, (Race, Corpus))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
