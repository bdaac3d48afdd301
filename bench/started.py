"""The first step of `experiments.charlm`, and what the time before it went to.

  python -m bench.started '{"batch": 32, "steps": 64, "inputs": 64, "hidden": 256,
    "cell": "lstm", "layers": 2}' /tmp/run

Its last line is JSON: seconds of each part of the start. Two threads may be at two
parts, so that they add up to more than the whole.
"""

import json
import os
import sys
import time

BEGAN = time.perf_counter()

import jax  # noqa: E402

JAX = time.perf_counter()

from bench.shapes import Shape  # noqa: E402
from experiments import charlm  # noqa: E402
from experiments.session import door, trainer  # noqa: E402
from unroll import runlog  # noqa: E402

IMPORTED = time.perf_counter()
PARTS = {
  "/jax/core/compile/jaxpr_trace_duration": "tracing",
  "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
  "/jax/core/compile/backend_compile_duration": "compiling, or reading what is kept",
}


class Parts:
  """Collects when JAX was at each part, whose inner ones it tells of as well."""

  def __init__(self) -> None:
    self.spans: dict[str, list[tuple[float, float]]] = {}

  def told(self, event: str, duration_secs: float, **_: str | int) -> None:
    """What JAX calls once a part is over."""
    if event in PARTS:
      now = time.perf_counter()
      self.spans.setdefault(PARTS[event], []).append((now - duration_secs, now))

  def seconds(self) -> dict[str, float]:
    """How long JAX was at each part."""
    return {name: _covered(spans) for name, spans in self.spans.items()}


def _covered(spans: list[tuple[float, float]]) -> float:
  """The length of a union of spans."""
  total, end = 0.0, 0.0
  for first, last in sorted(spans):
    total += max(0.0, last - max(first, end))
    end = max(end, last)
  return total


def main() -> None:
  """Runs the page up to its first record."""
  shape, workdir = Shape(**json.loads(sys.argv[1])), sys.argv[2]
  parts, begun = Parts(), []
  jax.monitoring.register_event_duration_secs_listener(parts.told)
  fit = trainer.loop.fit

  def fitted(*args, **kwargs):
    begun.append(time.perf_counter())
    return fit(*args, **kwargs)

  def ended(log: runlog.RunLog, record: object) -> None:
    now = time.perf_counter()
    print(
      json.dumps(
        {
          "import of JAX": JAX - BEGAN,
          "import of the page": IMPORTED - JAX,
          **parts.seconds(),
          "the step": now - begun[0],
        }
      ),
      flush=True,
    )
    os._exit(0)

  trainer.loop.fit = fitted
  runlog.RunLog.write = ended  # type: ignore
  flags = [
    *(f"--cell={shape.cell}", f"--hidden={shape.hidden}", f"--layers={shape.layers}"),
    *(f"--embedding={shape.inputs}", f"--batch={shape.batch}"),
    *(f"--truncation=tbptt:{shape.steps}", f"--workdir={workdir}"),
  ]
  sys.argv[1:] = flags
  door.run(charlm.PAGE)


if __name__ == "__main__":
  main()
