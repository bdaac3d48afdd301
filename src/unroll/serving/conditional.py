"""A model that ends in a decoder: what it writes, and how likely texts are to it."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from unroll.data.examples import Examples, padded
from unroll.data.powers import Powers
from unroll.score import Scores
from unroll.types import Params

ROWS = 64  # texts side by side


def scores(
  module: Any,
  params: Params,
  lengths: Sequence[int],
  given: Callable[[NDArray[np.int64], int], Any],
  targets: Sequence[NDArray[np.int32]],
) -> Scores:
  """log p of each target, and its tokens, with `<eos>`.

  Args:
    module: a `Conditional`.
    params: its parameters.
    lengths: the steps of what each target is of, `[N]`.
    given: (which of them `[B]`, steps) -> the inputs of `Examples`.
    targets: int32 `[T]` each, N of them.
  """
  found = np.zeros(len(targets), np.float32)
  longest = [max(pair) for pair in zip(lengths, map(len, targets), strict=True)]

  def made(rows: NDArray[np.int64], steps: int) -> Examples:
    wanted, real = padded(targets, rows, steps)
    return Examples(given(rows, steps), wanted, real.astype(np.float32), real)

  batches, log_probs = Powers(longest, made, ROWS), _log_probs(module)
  for number, batch in enumerate(batches):
    rows = batches.chosen(number)
    found[rows[rows >= 0]] = np.asarray(log_probs(params, jax.device_put(batch)))[
      rows >= 0
    ]
  return Scores(found, np.array([*map(len, targets)], np.int32))


@lru_cache(maxsize=16)  # so that the same model is the same program
def _log_probs(module: Any):
  return jax.jit(lambda params, batch: module.apply(params, batch, method="log_probs"))
