"""A Transformer as settings, in the place of an architecture of recurrent layers."""

from dataclasses import dataclass
from typing import Any

from unroll.architecture import Architecture
from unroll.layers import Layer
from unroll.settings import refuse, setting
from unroll.transformer.blocks import transformer
from unroll.transformer.form import Form
from unroll.types import BadInput

SHARED = ("dropout", "dropout_mask")  # settings of recurrent layers that are ours too


@dataclass(frozen=True)
class Transformer:
  """Transformer"""

  model: str = setting(
    "recurrent",
    "recurrent layers, or a Transformer in their place",
    choices=("recurrent", "transformer"),
  )
  blocks: int = setting(4, "blocks of attention and an MLP", least=1, most=1000)
  model_width: int = setting(256, "width of the blocks", least=2, most=10**6)
  attention_heads: int = setting(4, "heads of attention", least=1)
  context: int = setting(
    256,
    "tokens before its own that a step reads, where it reads from the left",
    least=1,
  )
  mlp: int = setting(
    0, "hidden units of the MLP of a block; 0: four times its width", least=0
  )


@dataclass(frozen=True)
class Stack:
  """Blocks in the place of recurrent layers.

  Attributes:
    chosen: the settings.
    dropout: see `Form`.
    locked: see `Form`.
  """

  chosen: Transformer
  dropout: float = 0.0
  locked: bool = False

  @property
  def sizes(self) -> list[int]:
    """The width of each block."""
    return [self.chosen.model_width] * self.chosen.blocks

  def form(self, input_size: int, **others: Any) -> Form:
    """The form of blocks that read inputs of a width."""
    own = self.chosen
    if own.model_width % (2 * own.attention_heads):
      raise BadInput(
        f"model_width={own.model_width} with attention_heads={own.attention_heads}: "
        "give a multiple of twice the heads, as each has pairs of numbers"
      )
    if not 0 <= self.dropout < 1:
      raise BadInput(f"dropout={self.dropout}: give a rate from 0 to below 1")
    return Form(
      input=input_size,
      width=own.model_width,
      blocks=own.blocks,
      heads=own.attention_heads,
      mlp=own.mlp or 4 * own.model_width,
      dropout=self.dropout,
      locked=self.locked,
      **others,
    )

  def encoder(self, input_size: int, bidirectional: bool = False) -> tuple[Layer, int]:
    """The blocks as one layer, and its width.

    Args:
      input_size: D, the width of the input.
      bidirectional: every step reads all others; else those within `context` before it.
    """
    reach = None if bidirectional else self.chosen.context
    form = self.form(input_size, reach=reach, slots=reach or 0)
    return transformer(form), form.width

  def model_options(self) -> dict[str, Any]:
    """The output matrix starts as it does by default."""
    return {}


def stack(chosen: Transformer, architecture: Architecture) -> Architecture | Stack:
  """The layers of some settings: an architecture as it is, or blocks in its place.

  Raises:
    BadInput: a setting of the other kind has another value than its default.
  """
  if chosen.model == "recurrent":
    refuse(chosen, "model=recurrent")
    return architecture
  refuse(architecture, "model=transformer", *SHARED)
  return Stack(chosen, architecture.dropout, architecture.dropout_mask == "sequence")
