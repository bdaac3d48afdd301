"""Long memory: tasks whose answers depend on what was read long before.

  python -m experiments.memory --task=adding --length=100 --cell=gru --hidden=64
  python -m experiments.memory --flagfile=experiments/recipes/memory/copy_500.flags
  python -m experiments.memory --mode=eval --workdir=RUN

Each batch has new sequences. Beside the loss stands that of the trivial guess, which
remembers nothing.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from experiments.parts import layers, watching
from experiments.parts.watching import Watching
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Evaluation, Size, Task
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import remat, scan
from unroll.architecture import Architecture
from unroll.data.batches import ALL
from unroll.data.synthetic.named import TASKS
from unroll.data.synthetic.task import EVALUATION, Sequences
from unroll.gradients import ChunkLoss
from unroll.layers import initial_carry
from unroll.metrics import Measure, mean_of
from unroll.models.sequence import NEAR, sequence_loss, sequence_model
from unroll.settings import setting
from unroll.types import Sums

EPOCH = 1000  # batches, as there is no end of sequences
ROWS, EVALUATED = 128, 8  # sequences side by side in an evaluation, and its batches


@dataclass(frozen=True)
class Memory:
  """Long memory"""

  mode: str = setting("train", "what to do", choices=("train", "eval"), role="call")
  task: str = setting("adding", "what is to be remembered", choices=sorted(TASKS))
  length: int = setting(
    100,
    "T: the steps of a sequence, or the most; copy has 20 more, tasks of 1997 up to a "
    "tenth more",
    least=1,
    most=10**6,
  )


def main(settings: Settings) -> None:
  """Trains or evaluates, as `mode` says."""
  modes.run(settings, _task)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  chosen, architecture = settings[Memory], layers.architecture(settings)
  task, training = TASKS[chosen.task], settings[Training]
  model_of = functools.partial(sequence_model, architecture, task)
  model = model_of()
  val = Sequences(task, chosen.length, ROWS, seed=EVALUATION, batches=EVALUATED)
  trivial = Sums(task.trivial(chosen.length), 1.0)  # type: ignore[arg-type]

  def loss(plan: remat.Plan, backward: scan.Backward) -> ChunkLoss:
    return sequence_loss(model_of(plan=plan), backward)

  def train(seed: int, columns: slice = ALL) -> Sequences:
    return Sequences(
      task, chosen.length, training.batch, seed=seed, batches=EPOCH, columns=columns
    )

  sizes = architecture.sizes
  return Task(
    init=lambda key: model.init(key, task.example),
    carry=functools.partial(initial_carry, model),
    loss=loss,
    train=train,
    evaluations={"val": Evaluation({"fixed": val}, {"trivial": trivial})},
    measures=_measures(chosen),
    size=Size(max(sizes), sum(sizes), float(len(val[0].weight))),
    data=val.digest(),
    model="memory",
    splits={"val": int(sum(batch.weight.sum() for batch in val))},
    counted="answers",
    sized_by=("hidden", "layers", "length"),
    watch=watching.watch(settings, architecture, task.width, model, sequence_loss),
  )


def _measures(chosen: Memory) -> tuple[Measure, ...]:
  """The loss beside the trivial one, their ratio, and the sequences that are right."""
  task = TASKS[chosen.task]
  loss, trivial = mean_of("loss"), mean_of("trivial")
  value = task.trivial(chosen.length)
  return (
    Measure(
      "loss",
      "nats" if task.classes else "squared error",
      "lower",
      loss,
      form=".3g",
      beside=(value, f"trivial guess: {value:.4g}"),
    ),
    Measure(
      "trivial",
      "",
      "lower",
      trivial,
      form=".4g",
      label=f"by the trivial guess ({task.guess})",
      drawn=False,
    ),
    Measure(
      "of_trivial",
      "",
      "lower",
      lambda sums: loss(sums) / trivial(sums),
      form=".2%",
      label="of its loss",
      drawn=False,
    ),
    Measure(
      "accuracy",
      "" if task.classes else f"errors below {NEAR:g}",
      "higher",
      mean_of("accuracy"),
      form=".1%",
      label="of sequences right",
      logged=True,
    ),
  )


PAGE = Page(
  "memory",
  main,
  (Memory, Architecture, Training, Watching, Transfer, Folder, Processes, Arms),
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
