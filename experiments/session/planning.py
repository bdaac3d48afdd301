"""The plan of a training step: which segments are computed again, to save memory."""

from collections.abc import Callable
from typing import Any

from jax.stages import Lowered

from experiments.session.terminal import say
from experiments.session.training import Training
from unroll import memory, remat
from unroll.gradients.scheme import duration


def chosen(
  lower: Callable[[remat.Plan, Any], Lowered],
  training: Training,
  example: Callable[[], Any],
) -> remat.Plan:
  """The plan of `remat`; auto is the cheapest that fits `memory_budget`, and is told.

  Args:
    lower: makes the program of a training step under a plan, on batches like this.
    training: the settings.
    example: gives a batch.
  """
  budget = memory.named_size(training.memory_budget)
  if training.remat != "auto":
    return remat.named_plan(training.remat)
  batch = example()
  fit = memory.cheapest(lambda plan: lower(plan, batch), budget, duration(batch))
  needs = {name: memory.size(need) for name, need in fit.needs.items()}
  said = f"{fit.plan.name} needs {needs.pop(fit.plan.name)} of {memory.size(budget)}"
  others = [f"{name} would need {need}" for name, need in needs.items()]
  say("; ".join([f"--remat=auto: {said}", *others]))
  return fit.plan
