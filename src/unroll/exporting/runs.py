"""The programs of a run: which there are, and what each reads."""

from typing import Any

import jax

from unroll.data.vocabulary import VOCABULARY
from unroll.exporting.forecasts import forecaster
from unroll.exporting.growing import growing
from unroll.exporting.halves import half
from unroll.exporting.program import Kind, Program, check_float32, stepping
from unroll.exporting.tags import tagger
from unroll.exporting.turns import together
from unroll.loading import Loaded
from unroll.models import saved
from unroll.models.conditional import Conditional
from unroll.types import BadInput

# The kinds of models that read one sequence, and what inputs and outputs are called.
CALLED = {
  "language": ("tokens", "logits"),
  "cloze": ("tokens", "logits"),
  "music": ("keys", "logits"),
  "classify": ("inputs", "logits"),
  "memory": ("inputs", "outputs"),
  "transcribe": ("inputs", "logits"),
  "frames": ("frames", "predicted"),
}
UNMASKED = ("cloze",)  # they read whole sequences only
FINISHED = {"frames": jax.nn.sigmoid}  # what makes of outputs what people read
# Those that read what is their own.
OTHERS = {"forecast": forecaster, "tag": tagger}


def kinds(loaded: Loaded) -> tuple[Kind, ...]:
  """The programs of a model: a half each of one that ends in a decoder.

  Raises:
    BadInput: it is no network.
  """
  built = saved.built(kind_of(loaded), loaded.config["flags"], loaded.files)
  if isinstance(built.module, Conditional):
    return ("encoder", "step")
  return ("sequence", "step") if built.causal else ("sequence",)


def of_run(loaded: Loaded, kind: Kind = "sequence") -> Program:
  """The program of a trained model.

  Args:
    loaded: the model, of a run.
    kind: "sequence" reads T steps; "step" reads one, without a loop; "encoder" is the
      half of a model with a decoder that reads, whose other half is its step.

  Raises:
    BadInput: the model has no such program.
  """
  model, flags = kind_of(loaded), loaded.config["flags"]
  built = saved.built(model, flags, loaded.files)
  transformer = flags.get("model") == "transformer"
  if transformer and model == "cloze":
    loaded = together(loaded)
  if transformer and model in ("language", "translate"):
    loaded, built = growing(loaded, built)
  check_float32(flags)
  told = {"model": model, "checkpoint": str(loaded.at)}
  told |= {_file(name): text for name, text in loaded.files.items()}
  if isinstance(built.module, Conditional):
    return half(loaded, kind, told)
  if kind == "encoder":
    raise BadInput(
      f"program=encoder: a model of kind {model} has no halves: export a sequence"
    )
  if kind == "step" and not built.causal:
    raise BadInput(
      f"program=step: a model of kind {model} reads later inputs: export a sequence"
    )
  if model in OTHERS:
    return OTHERS[model](loaded, told)

  def apply(carry: Any, inputs: Any, valid: Any) -> tuple[Any, Any]:
    carry, out = loaded.apply(loaded.params, carry, inputs, valid)
    return carry, FINISHED.get(model, lambda out: out)(out)

  return stepping(
    apply,
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
  kind = saved.kind(loaded.config)
  if loaded.module is None:
    raise BadInput(
      f"a model of kind {kind} is no network, and has no export but as ARPA: use "
      "experiments.ngram"
    )
  return kind


def _file(name: str) -> str:
  """What a file that accompanies a run is called in the exported one."""
  return "vocabulary" if name == VOCABULARY else name.removesuffix(".json")
