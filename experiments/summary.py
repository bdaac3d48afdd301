"""What a run has come to: its parameters, its numbers, its curves."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from absl import flags

from experiments import common
from unroll import loop
from unroll.report.curves import curves
from unroll.runlog import read
from unroll.train import TrainState
from unroll.types import Params

FLAGS = flags.FLAGS


def of(
  state: TrainState, progress: loop.Progress, finished: bool, path: Path
) -> tuple[Params, dict[str, Any]]:
  """Draws the curves of a run.

  Returns:
    The parameters to use, on one device, and the numbers of `--json`.
  """
  params = common.optimizer().averaged(*jax.device_get((state.opt_state, state.params)))
  params = jax.device_put(params, jax.local_devices()[0])
  records = read(path / "metrics.jsonl")
  losses = [r["train/loss"] for r in records if r.get("train/loss") is not None][-100:]
  speeds = [r["tokens_per_second"] for r in records if "tokens_per_second" in r]
  starts = [r["start_seconds"] for r in records if "start_seconds" in r]
  summary = {
    "steps": progress.step,
    "tokens": int(progress.tokens),
    "seconds": round(progress.seconds, 2),
    "start_seconds": round(starts[-1], 2) if starts else None,
    "tokens_per_second": round(statistics.median(speeds)) if speeds else 0,
    "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    "train/loss": statistics.fmean(losses) if losses else None,
    **_without_step(progress.last),
    **{f"best/{name}": value for name, value in progress.best.items()},
    "skipped": int(state.skipped),
    "finished": finished,
    "workdir": str(path),
  }
  if progress.step:
    curves(path, clip_norm=FLAGS.clip_norm if FLAGS.clip_by == "global_norm" else None)
  return params, summary


def _without_step(numbers: Mapping[str, float]) -> dict[str, float]:
  return {name: value for name, value in numbers.items() if name != "step"}
