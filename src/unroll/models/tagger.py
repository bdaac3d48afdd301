"""A label for each word: word vectors and characters, recurrent layers, a CRF.

The model of Lample et al. (2016) and Plank et al. (2016): a word is the vector of its
form beside what a bidirectional layer over its characters ends with, and recurrent
layers read the words of a sentence from both sides.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from unroll import crf, metrics, remat, scan
from unroll.architecture import Architecture
from unroll.compose import mask, no_draw
from unroll.data.examples import Examples
from unroll.data.lexicon import Sizes, Words
from unroll.gradients.scheme import ChunkLoss
from unroll.layers import Layer, Recurrent
from unroll.models.parts import Embedding
from unroll.models.pooling import Pooling
from unroll.parameters import Elementwise
from unroll.settings import setting
from unroll.start import Initializer
from unroll.types import Array, BadInput, Carry, Draw, Key, Sums, afresh


@dataclass(frozen=True)
class Taggers:
  """Models of words"""

  word_embedding: int = setting(
    100, "width of the vectors of words; 0: characters alone", least=0
  )
  word_dropout: float = setting(
    0.5, "how often training hides a word that it has only once", least=0, most=0.99
  )
  char_embedding: int = setting(32, "width of the vectors of characters", least=1)
  char_hidden: int = setting(
    64,
    "hidden units of each direction of the layer over characters; 0: words alone",
    least=0,
  )
  output: str = setting(
    "crf",
    "scores whole paths of labels, of which a scheme forbids some, or each label by "
    "itself",
    choices=("crf", "softmax"),
  )


class TaggerCarry(NamedTuple):
  """What the layers over words start with, and the randomness of hidden words."""

  layers: Carry
  draw: Draw


class Tagger(nn.Module):
  """p(labels | words).

  Attributes:
    sizes: of words, characters and labels.
    core: layer `[T, B, E] -> [T, B, H]` over words.
    spelling: bidirectional layer over characters, `[C, B, D] -> [C, B, 2 S]`; None: the
      characters are not read.
    words: the width of the vectors of words; 0 where they are not read.
    word_dropout: how often a word that training has only once is hidden.
    characters: D, the width of the vectors of characters.
    char_hidden: S.
    crf: scores paths of labels, instead of each label by itself.
    kernel_init: of the output matrix.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  sizes: Sizes
  core: Layer
  spelling: Layer | None
  words: int = 100
  word_dropout: float = 0.0
  characters: int = 32
  char_hidden: int = 64
  crf: bool = True
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = None
  named: bool = False

  def setup(self):
    if self.words:
      self.embed = Embedding(self.sizes.words, self.words)
    if self.spelling:
      self.letters = Embedding(self.sizes.characters, self.characters)
      self.spell = Recurrent(self.spelling, dtype=self.dtype, named=self.named)
      leftward = (False,) * self.char_hidden + (True,) * self.char_hidden
      self.ends = Pooling("last", leftward)
    self.recurrent = Recurrent(self.core, dtype=self.dtype, named=self.named)
    self.output = nn.Dense(self.sizes.labels, kernel_init=self.kernel_init)
    if self.crf:
      self.between = self.param("transitions", self._transitions)

  def __call__(
    self,
    inputs: Words,
    carry: TaggerCarry | None = None,
    valid: Array | None = None,
    backward: scan.Backward = "fast",
  ) -> Array:
    """Reads sentences; returns the scores of the labels of each word, `[T, B, N]`.

    Every sentence starts afresh: of the carry only the randomness is used.

    Args:
      inputs: words `[T, B]` and characters `[T, B, C]`.
      carry: of any batch size.
      valid: bool `[T, B]`; None where there is no padding.
      backward: see `scan.unroll`.
    """
    words, characters = map(jnp.asarray, inputs)
    initial = self.initial_carry(words.shape[1])
    carry = initial if carry is None else afresh(initial, carry)
    parts = []
    if self.words:
      if carry.draw.key is not None and self.word_dropout:
        kept = mask(carry.draw, words.shape, self.word_dropout, 0, locked=False) > 0
        words = jnp.where(kept | (words < self.sizes.singles), words, 0)
      parts.append(self.embed(words).dense())
    if self.spelling:
      parts.append(self._spelled(characters, backward))
    xs = jnp.concatenate(parts, axis=-1)
    ys = self.recurrent(xs, carry.layers, valid=valid, backward=backward)[1]
    return self.output(ys).astype(jnp.float32)

  def loss(
    self, batch: Examples, carry: Carry, backward: scan.Backward = "fast"
  ) -> Sums:
    """The nats of the labels of a batch, by words.

    A label that does not count takes its sentence along, whose path has no probability.
    """
    targets, weight, valid = map(jnp.asarray, batch[1:])
    scores = self(batch.inputs, carry, valid, backward)
    if not self.crf:
      return metrics.cross_entropy(scores, targets, weight)
    counts = jnp.all((weight > 0) | ~valid, axis=0, keepdims=True)
    found = crf.log_likelihood(self.transitions(), scores, targets, valid, backward)
    total = -jnp.sum(jnp.where(counts[0], found, 0))
    return Sums(total, jnp.sum((valid & counts).astype(jnp.float32)))

  def labels(self, inputs: Words, valid: Array | None = None) -> Array:
    """The labels of words, int32 `[T, B]`: the best path, or the best of each word."""
    return self.decoded(self(inputs, None, valid), valid)

  def decoded(self, scores: Array, valid: Array | None = None) -> Array:
    """The labels `[T, B]` that scores `[T, B, N]` decide for."""
    if not self.crf:
      return jnp.argmax(scores, axis=-1).astype(jnp.int32)
    return crf.viterbi(self.transitions(), scores, valid).labels

  def transitions(self) -> Array:
    """The scores from label to label, `[N + 1, N + 1]`, for `crf`."""
    if not self.sizes.allowed:
      return self.between.value
    return crf.constrained(self.between.value, jnp.array(self.sizes.allowed))

  def initial_carry(self, batch: int) -> TaggerCarry:
    """The carry that a sentence starts with."""
    return TaggerCarry(self.recurrent.initial_carry(batch), no_draw())

  def _transitions(self, key: Key) -> Elementwise:
    del key
    size = self.sizes.labels + 1
    return Elementwise(jnp.zeros((size, size)))

  def _spelled(self, characters: Array, backward: scan.Backward) -> Array:
    """What the layer over characters ends with, `[T, B, 2 S]`; 0 of no character."""
    steps, batch, width = characters.shape
    # The batch goes first, so that devices that share it need nothing of each other.
    rows = jnp.transpose(characters, (2, 1, 0)).reshape(width, batch * steps)
    xs, valid = self.letters(rows), rows > 0
    start = self.spell.initial_carry(batch * steps)
    ys = self.spell(xs, start, valid=valid, backward=backward)[1]
    ends = self.ends(ys, valid)
    return jnp.swapaxes(ends.reshape(batch, steps, -1), 0, 1)


