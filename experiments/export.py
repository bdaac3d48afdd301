"""A trained model as a file that runs without this package: ONNX, or StableHLO of JAX.

  python -m experiments.export --workdir=RUN --to=model.onnx
  python -m experiments.export --workdir=RUN --to=step.onnx --program=step
  python -m experiments.export --workdir=RUN --to=small.onnx --quantise=int8
  python -m experiments.export --workdir=RUN --to=model.jax

RUN is a run of another page. One of a model with a decoder, as of translate, becomes
two files, model.encoder.onnx and model.step.onnx. The ending says what is written:
.onnx for onnxruntime, OpenVINO, a browser or C++; .jax for `jax.export.deserialize`. A
JSON file beside it has the vocabulary, and how states start. An ONNX file is read back,
and run where onnxruntime is installed: the largest difference from the model is
printed. `docs/export.md` has the programs that read them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from experiments import charlm
from experiments.parts.text import Text, load
from experiments.session import door, modes
from experiments.session.settings import Page, Settings
from experiments.session.terminal import result, warn
from unroll import files, loading
from unroll.exporting import exported, onnxfile, rounding, runs
from unroll.exporting.program import Kind, Program, beside
from unroll.loading import Loaded
from unroll.settings import setting
from unroll.types import BadInput

ENDINGS = (".onnx", ".jax")
WINDOWS, WINDOW = 8, 257  # of which losses are compared, and their tokens


@dataclass(frozen=True)
class Export:
  """Export"""

  workdir: str = setting("", "the folder of a run", kind="path", role="call")
  checkpoint: str = setting(
    "best",
    "the checkpoint to export: best, newest or a step",
    kind="checkpoint",
    role="call",
  )
  to: str = setting(
    "", "the file to write; it ends in .onnx or .jax", kind="path", role="call"
  )
  program: str = setting(
    "sequence",
    "sequence: T steps of B rows at once; step: one step, without a loop; encoder: the "
    "half that reads, of a model with a decoder, whose two halves sequence writes",
    choices=("sequence", "step", "encoder"),
    role="call",
  )
  quantise: str = setting(
    "none",
    "int8: the weights have 8 bits, a file of a quarter of the size, for onnxruntime",
    choices=("none", "int8"),
    role="call",
  )
  json: bool = setting(False, "ends standard output with one JSON object", role="call")


def main(settings: Settings) -> None:
  """Writes the file, or one of each half, and says what stands in it."""
  chosen = settings[Export]
  if not chosen.workdir:
    raise BadInput("give `workdir`, the folder of a run, such as one of charlm")
  path = Path(chosen.to)
  if path.suffix not in ENDINGS:
    raise BadInput(
      f"to={chosen.to}: give a file that ends in {' or '.join(ENDINGS)}, such as "
      "model.onnx"
    )
  if chosen.quantise != "none" and path.suffix != ".onnx":
    raise BadInput(f"quantise={chosen.quantise} is of a file that ends in .onnx")
  loaded = loading.load(chosen.workdir, checkpoint=chosen.checkpoint, warn=warn)
  made = {where: _made(loaded, kind, chosen) for where, kind in _parts(loaded, chosen)}
  for where, (data, text, _) in made.items():
    told_in = where.with_name(f"{where.name}.json")
    files.write(where, data)
    files.write(told_in, text)
    print(f"{where}: {len(data) / 2**20:.2f} MiB, the model of step {loaded.at}")
    print(f"{told_in}: how states start, and the vocabulary")
  told = {
    where.name: {"bytes": len(data), **of} for where, (data, _, of) in made.items()
  }
  every = {"files": told} if len(told) > 1 else told[next(iter(told))]
  result({"step": loaded.at, **every}, chosen.json)


def _parts(loaded: Loaded, chosen: Export) -> list[tuple[Path, Kind]]:
  """The files to write, and what each is: of a model of two halves both."""
  path, kinds = Path(chosen.to), runs.kinds(loaded)
  if chosen.program == "sequence" and "encoder" in kinds:
    return [
      (path.with_name(f"{path.stem}.{kind}{path.suffix}"), kind) for kind in kinds
    ]
  return [(path, cast(Kind, chosen.program))]


def _made(
  loaded: Loaded, kind: Kind, chosen: Export
) -> tuple[bytes, str, dict[str, Any]]:
  """The bytes of a file, the text beside it, and what is told of it."""
  found = runs.of_run(loaded, kind)
  if chosen.to.endswith(".jax"):
    return exported.exported(found), beside(found), {}
  data, told = _onnx(found, chosen.quantise != "none")
  if chosen.quantise != "none":
    data, cost = _rounded(data, found, loaded, chosen)
    told |= cost
  return data, beside(found), told


def _onnx(found: Program, rounded: bool) -> tuple[bytes, dict[str, Any]]:
  written = onnxfile.onnx_file(found, rounded)
  off = onnxfile.difference(written.data, found)
  scans = f"; recurrent layers as {', '.join(written.scans)}" if written.scans else ""
  print(f"{written.nodes} nodes{scans}")
  print(
    "onnxruntime is not installed: the file was not run"
    if off is None
    else f"largest difference in onnxruntime: {off:.1e}, of two lengths and batch sizes"
  )
  told = {"nodes": written.nodes, "scans": written.scans, "difference": off}
  return written.data, told


def _rounded(
  data: bytes, found: Program, loaded: Loaded, chosen: Export
) -> tuple[bytes, dict[str, Any]]:
  """The file in 8 bits, and what that costs."""
  small = rounding.rounded(data)
  if len(small) >= len(data):
    raise BadInput(
      f"quantise={chosen.quantise}: the file would have {len(small)} bytes instead of "
      f"{len(data)}: this model is small, or of convolutions, which keep their 32 bits"
    )
  off = rounding.largest(small, found)
  print(f"8 bits: {len(small)} bytes instead of {len(data)}")
  print(f"largest difference in 8 bits: {off:.1e}")
  told: dict[str, Any] = {"float_bytes": len(data), "rounded_difference": off}
  windows = _windows(loaded, chosen)
  if windows is not None:
    before, after = (rounding.nats(each, found, windows) for each in (data, small))
    print(
      f"{after:.4f} nats a token in {windows.shape[1]} windows of the validation text, "
      f"in 32 bits {before:.4f}"
    )
    told |= {"nats": before, "rounded_nats": after}
  return small, told


def _windows(loaded: Loaded, chosen: Export) -> NDArray[np.int32] | None:
  """Windows `[T + 1, W]` of the validation text of a language model."""
  if runs.kind_of(loaded) != "language":
    return None
  call = {"workdir": chosen.workdir, "checkpoint": chosen.checkpoint}
  try:
    _, run = modes.opened(Settings.of(charlm.PAGE, **call))
    tokens = load(run[Text], loaded.vocabulary).tokens["val"]
  except BadInput as error:
    warn(f"the loss in 8 bits was not measured: {error}")
    return None
  length = min(WINDOW, tokens.size // WINDOWS)
  starts = np.arange(WINDOWS) * (tokens.size // WINDOWS)
  return tokens[starts[None] + np.arange(length)[:, None]]


PAGE = Page("export", main, (Export,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
