"""The programs of a run: which there are, and what each reads."""

from typing import Any

from unroll.data.vocabulary import VOCABULARY
from unroll.exporting.forecasts import forecaster
from unroll.exporting.program import Kind, Program, check_float32, stepping
from unroll.exporting.tags import tagger
from unroll.loading import Loaded
from unroll.models import saved
from unroll.types import BadInput

# The kinds of models that read one sequence, and what inputs and outputs are called.
CALLED = {
  "language": ("tokens", "logits"),
  "cloze": ("tokens", "logits"),
  "music": ("keys", "logits"),
  "classify": ("inputs", "logits"),
  "memory": ("inputs", "outputs"),
  "transcribe": ("inputs", "logits"),
}
UNMASKED = ("cloze",)  # they read whole sequences only
# Those that read what is their own.
OTHERS = {"forecast": forecaster, "tag": tagger}


def of_run(loaded: Loaded, kind: Kind = "sequence") -> Program:
  """The program of a trained model.

  Args:
    loaded: the model, of a run.
    kind: "sequence" reads T steps; "step" reads one, without a loop.

  Raises:
    BadInput: the model has no step, or is no program of arrays `[T, B, …]`.
  """
  model, flags = kind_of(loaded), loaded.config["flags"]
  built = saved.built(model, flags, loaded.files)
  if model not in OTHERS and (
    model not in CALLED or not hasattr(built.example, "shape")
  ):
    raise BadInput(
      f"this model of kind {model} has no export: those have that read one sequence, "
      f"of {', '.join([*CALLED, *OTHERS])}"
    )
  if flags.get("model") == "transformer":
    raise BadInput(
      "a run with model=transformer has no export: its cache has another length at "
      "every step"
    )
  check_float32(flags)
  if kind == "step" and not built.causal:
    raise BadInput(
      f"program=step: a model of kind {model} reads later inputs: export a sequence"
    )
  told = {"model": model, "checkpoint": str(loaded.at)}
  told |= {_file(name): text for name, text in loaded.files.items()}
  if model in OTHERS:
    return OTHERS[model](loaded, told)
  return stepping(
    lambda carry, inputs, valid: loaded.apply(loaded.params, carry, inputs, valid),
    (lambda batch: loaded.initial_carry(loaded.params, batch))
    if built.causal
    else None,
    built.example,
    CALLED[model],
    kind,
    masked=model not in UNMASKED,
    told=told,
    below=len(loaded.vocabulary or ()),
  )


def kind_of(loaded: Loaded) -> str:
  """The kind of a model, a key of `models.saved.MODELS`.

  Raises:
    BadInput: it is no network.
  """
  config: Any = loaded.config
  kind = config.get("model") or saved.KINDS[config["experiment"]]
  if loaded.module is None:
    raise BadInput(
      f"a model of kind {kind} is no network, and has no export but as ARPA: use "
      "experiments.ngram"
    )
  return kind


def _file(name: str) -> str:
  """What a file that accompanies a run is called in the exported one."""
  return "vocabulary" if name == VOCABULARY else name.removesuffix(".json")
