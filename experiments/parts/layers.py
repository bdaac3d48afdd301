"""The layers of a model, as the settings of a page ask for them."""

from experiments.session.settings import Settings
from unroll.architecture import Architecture
from unroll.types import BadInput


def architecture(settings: Settings) -> Architecture:
  """The architecture of the settings.

  Raises:
    BadInput: it has another number of widths than of layers, and both were given.
  """
  found = settings[Architecture]
  widths = len(found.hidden)
  if "layers" in settings.given and widths not in (1, found.layers):
    raise BadInput(
      f"{settings.shown('hidden')} has {widths} widths and layers={found.layers}: give "
      "one width, or as many as there are layers"
    )
  found.cells(2)  # to refuse an option that the cell does not have; 2: one is the time
  return found
