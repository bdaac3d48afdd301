"""The layers of a model, as the settings of a page ask for them."""

from experiments.session.settings import Settings
from unroll.architecture import Architecture
from unroll.penalties import Penalties
from unroll.transformer import Stack, Transformer, stack
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


def chosen(settings: Settings) -> Architecture | Stack:
  """The layers of a page that has Transformers too.

  Raises:
    BadInput: see `architecture`; or a setting says nothing to the chosen model.
  """
  found = stack(settings[Transformer], architecture(settings))
  has = Penalties in settings.page.groups
  penalised = has and settings[Penalties].recurrent_penalty
  if penalised and settings[Transformer].model == "transformer":
    raise BadInput(
      f"{settings.shown('recurrent_penalty')} says nothing to model=transformer, "
      "which has no recurrent matrices: drop it"
    )
  return found


def sized_by(settings: Settings, *others: str) -> tuple[str, ...]:
  """The settings that make the layers of such a page as large as they are."""
  if settings[Transformer].model == "transformer":
    return ("model_width", *others, "blocks", "context")
  return ("hidden", *others, "layers")
