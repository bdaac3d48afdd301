"""The memory of a training step: which plan it runs under, and what malloc keeps."""

import math
from collections.abc import Callable

from absl import flags
from jax.stages import Lowered

from experiments.session import architecture, common, dataset
from unroll import devices, memory, remat
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


def keep_memory() -> None:
  """Tells malloc how large the arrays of a training step are, of one run or arm."""
  length = FLAGS.window or common.scheme().chunks.length
  if not length or FLAGS.tokenizer != "char":  # or many words, not yet counted
    length = math.inf
  devices.keep_memory(FLAGS.batch, length, sum(architecture.hidden_sizes()))
