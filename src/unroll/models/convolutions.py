"""The convolutional layers of a model as settings: cells, channels, kernels."""

from dataclasses import dataclass

from unroll.cells import conv_gru, conv_lstm
from unroll.settings import setting
from unroll.types import BadInput, Cell


@dataclass(frozen=True)
class Convolutions:
  """Layers"""

  cell: str = setting(
    "conv_lstm",
    "the recurrent cell, whose products are convolutions",
    choices=("conv_gru", "conv_lstm"),
  )
  layers: int = setting(2, "recurrent layers", least=1, most=1000)
  channels: tuple[int, ...] = setting(
    (16,), "channels of the state: of every layer, or one number a layer", least=1
  )
  kernel: int = setting(3, "width and height of a convolution's kernel", least=1)
  patch: int = setting(
    1,
    "width and height of the patches of pixels that are one place of the state",
    least=1,
  )
  peepholes: bool = setting(
    False, "gates of a conv_lstm see its memory, by a weight for each place"
  )

  @property
  def widths(self) -> list[int]:
    """The channels of each layer, first to last.

    Raises:
      BadInput: there is another number of them than of layers.
    """
    if len(self.channels) not in (1, self.layers):
      raise BadInput(
        f"channels={','.join(map(str, self.channels))} and layers={self.layers}: give "
        "one number, or as many as there are layers"
      )
    return list(self.channels) * (self.layers if len(self.channels) == 1 else 1)

  def cells(self, size: tuple[int, int], channels: int) -> tuple[Cell, ...]:
    """The cells of the layers, first to last.

    Args:
      size: height and width of the state.
      channels: of the input.

    Raises:
      BadInput: an option that the cell does not have, or another number of widths.
    """
    if self.peepholes and self.cell != "conv_lstm":
      raise BadInput(f"peepholes with cell={self.cell}: they are for cell=conv_lstm")
    inputs = [channels, *self.widths[:-1]]

    def cell(below: int, own: int) -> Cell:
      if self.cell == "conv_gru":
        return conv_gru((*size, below), own, kernel=self.kernel)
      return conv_lstm(
        (*size, below), own, kernel=self.kernel, peepholes=self.peepholes
      )

    return tuple(map(cell, inputs, self.widths))
