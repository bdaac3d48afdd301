"""Influence balancing: a task on which gradients that are cut short diverge.

  python -m experiments.balancing
  python -m experiments.balancing --schemes=tbptt:1,41,rtrl,uoro --steps=100000

One number θ moves 23 units, whose effect on the loss is first of one sign and, some
forty steps later, of the other (Tallec & Ollivier 2018). Each scheme goes down its
gradient from θ = 0.5; the loss is least at -1/6. Prints where each of them ends, and
draws the way.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from experiments.session import door
from experiments.session.settings import Page, Settings
from experiments.session.terminal import extra, result
from unroll import gradients, scan
from unroll.diagnose import influence_balancing
from unroll.report.balancing import balancing
from unroll.settings import setting
from unroll.types import Array, BadInput, Sums

LEAST = -1 / 6  # where the loss is least
FAR = 1.0  # beyond which θ is taken to diverge


@dataclass(frozen=True)
class Balancing:
  """Influence balancing"""

  schemes: str = setting(
    "tbptt:1,1,tbptt:1,10,tbptt:1,40,tbptt:1,41,tbptt:1,100,rtrl,uoro,artbp:20",
    "truncation schemes, each as charlm has them",
  )
  steps: int = setting(200_000, "steps of the system", least=1)
  learning_rate: float = setting(
    3e-5, "of a step at first; it falls as 1 / √(1 + step / 1,000)", least=0
  )
  seed: int = setting(0, "of what a scheme draws", least=0, most=2**31 - 2)
  picture: str = setting(
    "balancing.png", "the file to draw into; empty: none", kind="path"
  )
  json: bool = setting(False, "ends standard output with one JSON object")


class Way(NamedTuple):
  """θ after so many steps of the system: `[N]` each."""

  steps: NDArray[np.int64]
  theta: NDArray[np.float64]


class Batch(NamedTuple):
  """Steps of the system, `[T, 1]`: which are there."""

  valid: Array


def main(settings: Settings) -> None:
  """Follows every scheme, prints where it ends, draws."""
  chosen = settings[Balancing]
  specs = gradients.listed(chosen.schemes)
  schemes = {spec: gradients.named_scheme(spec) for spec in specs}
  for spec, scheme in schemes.items():
    if scheme.cell:
      raise BadInput(f"schemes={spec} is for gated cells, not this system: drop it")
  with jax.enable_x64(True):
    ways = {spec: _followed(scheme, chosen) for spec, scheme in schemes.items()}
  told = {}
  for spec, way in ways.items():
    end = float(way.theta[-1])
    gone = not math.isfinite(end) or abs(end) > FAR
    told[spec] = {"theta": None if gone else end, "diverged": gone}
    print(f"{spec:12} {'diverges' if gone else f'θ = {end:.4f}'}")
  print(f"the least loss is at θ = {LEAST:.4f}")
  if chosen.picture:
    with extra(Path(chosen.picture)):
      balancing(ways, LEAST, chosen.picture)
      print(chosen.picture)
  result({"schemes": told, "least": LEAST}, chosen.json)


def _loss(backward: scan.Backward) -> gradients.ChunkLoss:
  cell = influence_balancing()

  def loss(theta, carry, batch: Batch):
    xs = jnp.zeros((*batch.valid.shape, 1), theta.dtype)
    carry, ys = scan.unroll(
      cell, theta, carry, xs, valid=batch.valid, backward=backward
    )
    each = jnp.where(batch.valid, jnp.square(ys[..., 0] - 1) / 2, 0)
    sums = Sums(
      jnp.sum(each).astype(jnp.float32), jnp.sum(batch.valid).astype(jnp.float32)
    )
    return sums.total / jnp.maximum(sums.count, 1), (carry, {"loss": sums})

  return loss


def _followed(scheme: gradients.Scheme, chosen: Balancing) -> Way:
  """θ along the gradients of a scheme."""
  cell, loss = influence_balancing(), _loss(scheme.backward)
  estimator, chunks = scheme.estimator(loss), scheme.chunks
  length = chunks.length or chosen.steps
  lengths = np.full(-(-chosen.steps // length), length)
  if chunks.lengths:
    lengths = chunks.lengths(np.random.default_rng(chosen.seed), chosen.steps)
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), chosen.steps) + 1]
  ends = np.cumsum(lengths)
  size = chunks.overlap + length

  @jax.jit
  def run(theta: Array, key: Array) -> Array:
    carry = cell.carry(theta, 1)
    example = Batch(jnp.ones((size, 1), bool))
    memory = estimator.init(theta, carry, example)

    def one(number: Array, state: Any) -> Any:
      theta, carry, memory, thetas = state
      new, end = news[number], ends_of[number]
      there = jnp.arange(size) < chunks.overlap + new
      own = jax.random.fold_in(key, number)
      made = estimator.estimate(theta, carry, memory, Batch(there[:, None]), own)
      rate = chosen.learning_rate / jnp.sqrt(1 + end / 1000)
      theta = theta - rate * new.astype(theta.dtype) * made.grads
      return theta, made.carry, made.memory, thetas.at[number].set(theta)

    news, ends_of = jnp.asarray(lengths), jnp.asarray(ends, float)
    state = (theta, carry, memory, jnp.zeros(len(ends)))
    return jax.lax.fori_loop(0, len(ends), one, state)[-1]

  theta = cell.init(jax.random.key(0))
  return Way(ends, np.asarray(run(theta, jax.random.key(chosen.seed))))


PAGE = Page("balancing", main, (Balancing,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
