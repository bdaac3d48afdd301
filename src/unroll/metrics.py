"""Losses as sums and counts; what people read of them, measures, only at the end."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from unroll.types import Array, Better, Sums

# What a run's configuration keeps of its measures, for whoever shows its numbers.
SHOWN = ("name", "unit", "better", "form", "label", "drawn")


class Measure(NamedTuple):
  """A number that people read, made on the host of the sums of an evaluation.

  Attributes:
    name: what logs call it, after the split: "loss" as in "val/loss".
    unit: of the number; "" where it has none.
    better: which of two values is the better one.
    of: the number from sums by name, of floats or NumPy arrays.
    also: another unit and how many of it make one of `unit`, for a second axis.
    form: how the number is written, a format specification.
    label: what people call it; "" is name and unit.
    drawn: whether it has a panel of the curves; not one that another tells as well.
    logged: whether it is logged for every step of training, beside the loss.
    beside: a value to compare with and what it is, such as a trivial guess's: a line
      across the panel, which is logarithmic.
  """

  name: str
  unit: str
  better: Better
  of: Callable[[Mapping[str, Sums]], float]
  also: tuple[str, float] | None = None
  form: str = ",.3f"
  label: str = ""
  drawn: bool = True
  logged: bool = False
  beside: tuple[float, str] | None = None

  @property
  def title(self) -> str:
    """The name in words."""
    return self.name.replace("_", " ")

  def shown(self, value: float) -> str:
    """A value for people, such as "loss 1.305 nats"."""
    if self.label:
      return f"{value:{self.form}} {self.label}"
    return " ".join(filter(None, (self.title, f"{value:{self.form}}", self.unit)))

  def __str__(self) -> str:
    return self.label or ", ".join(filter(None, (self.title, self.unit)))


def mean_of(name: str) -> Callable[[Mapping[str, Sums]], float]:
  """`Measure.of` for the mean of a sum of scalars; 0 where nothing counted.

  float32 sums give a float32 quotient.
  """

  def mean(sums: Mapping[str, Sums]) -> float:
    # Not by `Sums.mean`, which would run a program on the device.
    return float(sums[name].total / np.maximum(sums[name].count, 1))

  return mean


def cross_entropy(logits: Array, targets: Array, weight: Array) -> Sums:
  """Cross-entropy in nats.

  Args:
    logits: `[T, B, V]`.
    targets: `[T, B]`, integers below V.
    weight: `[T, B]`, 0 where a target must not count.

  Returns:
    The weighted sum and the sum of weights.
  """
  if logits.dtype != jnp.float64:
    logits = logits.astype(jnp.float32)
  nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
  # `where`, not a product: what is not counted may be NaN.
  return Sums(jnp.sum(jnp.where(weight > 0, nats * weight, 0)), jnp.sum(weight))


def perplexity(nats: float) -> float:
  """exp of the mean cross-entropy in nats per token; inf where that overflows."""
  try:
    return math.exp(nats)
  except OverflowError:
    return math.inf


def bits_per_char(nats: float, tokens_per_char: float = 1.0) -> float:
  """Mean nats per token as bits per character of the text."""
  return nats * tokens_per_char / math.log(2)


_loss = mean_of("loss")

# Of a language model, whose loss is in nats a token. The bits need the Sums
# "tokens_per_char" and "tokens_per_byte" beside it: the tokens of the split, and how
# many characters and bytes they stand for.
NATS = Measure("loss", "nats", "lower", _loss, also=("bits", 1 / math.log(2)))
BITS_PER_CHAR = Measure(
  "bits_per_char",
  "bits",
  "lower",
  lambda sums: bits_per_char(_loss(sums), mean_of("tokens_per_char")(sums)),
  label="bits per character",
  drawn=False,
)
BITS_PER_BYTE = Measure(
  "bits_per_byte",
  "bits",
  "lower",
  lambda sums: bits_per_char(_loss(sums), mean_of("tokens_per_byte")(sums)),
  label="bits per byte",
  drawn=False,
)
PERPLEXITY = Measure(
  "perplexity",
  "",
  "lower",
  lambda sums: perplexity(_loss(sums)),
  form=",.2f",
  drawn=False,
)
# Of a classifier whose loss has the Sums "accuracy": what was right, of how many.
ACCURACY = Measure(
  "accuracy", "", "higher", mean_of("accuracy"), form=".4f", logged=True
)
