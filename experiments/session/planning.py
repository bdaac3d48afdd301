"""The plan of a training step: which segments are computed again, to save memory."""

from collections.abc import Callable

from jax.stages import Lowered

from experiments.session.terminal import say
from experiments.session.training import Training
from unroll import memory, remat


def chosen(
  lower: Callable[[remat.Plan], Lowered], training: Training, steps: int
) -> remat.Plan:
  """The plan of `remat`; auto is the cheapest that fits `memory_budget`, and is told.

  Args:
    lower: makes the program of a training step under a plan.
    training: the settings.
    steps: T of a batch.
  """
  budget = memory.named_size(training.memory_budget)
  if training.remat != "auto":
    return remat.named_plan(training.remat)
  fit = memory.cheapest(lower, budget, steps)
  needs = {name: memory.size(need) for name, need in fit.needs.items()}
  said = f"{fit.plan.name} needs {needs.pop(fit.plan.name)} of {memory.size(budget)}"
  others = [f"{name} would need {need}" for name, need in needs.items()]
  say("; ".join([f"--remat=auto: {said}", *others]))
  return fit.plan
