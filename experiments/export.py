"""A trained model as a file that runs without this package: ONNX, or StableHLO of JAX.

  python -m experiments.export --workdir=RUN --to=model.onnx
  python -m experiments.export --workdir=RUN --to=step.onnx --program=step
  python -m experiments.export --workdir=RUN --to=model.jax

RUN is a run of another page. The ending says what is written: .onnx for onnxruntime,
OpenVINO, a browser or C++; .jax for `jax.export.deserialize`. A JSON file beside it has
the vocabulary, and how states start. An ONNX file is read back, and run where
onnxruntime is installed: the largest difference from the model is printed.
`docs/export.md` has the programs that read them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from experiments.session import door
from experiments.session.settings import Page, Settings
from experiments.session.terminal import result, warn
from unroll import files, loading
from unroll.exporting import exported, onnxfile
from unroll.exporting.program import Kind, Program, beside
from unroll.exporting.runs import of_run
from unroll.settings import setting
from unroll.types import BadInput

ENDINGS = (".onnx", ".jax")


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
    "sequence: T steps of B rows at once; step: one step, without a loop",
    choices=("sequence", "step"),
    role="call",
  )
  json: bool = setting(False, "ends standard output with one JSON object", role="call")


def main(settings: Settings) -> None:
  """Writes the file, and says what stands in it."""
  chosen = settings[Export]
  if not chosen.workdir:
    raise BadInput("give `workdir`, the folder of a run, such as one of charlm")
  path = Path(chosen.to)
  if path.suffix not in ENDINGS:
    raise BadInput(
      f"to={chosen.to}: give a file that ends in {' or '.join(ENDINGS)}, such as "
      "model.onnx"
    )
  loaded = loading.load(chosen.workdir, checkpoint=chosen.checkpoint, warn=warn)
  found = of_run(loaded, cast(Kind, chosen.program))
  write = _onnx if path.suffix == ".onnx" else _jax
  told = write(found, path)
  told_in = path.with_name(f"{path.name}.json")
  files.write(told_in, beside(found))
  size = path.stat().st_size
  print(f"{path}: {size / 2**20:.2f} MiB, the model of step {loaded.at}")
  print(f"{told_in}: how states start, and the vocabulary")
  result({"step": loaded.at, "bytes": size, **told}, chosen.json)


def _onnx(found: Program, path: Path) -> dict[str, Any]:
  written = onnxfile.onnx_file(found)
  off = onnxfile.difference(written.data, found)
  files.write(path, written.data)
  print(f"{written.nodes} nodes; recurrent layers as {', '.join(written.scans)}")
  print(
    "onnxruntime is not installed: the file was not run"
    if off is None
    else f"largest difference in onnxruntime: {off:.1e}, of two lengths and batch sizes"
  )
  return {"nodes": written.nodes, "scans": written.scans, "difference": off}


def _jax(found: Program, path: Path) -> dict[str, Any]:
  files.write(path, exported.exported(found))
  return {}


PAGE = Page("export", main, (Export,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
