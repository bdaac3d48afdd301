"""--remat: which plan a training step runs under."""

from collections.abc import Callable

from absl import flags
from jax.stages import Lowered

from experiments import common, dataset
from unroll import memory, remat
from unroll.data.batches import Batch

FLAGS = flags.FLAGS


def chosen(
  lower: Callable[[remat.Plan, Batch], Lowered], data: dataset.Dataset
) -> remat.Plan:
  """The plan of --remat; auto is the cheapest that fits --memory_budget, and is told.

  Args:
    lower: makes the program of a training step under a plan, on batches like this.
    data: what is trained on.
  """
  budget = memory.named_size(FLAGS.memory_budget)
  if FLAGS.remat != "auto":
    return remat.named_plan(FLAGS.remat)
  batch = dataset.source(data.tokens["train"])[0]
  fit = memory.cheapest(lambda plan: lower(plan, batch), budget, len(batch.inputs))
  needs = {name: memory.size(need) for name, need in fit.needs.items()}
  said = f"{fit.plan.name} needs {needs.pop(fit.plan.name)} of {memory.size(budget)}"
  others = [f"{name} would need {need}" for name, need in needs.items()]
  common.say("; ".join([f"--remat=auto: {said}", *others]))
  return fit.plan
