"""Learning from what comes in while it comes: predict, then learn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.session.armfile import Arms
from experiments.session.settings import Settings
from experiments.session.task import Task
from experiments.session.training import Training, Truncation
from unroll.data.batches import Source
from unroll.data.live import Incoming
from unroll.gradients.chunks import Chunks
from unroll.metrics import Measure
from unroll.settings import setting
from unroll.types import BadInput


@dataclass(frozen=True)
class Online:
  """Online learning"""

  online: str = setting(
    "",
    "file, or - for standard input, that is learned from while it comes in: each part "
    "is predicted and then learned, once",
    kind="path",
    role="changing",
  )
  follow: float = setting(
    0.0,
    "seconds that the file of --online may stand still before training ends",
    least=0,
    role="call",
  )


def prepared(settings: Settings) -> Settings:
  """The settings with what a stream brings: one sequence, an update every step.

  Raises:
    BadInput: another batch was asked for, or several runs at once.
  """
  if not settings[Online].online:
    return settings
  given = settings.given.keys()
  if "batch" in given and settings[Training].batch != 1:
    raise BadInput(
      f"batch={settings[Training].batch}: online={settings[Online].online} is one "
      "sequence: drop `batch`"
    )
  if settings[Arms].arms:
    raise BadInput(f"arms={settings[Arms].arms}: a stream is read by one run: drop it")
  every_step = {}
  if Truncation in settings.page.groups and "truncation" not in given:
    every_step = {"truncation": "tbptt:1"}
  return settings.adopted({"batch": 1, **every_step})


def streamed(
  settings: Settings,
  task: Task,
  source: Callable[[Incoming], Source],
  measures: Sequence[Measure],
) -> Task:
  """A task on what comes in, judged by what was predicted before it was learned.

  Args:
    settings: of the page.
    task: the same on data that are there.
    source: the batches of a stream.
    measures: that need the sums of the loss alone; the first is its objective.
  """
  own = settings[Online]
  try:
    incoming = Incoming(own.online, own.follow)
  except BadInput as error:
    raise BadInput(f"online={error}") from None
  return task._replace(
    train=lambda seed, columns: source(incoming),
    evaluations={},
    measures=tuple(measures),
  )


def chunks(settings: Settings) -> tuple[int, int]:
  """The new steps of each batch of a stream, and those repeated before them.

  Raises:
    BadInput: the truncation has no fixed number of steps.
  """
  found: Chunks = settings[Truncation].scheme().chunks
  if found.length is None or found.lengths is not None:
    raise BadInput(
      f"{settings.shown('truncation')} has no fixed number of steps, and a stream "
      "needs one: use tbptt:K, or a scheme with a memory such as snap1"
    )
  return found.length, found.overlap
