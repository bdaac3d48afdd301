"""How large the gradient of one step's loss is at the carries before it, by lag.

It is a product of Jacobians, whose norm fades or grows about exponentially (Hochreiter
1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from unroll import states
from unroll.diagnose import probes
from unroll.types import Array, Cell, Params

FADED = 0.01  # of the norm at lag 0: what counts as forgotten


def norms_by_lag(
  loss: Callable[[Array], Array], cell: Cell, params: Params, steps: int, batch: int
) -> dict[str, Array]:
  """|dL_T/dcarry_{T-lag}| of B sequences, by lag and state, in one backward pass.

  carry_t is what step t reads, so that lag 0 is the carry that step T itself starts
  from. The loss at several T costs no more than at one: give each a sequence of its
  own. Time and memory are those of a training step of `[T, B]`, under `jax.jit`.

  Args:
    loss: of sinks `[T, B, N]`, see `probes`, to the sum over sequences of their losses
      at the last step, each of which reads no other sequence.
    cell: that is felt.
    params: its parameters.
    steps: T.
    batch: B.

  Returns:
    For each state by name, `[T, B]`, the lag from 0 to T - 1 first; the Euclidean norm
    over its units, in the unit of the loss per that of the state.
  """
  norms = jax.grad(loss)(probes.sinks(cell, params, steps, batch))[::-1]
  return {name: norms[..., at] for at, name in enumerate(states.sizes(cell, params))}


class Decay(NamedTuple):
  """How fast norms fade.

  Attributes:
    rate: the factor of a step in the exponential that fits best, by least squares of
      the logarithms; above 1 they grow. NaN where fewer than two are above zero.
    half_life: the steps in which that halves; infinite where it does not fade.
    memory: the smallest lag of which the norm, and all later ones, are at most 1 % of
      that of lag 0; None where none is.
  """

  rate: float
  half_life: float
  memory: int | None


def decay(norms: ArrayLike) -> Decay:
  """The decay of norms `[N]` by lag; those that are zero count for `memory` alone."""
  norms = np.asarray(norms, np.float64)
  there = np.flatnonzero(np.isfinite(norms) & (norms > 0))
  rate = math.nan
  if there.size > 1:
    rate = math.exp(np.polyfit(there, np.log(norms[there]), 1)[0])
  half_life = math.inf if rate >= 1 else -math.log(2) / math.log(rate)
  (held,) = np.nonzero(~(norms <= FADED * norms[0]))
  last = int(held[-1]) + 1 if held.size else 0
  return Decay(rate, half_life, last if last < norms.size else None)