def tagger(
  chosen: Taggers,
  architecture: Architecture,
  sizes: Sizes,
  *,
  dtype: str = "float32",
  plan: remat.Plan = remat.NONE,
) -> Tagger:
  """The model of some settings; every layer over words reads from both sides.

  Args:
    chosen: the settings.
    architecture: cells, widths and what stands between them; the layer over characters
      has its cell.
    sizes: of the lexicon.
    dtype: of matrix products.
    plan: `remat.NONE`.

  Raises:
    BadInput: neither words nor characters are read, or there is a plan.
  """
  if not chosen.word_embedding and not chosen.char_hidden:
    raise BadInput("word_embedding=0 and char_hidden=0 leave nothing: give one of them")
  if plan.name != "none":
    raise BadInput(f"remat={plan.name}: layers from both sides take none; leave it out")
  spelling = None
  if chosen.char_hidden:
    own = dataclasses.replace(
      architecture, layers=1, hidden=(chosen.char_hidden,), dropout=0.0
    )
    own = dataclasses.replace(own, input_dropout=None, residual=False, skip=False)
    spelling, _ = own.encoder(chosen.char_embedding, bidirectional=True)
  core, _ = architecture.encoder(
    chosen.word_embedding + 2 * chosen.char_hidden, bidirectional=True
  )
  return Tagger(
    sizes=sizes,
    core=core,
    spelling=spelling,
    words=chosen.word_embedding,
    word_dropout=chosen.word_dropout,
    characters=chosen.char_embedding,
    char_hidden=chosen.char_hidden,
    crf=chosen.output == "crf",
    dtype=None if dtype == "float32" else jnp.dtype(dtype),
    **architecture.model_options(),
  )


def example(sizes: Sizes) -> Words:
  """A sentence of one word, to make parameters with."""
  return Words(np.zeros((1, 1), np.int32), np.ones((1, 1, sizes.width), np.int32))


def tagger_loss(model: Tagger, backward: scan.Backward = "fast") -> ChunkLoss:
  """The mean nats a word of the labels of `Examples` of `Words`, as a chunk loss.

  Args:
    model: the model.
    backward: "autodiff" for forward mode, see `scan.unroll`.
  """
  apply = cast(Callable[..., Sums], model.apply)

  def loss(params, carry, batch: Examples):
    sums = apply(params, batch, carry, backward, method="loss")
    return sums.mean(), (carry, {"loss": sums})

  return cast(ChunkLoss, loss)
