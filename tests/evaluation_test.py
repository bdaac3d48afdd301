"""Evaluations: numbers by name, and memory that does not grow with a split."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import charlm
from experiments.parts import text
from experiments.session.alone import Alone
from experiments.session.evaluation import numbers
from experiments.session.pieces import Pieces
from experiments.session.settings import Settings
from experiments.session.task import Evaluation, Size, Task
from unroll import remat
from unroll.data.vocabulary import Vocabulary
from unroll.metrics import Measure, mean_of
from unroll.models.language import next_token_loss
from unroll.types import Sums

LOSS = Measure("loss", "nats", "lower", mean_of("loss"))
RIGHT = Measure("accuracy", "", "higher", mean_of("right"))
SHARE = Measure(
  "loss_each", "", "lower", lambda sums: mean_of("loss")(sums) * mean_of("each")(sums)
)
BLEU = Measure("bleu", "", "higher", mean_of("nothing of this name"))


def task(measures, judge=None):
  sources = {"long": None, "short": None}
  facts = {"each": Sums(6.0, 2.0)}
  return Task(
    *(None, None, None, None),
    evaluations={"val": Evaluation(sources, facts)},
    measures=measures,
    size=Size(1, 1, 1.0),
    data="",
    model="",
    judge=judge,
  )


def test_numbers_are_those_of_the_first_source_and_the_first_measure_of_each():
  sums = {
    "long": {"loss": Sums(3.0, 4.0), "right": Sums(1.0, 4.0)},
    "short": {"loss": Sums(5.0, 4.0), "right": Sums(3.0, 4.0)},
  }
  found = numbers(task((LOSS, RIGHT, SHARE)), "val", sums, None)
  assert found == {
    "val/loss_long": 0.75,
    "val/loss_short": 1.25,
    "val/loss": 0.75,
    "val/accuracy": 0.25,
    "val/loss_each": 2.25,
  }
  best = numbers(task((RIGHT, LOSS)), "val", sums, None)
  assert best == {
    "val/accuracy_long": 0.25,
    "val/accuracy_short": 0.75,
    "val/accuracy": 0.25,
    "val/loss": 0.75,
  }


def test_a_judge_on_the_host_gives_the_numbers_that_sums_cannot():
  sums = {name: {"loss": Sums(3.0, 4.0)} for name in ("long", "short")}
  judge = lambda params, split: {"bleu": params["score"] + len(split)}  # noqa: E731
  found = numbers(task((BLEU, LOSS), judge), "val", sums, {"score": 20.0})
  assert found == {"val/bleu": 23.0, "val/loss": 0.75}


# What an evaluation takes beside the sequence itself.


def resident():
  return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def evaluated(size):
  """The bytes that evaluating so many tokens takes at the most, and the numbers."""
  vocabulary = Vocabulary.build("abcdefgh" * 9)
  settings = Settings.of(
    charlm.PAGE, hidden=(8,), layers=1, embedding=8, devices="1", eval_window=64
  )
  tokens = np.random.default_rng(0).integers(0, len(vocabulary), size, dtype=np.int32)
  facts = dict.fromkeys(("tokens_per_char", "tokens_per_byte"), Sums(size, size))
  data = text.Dataset(vocabulary, {"train": tokens, "val": tokens}, {"val": facts}, "")
  model = charlm._model(settings, vocabulary)
  made = text.task(
    settings,
    data,
    model,
    kind="language",
    loss=next_token_loss,
    train=text.lanes,
    sources={"streamed": text.evaluation_lanes, "windowed": text.evaluation_windows},
  )
  place = Alone(settings, made.size)
  params = made.init(jax.random.key(0))
  evaluate = place.evaluator(Pieces.of(made, settings, remat.NONE), "val")
  before = peak = resident()
  done = False

  def watch():
    nonlocal peak
    while not done:
      peak = max(peak, resident())
      time.sleep(0.005)

  watching = threading.Thread(target=watch)
  watching.start()
  found = evaluate(params)
  done = True
  watching.join()
  return peak - before, found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_split():
  def taken(size):
    script = f"import evaluation_test as e; print(e.evaluated({size})[0])"
    done = subprocess.run(
      [sys.executable, "-c", script],
      cwd=Path(__file__).parent,
      env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
      stdout=subprocess.PIPE,
      check=True,
    )
    return int(done.stdout)

  small, large = taken(10**6), taken(2 * 10**7)
  assert large < small + 60e6  # the sequence alone takes 80 MB


def test_a_split_of_many_dispatches_is_one_of_one(monkeypatch):
  from unroll.data import prefetch

  whole = evaluated(20_000)[1]
  monkeypatch.setattr(prefetch, "MOST", 20_000)
  cut = evaluated(20_000)[1]
  assert cut == pytest.approx(whole, rel=1e-6) and cut.keys() == whole.keys()
