"""What a model of each kind answers."""

from collections.abc import Callable
from typing import Any

from unroll.models.built import Built
from unroll.serving import (
  captioner,
  classifier,
  cloze,
  forecaster,
  frames,
  language,
  music,
  sequence,
  tagger,
  transcriber,
  translator,
)
from unroll.serving.value import Functions
from unroll.types import BadInput


def served(kind: str, built: Built) -> Functions:
  """What a model answers.

  Args:
    kind: a key of `models.saved.MODELS`.
    built: the model.
  """
  return completed(kind, SERVED[kind](built))


def completed(kind: str, found: Functions) -> Functions:
  """Functions of which those that are missing say which there are."""
  answers = [name for name, function in found._asdict().items() if function]

  def refused(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
      raise BadInput(f"a model of kind {kind} has no {name}: use {', '.join(answers)}")

    return refuse

  others = {name: refused(name) for name in Functions._fields if name not in answers}
  return found._replace(**others)


# The kinds of `models.saved.MODELS` -> what each answers.
SERVED: dict[str, Callable[[Built], Functions]] = {
  "language": language.functions,
  "cloze": cloze.functions,
  "forecast": forecaster.functions,
  "music": music.functions,
  "classify": classifier.functions,
  "memory": sequence.functions,
  "tag": tagger.functions,
  "frames": frames.functions,
  "translate": translator.functions,
  "transcribe": transcriber.functions,
  "caption": captioner.functions,
}
