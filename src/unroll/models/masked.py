"""The missing token by a Transformer: some tokens are hidden, the others are read.

BERT (Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers"): in
training 15 % of the tokens are to be found. Of those 80 % are hidden, 10 % are
exchanged for any token and 10 % stay, so that no token can be trusted.
"""

import functools
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from unroll import remat, scan
from unroll.architecture import Architecture
from unroll.gradients.scheme import Batch
from unroll.layers import Layer, Recurrent
from unroll.models.cloze import ClozeModel, cloze_model
from unroll.models.parts import Embedding, Readout
from unroll.transformer import Stack
from unroll.types import Array, BadInput, Carry, Sums, afresh

CHOSEN, HIDDEN, EXCHANGED = 0.15, 0.8, 0.1  # of all tokens; of those that are chosen
EVERY = 7  # of which one is hidden at a time when all are to be found: about as many
_SITE = 2**31 + 2  # of the draw of what is hidden, beside those of dropout


class MaskedModel(nn.Module):
  """p(token t | the tokens of the sequence that are not hidden).

  Attributes:
    vocabulary: V.
    embedding: E, the width of the embedding; 0 feeds one-hot vectors of width V.
    core: a layer `[T, B, E or V] -> [T, B, width]` that reads both ways.
    width: of the core's output.
    embedding_dropout: see `Embedding`.
    dtype: of matrix products; None is the parameters' own, float32.
    named: see `layers.Recurrent`; not in runs, whose leaves have another order.
  """

  vocabulary: int
  embedding: int
  core: Layer
  width: int
  embedding_dropout: float = 0.0
  dtype: Any = None
  named: bool = False

  def setup(self):
    self.embed = Embedding(
      self.vocabulary, self.embedding, dropout=self.embedding_dropout
    )
    width = self.embedding or self.vocabulary
    self.hidden = self.param("hidden", nn.initializers.normal(width**-0.5), (width,))
    self.recurrent = Recurrent(self.core, dtype=self.dtype, named=self.named)
    self.output = Readout(self.vocabulary, dtype=self.dtype)

  def __call__(self, tokens: Array, carry: Carry | None = None) -> Array:
    """Reads tokens `[T, B]`; returns logits `[T, B, V]` for each of them.

    It takes seven passes, each with one token of seven hidden, so that no token is
    found by itself. Of the carry only the randomness is used.
    """
    return self.output(self.width).logits(self._each(tokens, carry))

  def cross_entropy(
    self, batch: Batch, carry: Carry, backward: scan.Backward = "fast"
  ) -> Sums:
    """Reads a `data.Batch`; returns the nats of its inputs.

    Of those that are drawn where the carry has a key, as in training; else of all.
    """
    tokens, weight = jnp.asarray(batch.inputs), jnp.asarray(batch.weight)
    key = None if carry is None else carry.draw.key
    if key is None:
      ys = self._each(tokens, carry)
    else:
      chosen, hidden, read = corrupted(
        jax.random.fold_in(key, _SITE), tokens, self.vocabulary
      )
      ys, weight = self.seen(read, hidden, carry), weight * chosen.astype(weight.dtype)
    return self.output(self.width).cross_entropy(ys, tokens, weight, backward)

  def seen(self, tokens: Array, hidden: Array, carry: Carry | None = None) -> Array:
    """The core's outputs `[T, B, width]` for tokens, of which some are hidden."""
    initial = self.initial_carry(tokens.shape[1])
    carry = initial if carry is None else afresh(initial, carry)
    xs = self.embed(tokens, carry).dense()
    own = jnp.broadcast_to(self.hidden, xs.shape).astype(xs.dtype)
    return self.recurrent(jnp.where(hidden[..., None], own, xs), carry)[1]

  def _each(self, tokens: Array, carry: Carry | None) -> Array:
    """What is read of each token `[T, B, width]` while it is hidden."""
    place = jnp.broadcast_to(jnp.arange(len(tokens))[:, None] % EVERY, tokens.shape)
    if self.is_initializing():
      return self.seen(tokens, place == 0, carry)
    module, variables = self.unbind()
    seen = functools.partial(module.apply, variables, method="seen")

    def fill(turn: Array, ys: Array) -> Array:
      hidden = place == turn
      found = cast(Array, seen(tokens, hidden, carry))
      return jnp.where(hidden[..., None], found, ys)

    like = jax.eval_shape(lambda: fill(jnp.zeros((), int), jnp.zeros((1, 1, 1))))
    return jax.lax.fori_loop(0, EVERY, fill, jnp.zeros(like.shape, like.dtype))

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a sequence starts with: a place for randomness."""
    return self.recurrent.initial_carry(batch)


def corrupted(key: Array, tokens: Array, vocabulary: int) -> tuple[Array, Array, Array]:
  """What is to be found of tokens `[T, B]`.

  Returns:
    Bool, the tokens that are to be found; bool, those of them that are hidden; and the
    tokens that are read, some of them exchanged.
  """
  which, how, other = jax.random.split(key, 3)
  chosen = jax.random.uniform(which, tokens.shape) < CHOSEN
  share = jax.random.uniform(how, tokens.shape)
  hidden = chosen & (share < HIDDEN)
  exchanged = chosen & ~hidden & (share < HIDDEN + EXCHANGED)
  any_token = jax.random.randint(other, tokens.shape, 0, vocabulary, tokens.dtype)
  return chosen, hidden, jnp.where(exchanged, any_token, tokens)


def cloze_of(
  layers: Architecture | Stack,
  vocabulary: int,
  *,
  embedding: int = 64,
  embedding_dropout: float = 0.0,
  side: str | None = None,
  merge: str = "concat",
  dtype: str = "float32",
  plan: remat.Plan = remat.NONE,
) -> ClozeModel | MaskedModel:
  """The model of some layers, recurrent or a Transformer: see `cloze_model`.

  Raises:
    BadInput: a setting says nothing to a Transformer.
  """
  options: dict[str, Any] = {
    "embedding": embedding,
    "embedding_dropout": embedding_dropout,
  }
  if isinstance(layers, Architecture):
    options |= {"side": side, "merge": merge, "dtype": dtype, "plan": plan}
    return cloze_model(layers, vocabulary, **options)
  for name, used in (
    ("bidirectional=false", side is not None),
    (f"merge={merge}", merge != "concat"),
    (f"remat={plan.name}", plan.name != "none"),
  ):
    if used:
      raise BadInput(f"{name} says nothing to model=transformer: drop it")
  core, width = layers.encoder(embedding or vocabulary, bidirectional=True)
  return MaskedModel(
    vocabulary,
    core=core,
    width=width,
    dtype=None if dtype == "float32" else jnp.dtype(dtype),
    **options,
  )
