"""What is measured: the shapes of recurrent layers, and the work that they ask for."""

from typing import NamedTuple

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
CHARACTERS = 65  # of Tiny Shakespeare


class Shape(NamedTuple):
  """Recurrent layers and the sequences that they read.

  Attributes:
    batch: B, sequences side by side.
    steps: T.
    inputs: D, or the width of the embedding of a language model.
    hidden: H, of each layer and direction.
    cell: rnn, gru or lstm.
    layers: L.
    bidirectional: whether each layer reads both ways.
    vocabulary: V, of a language model.
    dtype: of the operands of products: float32, or bfloat16 beside float32 parameters.
    optimizer: of a language model, adam or sgd.
  """

  batch: int
  steps: int
  inputs: int
  hidden: int
  cell: str
  layers: int = 1
  bidirectional: bool = False
  vocabulary: int = CHARACTERS
  dtype: str = "float32"
  optimizer: str = "adam"

  @property
  def size(self) -> str:
    """`B, T, D, H`."""
    return f"{self.batch}, {self.steps}, {self.inputs}, {self.hidden}"

  @property
  def core(self) -> str:
    """The cell, and what is built of it."""
    depth = f", {self.layers} layers" if self.layers > 1 else ""
    words = self.vocabulary != CHARACTERS
    vocabulary = f", {self.vocabulary:,} words, {self.optimizer}" if words else ""
    return (
      self.cell + depth + (", both ways" if self.bidirectional else "") + vocabulary
    )

  @property
  def width(self) -> int:
    """Features of the last layer's output."""
    return self.hidden * (1 + self.bidirectional)

  @property
  def numbers(self) -> int:
    """Of a state, over all steps."""
    return self.batch * self.steps * self.hidden

  @property
  def weights(self) -> int:
    """Entries of the layers' matrices: a step multiplies by each of them once."""
    inputs = [self.inputs] + [self.width] * (self.layers - 1)
    return sum((n + self.hidden) * GATES[self.cell] * self.width for n in inputs)

  @property
  def model_weights(self) -> int:
    """The same of a language model, whose output layer is a matrix too."""
    return self.weights + self.width * self.vocabulary

  @property
  def model_bytes(self) -> int:
    """What of them a step reads, in the type of its products."""
    return self.model_weights * (2 if self.dtype == "bfloat16" else 4)

  def flops(self, weights: int) -> int:
    """Operations of products by so many weights, forward and backward.

    A product is a multiplication and an addition; backward takes two, one for the
    gradient of each factor. Nothing else is counted.
    """
    return 3 * 2 * self.steps * self.batch * weights
