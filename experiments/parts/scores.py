"""Scores as settings choose them, and how likely a model finds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from experiments.session.task import Evaluation
from experiments.session.terminal import warn
from unroll.data.music import named
from unroll.data.music.frames import frames
from unroll.data.music.rolls import Roll
from unroll.data.music.scores import SPLIT, load
from unroll.data.music.scores import Scores as Scored
from unroll.layers import initial_carry
from unroll.metrics import Measure, mean_of
from unroll.models.music import RollModel, roll_loss
from unroll.settings import setting
from unroll.types import Params, Sums, added

ROWS = 16  # pieces side by side in an evaluation

MEASURES = (
  Measure("loss", "nats a step", "lower", mean_of("loss")),
  Measure(
    "pieces",
    "nats a step",
    "lower",
    mean_of("pieces"),
    label="in the mean of pieces",
    drawn=False,
  ),
)


@dataclass(frozen=True)
class Scores:
  """Scores"""

  scores: str = setting(
    "jsb_chorales",
    f"the pieces: {', '.join(named.SCORES)}, a .json or .mat file in their layout, or "
    "a folder of MIDI files",
    kind="path",
    role="data",
  )
  grid: int = setting(
    0,
    "steps of a beat; 0: as is known of the scores, and 4 of MIDI files",
    least=0,
    most=96,
  )
  split: str = setting(
    "",
    "train,val[,test] as fractions of MIDI pieces; empty: the split that is there, or "
    f"{SPLIT}",
  )

  def load(self) -> Scored:
    """The scores, read: see `scores.load`."""
    return load(self.scores, grid=self.grid, split=self.split, warn=warn)


def evaluation(pieces: Sequence[Roll]) -> Evaluation:
  """How a part is evaluated: "continued" as in the literature, and whole.

  In the literature the first step of a piece, which follows from nothing, does not
  count (Boulanger-Lewandowski et al. 2012; Bai et al. 2018).
  """
  ways = {"continued": False, "whole": True}
  return Evaluation(
    {
      name: frames(pieces, ROWS, first=first, shuffle=False, buckets=1)
      for name, first in ways.items()
    }
  )


def likelihoods(
  model: RollModel, params: Params, found: Evaluation
) -> dict[str, dict[str, Sums]]:
  """The sums of `roll_loss` over each source of a part."""
  loss = jax.jit(roll_loss(model))
  carry = initial_carry(model, params, 1)
  totals: dict[str, dict[str, Sums]] = {}
  for name, source in found.sources.items():
    totals[name] = {}
    for batch in source:
      _, (_, sums) = loss(params, carry, batch)
      totals[name] = added(totals[name], jax.device_get(sums))
  return totals


def by_key(train: Sequence[Roll], pieces: Sequence[Roll]) -> dict[str, Sums]:
  """The sums of a forecast by rule: how often each key follows itself, in training.

  p(a key sounds | whether it sounded a step before), by counting, plus one each.
  """

  def pairs(piece: Roll) -> tuple[np.ndarray, np.ndarray]:
    return piece[:-1], piece[1:]

  before, after = (np.concatenate(each) for each in zip(*map(pairs, train)))
  chances = [
    (np.sum((before == was) & (after == 1), axis=0) + 1)
    / (np.sum(before == was, axis=0) + 2)
    for was in (0, 1)
  ]
  nats = []
  for was, now in map(pairs, pieces):
    chance = np.where(was, chances[1], chances[0])
    nats.append(-np.log(np.where(now, chance, 1 - chance)).sum(-1))
  means = [piece.mean() for piece in nats]
  found = {"loss": np.concatenate(nats), "pieces": np.array(means)}
  return {
    name: Sums(np.sum(each), np.float64(each.size))  # type: ignore[arg-type]
    for name, each in found.items()
  }


def tell(
  found: Mapping[str, Mapping[str, Sums]], rule: Mapping[str, Sums], part: str
) -> None:
  """Prints the likelihoods of a part, of the model and of the forecast by rule."""
  rows = {
    "model": found["continued"],
    "model, with first steps": found["whole"],
    "each key by its last step": rule,
  }
  print(f"{part + ', nats a step':26} {'all steps':>10} {'mean of pieces':>15}")
  for name, sums in rows.items():
    numbers = (mean_of(key)(sums) for key in ("loss", "pieces"))
    print("{:26} {:10.4f} {:15.4f}".format(name, *numbers))
