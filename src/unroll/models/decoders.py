"""The settings of a decoder: what it reads beside its own words, and how it learns."""

from dataclasses import dataclass

from unroll.data import forcing
from unroll.data.batches import Source
from unroll.data.buckets import Buckets
from unroll.data.examples import Examples
from unroll.models.bridge import BRIDGES
from unroll.models.parts import EMBEDDING_DROPOUT
from unroll.settings import setting

# What the decoder reads beside its own words: how each is a form of attention, and
# whether keys are a product of the values.
ATTENTIONS = {
  "none": (None, False),
  "last": ("mean", False),
  "mean": ("mean", False),
  "additive": ("additive", True),
  "dot": ("dot", False),
  "general": ("dot", True),
  "scaled_dot": ("scaled_dot", True),
}


@dataclass(frozen=True)
class Decoders:
  """Decoder"""

  embedding: int = setting(256, "width of the vectors of tokens", least=1)
  embedding_dropout: float = setting(0.0, EMBEDDING_DROPOUT)
  scale_embeddings: bool = setting(
    False,
    "vectors of tokens are read times the square root of their width: their numbers "
    "start at about 1, and small data are learned sooner",
  )
  attention: str = setting(
    "additive",
    "what each step reads of the source: none; last, the encoder's end; mean, every "
    "place alike; or what a query finds: additive, dot, general, scaled_dot",
    choices=tuple(ATTENTIONS),
  )
  look: str = setting(
    "before",
    "the query: the state before the step, which reads what was found (Bahdanau), or "
    "the state after it (Luong)",
    choices=("before", "after"),
  )
  feeding: bool = setting(
    False, "looking after, a step reads what the one before gave out (input feeding)"
  )
  window: int = setting(
    0, "local attention: places to each side of where the query looks; 0: all", least=0
  )
  coverage: bool = setting(
    False, "scores know how much each place was read so far, for additive attention"
  )
  coverage_loss: float = setting(
    0.0, "times what was read again of places already read", least=0
  )
  bridge: str = setting(
    "dense",
    "the decoder's first state: a layer on the encoder's last, that state itself, or 0",
    choices=BRIDGES,
  )
  tie_embeddings: bool = setting(
    False, "uses the target's embedding as the output matrix"
  )
  label_smoothing: float = setting(
    0.0, "share of each target that is spread over the vocabulary", least=0, most=0.99
  )
  teacher_forcing: str = setting(
    "1", f"how often the true token is fed: {forcing.HELP}"
  )
  fed: str = setting(
    "likeliest",
    "what is fed where the true token is not: the likeliest one, or one drawn from "
    "what the decoder gives (scheduled sampling)",
    choices=forcing.FED,
  )

  def sampled(self, source: Buckets[Examples]) -> Source[Examples]:
    """Training batches, with what a decoder is fed if that is not always the truth."""
    return forcing.sampled(source, self.teacher_forcing, self.fed)
