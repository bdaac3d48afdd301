"""The page of a run, and what its server answers, by the kind of its model."""

from collections.abc import Callable
from typing import Any, NamedTuple

from unroll.loading import Loaded
from unroll.models import saved
from unroll.playing import language, offline
from unroll.playing.labels import classifying, tagging
from unroll.playing.series import example, forecasting
from unroll.playing.server import Answers
from unroll.report.play import play_page
from unroll.types import BadInput


class Played(NamedTuple):
  """A page and its server.

  Attributes:
    page: HTML.
    answers: path -> what it answers.
  """

  page: str
  answers: Answers


def played(loaded: Loaded, title: str) -> Played:
  """The page of a model, for a server.

  Args:
    loaded: the model.
    title: of the page.

  Raises:
    BadInput: there is no page for models of this kind.
  """
  kind = _kind(loaded)
  data, answers = KINDS[kind](loaded)
  page = play_page(title, _about(loaded), {"kind": kind, **data}, served=True)
  return Played(page, answers)


def whole_page(loaded: Loaded, title: str) -> str:
  """The page of a language model with the model inside: it needs no server.

  Raises:
    BadInput: the model is of another kind, too large, or has no export.
  """
  if (kind := _kind(loaded)) != "language":
    raise BadInput(
      f"a page without a server is for charlm, and this is a run of {kind}: leave "
      "`export` out, and a server plays it"
    )
  steps, program = offline.program(loaded)
  data = language.told(loaded.vocabulary, steps.strips)
  data |= {"vocabulary": list(loaded.vocabulary.tokens), "program": program}
  return play_page(title, _about(loaded), data, served=False)


def _kind(loaded: Loaded) -> str:
  config = loaded.config
  kind = saved.kind(config)
  if loaded.module is None or kind not in KINDS:
    raise BadInput(
      f"a run of experiments.{config['experiment']} has no page to play with: give one "
      "of charlm, classify, tag or forecast"
    )
  return kind


def _about(loaded: Loaded) -> str:
  flags = loaded.config["flags"]
  cell = "transformer" if flags.get("model") == "transformer" else flags.get("cell", "")
  return f"experiments.{loaded.config['experiment']}, {cell}, step {loaded.at}"


def _language(loaded: Loaded) -> tuple[dict[str, Any], Answers]:
  reader = language.Reader(loaded)
  told = language.told(loaded.vocabulary, reader.strips)
  return told, {"/encode": reader.encode, "/read": reader.read}


def _classify(loaded: Loaded) -> tuple[dict[str, Any], Answers]:
  return {"button": "Label", "example": ""}, {"/predict": classifying(loaded)}


def _tag(loaded: Loaded) -> tuple[dict[str, Any], Answers]:
  return {"button": "Tag", "example": ""}, {"/predict": tagging(loaded)}


def _forecast(loaded: Loaded) -> tuple[dict[str, Any], Answers]:
  hint = "A header, then a row a step, in the columns of the training."
  told = {"button": "Forecast", "example": example(loaded), "hint": hint}
  return told, {"/predict": forecasting(loaded)}


KINDS: dict[str, Callable[[Loaded], tuple[dict[str, Any], Answers]]] = {
  "language": _language,
  "classify": _classify,
  "tag": _tag,
  "forecast": _forecast,
}
