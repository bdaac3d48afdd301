"""How a run goes on: its newest checkpoint, and what has changed since."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from experiments.session import folder, identity
from experiments.session.settings import Settings
from experiments.session.terminal import say, warn
from experiments.session.training import Training
from unroll import checkpoint, loop, schedules
from unroll.run import Progress
from unroll.schedules import NonMonotone, plateau
from unroll.train import TrainState


def resumed(
  state: TrainState,
  path: Path,
  settings: Settings,
  budget: loop.Budget,
  begun: Callable[[TrainState], TrainState],
) -> tuple[TrainState, Progress]:
  """State and progress of a run's newest checkpoint; without one that of `begun`.

  From then on its configuration is that of the settings, and what has changed is told.
  """
  training = settings[Training]
  restored = checkpoint.restore(path / folder.CHECKPOINTS, state, warn=warn)
  if restored is None:
    identity.update(path, settings, 0)
    trigger = NonMonotone(training.asgd)
    start = Progress(0, 0.0, 0.0, plateau(training.schedule), {}, {}, trigger)
    return begun(state), start
  progress = Progress.from_json(restored.meta)
  say(f"resumed {path} at step {progress.step}")
  changed = identity.update(path, settings, progress.step)
  further = _end(budget, progress) or _schedule(
    budget, progress, changed, settings[Training]
  )
  for sentence in filter(None, (_changes(changed), further)):
    warn(sentence)
  return restored.state, progress


def _changes(changed: Mapping[str, tuple[Any, Any]]) -> str:
  """What a run that goes on has of other values."""
  pairs = [
    f"{_shown(n, now)}, not {_shown(n, was)}" for n, (was, now) in changed.items()
  ]
  return f"from here on with {'; with '.join(pairs)}" if pairs else ""


def _end(budget: loop.Budget, progress: Progress) -> str:
  """Why a run has nothing left to train."""
  if budget.steps is not None and progress.step >= budget.steps:
    return f"it is to end at step {budget.steps}: more --steps or --epochs go on"
  bad = progress.plateau.bad
  if budget.patience and bad >= budget.patience:
    return f"{bad} evaluations brought no new best: another --patience goes on"
  return ""


def _schedule(
  budget: loop.Budget,
  progress: Progress,
  changed: Mapping[str, Any],
  training: Training,
) -> str:
  """What another end does to the learning rate."""
  if not changed.keys() & {"steps", "epochs", "minutes"}:
    return ""
  if not schedules.follows_end(training.schedule):
    return ""
  rate = schedules.schedule(training.schedule, 1.0, training.warmup_steps)
  horizon = budget.horizon(progress.step, progress.seconds)
  share = rate(jnp.int32(progress.step), jnp.float32(horizon), jnp.float32(1))
  return (
    f"--schedule={training.schedule} falls until the new end, about step "
    f"{horizon:,.0f}: the learning rate goes on with {share:.3g} of its highest, as in "
    "a run of that length"
  )


def _shown(name: str, value: Any) -> str:
  return f"no --{name}" if value is None else f"--{name}={value}"
