"""What a classifier got right, as sums: accuracy, confusion, calibration."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from unroll.metrics import ACCURACY, Measure, cross_entropy, mean_of
from unroll.types import Array, Sums

BINS = 15  # of confidence, as in Guo et al. 2017


def errors(
  logits: Array, targets: Array, weight: Array
) -> tuple[Sums, dict[str, Sums]]:
  """The cross-entropy in nats by weight, and what counts every label once.

  Args:
    logits: `[B, C]`.
    targets: `[B]`, below C.
    weight: `[B]`, 0 at padding.

  Returns:
    The loss, and "accuracy"; "confusion", whose total `[C, C]` counts labels by what
    they are and what they were taken for; "confidence" and "hits", the probability of
    the chosen label and whether it was right by bins of that probability `[BINS]`.
  """
  loss = cross_entropy(logits, targets, weight)
  classes = logits.shape[-1]
  there = (weight > 0).astype(jnp.float32)
  chosen = logits.argmax(-1)
  right = (chosen == targets).astype(jnp.float32) * there
  truth = jax.nn.one_hot(targets, classes, dtype=jnp.float32) * there[:, None]
  taken = jax.nn.one_hot(chosen, classes, dtype=jnp.float32)
  sure = jax.nn.softmax(logits.astype(jnp.float32)).max(-1)
  place = jnp.clip(jnp.ceil(sure * BINS).astype(jnp.int32) - 1, 0, BINS - 1)
  bins = jax.nn.one_hot(place, BINS, dtype=jnp.float32) * there[:, None]
  count = there.sum()
  # Whole numbers, exact in float32 up to 2^24 and as products at the highest precision.
  confusion = jnp.einsum("bi,bj->ij", truth, taken, precision="highest")
  by_bin = bins.sum(0)
  return loss, {
    "accuracy": Sums(right.sum(), count),
    "confusion": Sums(confusion, count),
    "confidence": Sums((bins * sure[:, None]).sum(0), by_bin),
    "hits": Sums((bins * right[:, None]).sum(0), by_bin),
  }


class Scores(NamedTuple):
  """How well each class is found, `[C]`; 0 where nothing counted.

  Attributes:
    precision: of those taken for the class, the share that are it.
    recall: of those that are the class, the share found.
    f1: the harmonic mean of both.
    support: how many are the class.
  """

  precision: NDArray
  recall: NDArray
  f1: NDArray
  support: NDArray


def scores(confusion: NDArray) -> Scores:
  """The scores of a confusion matrix `[C, C]`, truth by prediction."""
  confusion = np.asarray(confusion, np.float64)
  right, taken, support = np.diag(confusion), confusion.sum(0), confusion.sum(1)
  precision = right / np.maximum(taken, 1)
  recall = right / np.maximum(support, 1)
  f1 = 2 * right / np.maximum(taken + support, 1)
  return Scores(precision, recall, f1, support)


def macro_f1(sums: Mapping[str, Sums]) -> float:
  """The mean F1 of the classes that are there or were predicted."""
  confusion = np.asarray(sums["confusion"].total)
  there = (confusion.sum(0) + confusion.sum(1)) > 0
  return float(scores(confusion).f1[there].mean()) if there.any() else 0.0


def calibration_error(sums: Mapping[str, Sums]) -> float:
  """The mean distance of confidence from accuracy over the bins (Guo et al. 2017)."""
  sure, right = (np.asarray(sums[name].total) for name in ("confidence", "hits"))
  count = np.asarray(sums["hits"].count).sum()
  return float(np.abs(sure - right).sum() / np.maximum(count, 1))


MEASURES = (
  ACCURACY,
  Measure("loss", "nats", "lower", mean_of("loss")),
  Measure("macro_f1", "", "higher", macro_f1, form=".4f", drawn=False),
  Measure("calibration_error", "", "lower", calibration_error, form=".4f", drawn=False),
)
