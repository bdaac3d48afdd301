"""What every page does with a task: train it, restore it, evaluate it.

One path leads from a task to a finished run, of one run or of many side by side. What
differs is where arrays lie: `Alone` or `Together`.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import jax

from experiments.session import (
  agreement,
  armfile,
  conclusion,
  folder,
  gang,
  identity,
  planning,
  transfer,
)
from experiments.session.alone import Alone
from experiments.session.folder import Folder
from experiments.session.pieces import Pieces, parameters
from experiments.session.prepared import Place, Prepared, prepared, programs
from experiments.session.resumption import resumed
from experiments.session.settings import Settings
from experiments.session.spent import Spent
from experiments.session.start import began
from experiments.session.task import Build, Member, Task
from experiments.session.terminal import Display, detail, interrupts, result, say, warn
from experiments.session.together import Together
from experiments.session.training import Training
from unroll import loop, remat
from unroll.data.batches import ALL, Source
from unroll.data.live import Live, arriving
from unroll.data.prefetch import dispatches
from unroll.gradients.scheme import duration
from unroll.loading import load, texts
from unroll.run import Hooks, Objective, Progress, Run
from unroll.runlog import RunLog
from unroll.train import TrainState
from unroll.types import BadInput


def train(
  settings: Settings,
  build: Build,
  start: Callable[[TrainState], TrainState] | None = None,
) -> None:
  """From settings to a finished run, or as far as it is let; of every arm of --arms.

  Args:
    settings: of the call.
    build: makes the task.
    start: the state before the first step, of one as it is by itself; None: as
      the settings of `transfer.Transfer` say.
  """
  try:
    _train(settings, build, start)
  finally:
    folder.release()


def _train(
  settings: Settings,
  build: Build,
  start: Callable[[TrainState], TrainState] | None,
) -> None:
  together = bool(settings[armfile.Arms].arms)
  each = armfile.read(settings) if together else [settings]
  spent = Spent(began())
  task = spent.timed("data", build)(settings, None)  # before JAX looks for its devices
  count = len(each) if together else None
  made = functools.partial(_made, settings, build, task, count)
  place, pieces, shapes = made() if together else prepared(settings, task, made)
  task = pieces.task
  arms = [one[Training].arm() for one in each]
  sources = [task.train(one[Training].seed, place.columns) for one in each]
  budget = _budget(each, sources)
  take = transfer.taking(each[0], task)
  transfer.check(shapes.params, settings, take)
  begun = start or functools.partial(transfer.begun, take=take)
  detail(place.lie(pieces.training.batch))
  place.prepare(pieces, shapes)
  states = place.fresh(pieces, arms)

  def folders() -> list[Path]:
    # Only when all that is asked for has been found good is anything written.
    for one in each:
      folder.check(one, task)
    return [folder.prepare(one, task) for one in each]

  paths = place.told(folders)
  restores = [
    functools.partial(resumed, path=path, settings=one, budget=budget, begun=begun)
    for path, one in zip(paths, each)
  ]
  members = [Member(*own) for own in zip(each, arms, sources, paths, strict=True)]
  found = place.restored(states, restores)
  state, runs, done = _fit(pieces, place, members, budget, found, spent)
  if runs[0].error and not together:  # in every process that took part
    raise runs[0].error
  if gang.speaks():
    summaries = conclusion.conclude(pieces, members, state, runs, done, budget)
    result(summaries if together else summaries[0], settings[Folder].json)


def evaluate(settings: Settings, build: Build) -> None:
  """The validation split of a run, and its test split where there is one."""
  path, settings = folder.existing(settings)
  saved = identity.read(path, settings.page)
  task = build(settings, texts(path, saved["files"]))
  place = Alone(settings, task.size, programs(settings, task))
  identity.check_data(path, saved, task, settings)
  pieces = Pieces.of(task, settings, remat.NONE)
  model = load(path, checkpoint=settings[Folder].checkpoint, warn=warn)
  results: dict[str, Any] = {}
  for split in task.evaluations:
    results |= place.evaluator(pieces, split)(model.params)
  for name, value in results.items():
    print(f"{name:24} {value:.5g}")
  result({**results, "step": model.at, "workdir": str(path)}, settings[Folder].json)


def _made(settings: Settings, build: Build, task: Task, count: int | None) -> Prepared:
  """A run up to its program, or `count` of them side by side."""
  size = task.size
  place: Place = (
    Together(settings, size, count)
    if count
    else Alone(settings, size, programs(settings, task))
  )
  task.check()
  if (other := agreement.agreed(settings, task)) is not settings:
    settings, task = other, build(other, None)
    if isinstance(place, Alone):
      place.programs = programs(settings, task)
  pieces = _pieces(settings, task, place)
  shapes = place.shapes(pieces, settings[Training].arm())
  pieces.check_size(shapes, settings)
  return Prepared(place, pieces, shapes)


def _pieces(settings: Settings, task: Task, place: Place) -> Pieces:
  """The pieces of the program under the plan of `remat`."""
  training = settings[Training]
  example = task.train(training.seed, ALL).example()

  def lowered(plan: remat.Plan) -> jax.stages.Lowered:
    pieces = Pieces.of(task, settings, plan, example)
    return pieces.lowered(example, place.spread, settings)

  plan = planning.chosen(lowered, training, duration(example))
  return Pieces.of(task, settings, plan, example)


def _budget(each: Sequence[Settings], sources: Sequence[Source]) -> loop.Budget:
  budgets = {one[Training].budget(source) for one, source in zip(each, sources)}
  if len(budgets) > 1:
    raise BadInput(
      f"{each[0].shown('truncation')} cuts an epoch into another number of steps for "
      "each seed, so that arms would not end together: give `steps`, not `epochs`"
    )
  return budgets.pop()


def _fit(
  pieces: Pieces,
  place: Place,
  members: Sequence[Member],
  budget: loop.Budget,
  found: Sequence[tuple[TrainState, Progress]],
  spent: Spent,
) -> tuple[Any, list[Run], bool]:
  """Trains each run in its folder, from where it was.

  Returns:
    The state of all, the runs, and whether the budget is spent.
  """
  states, progresses = zip(*found)
  _say_what_begins(states[0], members)
  training, task = pieces.training, pieces.task
  watched = task.watch.every if task.watch else 0
  periods = (training.eval_every, training.checkpoint_every, watched)
  objective = _objective(task)
  state = place.placed(states)
  program = spent.running(place.program(pieces, members, state))
  with contextlib.ExitStack() as stack:
    enter = stack.enter_context
    writers = [
      enter(_writers(member, progress)) for member, progress in zip(members, progresses)
    ]
    interrupted = enter(interrupts())
    least = min(progresses, key=lambda progress: progress.step)
    display: Any = enter(
      gang.alone(lambda: Display(budget, least, objective.name, task.counted))
    )
    shows = place.displays(display, len(members))
    program, stop, late = place.agreed(program, interrupted)
    runs = [
      Run(progress, _hooks(task, member, *both, show, place, spent), began())
      for progress, member, both, show in zip(progresses, members, writers, shows)
    ]
    state, done = loop.fit(
      program,
      state,
      runs,
      spent.waited(
        "waiting for data",
        place.batches(
          members,
          lambda source: _joined(
            *(source, progresses, budget, training.dispatch, periods, interrupted)
          ),
        ),
      ),
      budget,
      stop=stop,
      eval_every=training.eval_every,
      checkpoint_every=training.checkpoint_every,
      watch_every=watched,
      late=late,
    )
    spent.timed("checkpoints", stack.close)()
  spent.tell()
  return program.split(state), runs, done


def _say_what_begins(state: TrainState, members: Sequence[Member]) -> None:
  first, *others = members
  many, where = "", f"run in {first.path}"
  if others:
    many = f"{len(members)} arms of "
    where = f"runs in {first.path} to {others[-1].path}"
  steps = "a stream" if first.source.live else f"{len(first.source):,} steps an epoch"
  say(f"{many}{parameters(state):,} parameters, {steps}, {where}")


@contextlib.contextmanager
def _writers(member: Member, progress: Progress) -> Iterator[tuple[Any, Any]]:
  """The log and the checkpoints of a run; in one of several processes alone."""
  with (
    gang.alone(lambda: RunLog(member.path, progress.step, warn=warn)) as log,
    gang.alone(lambda: folder.checkpoints(member.path, member.settings)) as kept,
  ):
    yield log, kept


def _objective(task: Task) -> Objective:
  first, split = task.measures[0], "val" if task.evaluations else "online"
  return Objective(f"{split}/{first.name}", first.better)


def _hooks(
  task: Task,
  member: Member,
  log: Any,
  checkpoints: Any,
  show: Any,
  place: Place,
  spent: Spent,
) -> Hooks:
  """What the loop calls for a run: its log, its checkpoints, the terminal.

  The log is on disk before a checkpoint is, which is therefore never ahead of it.
  """
  training = member.settings[Training]
  counts = task.watch and training.clip_by == "global_norm"

  def save(state: TrainState, progress: Progress, best: bool) -> None:
    log.sync()
    whole = place.spread.gathered(state)
    checkpoints.save(progress.step, whole, progress.to_json(), best=best)

  return Hooks(
    _objective(task),
    spent.timed("checkpoints", save),
    spent.noting(log.write),
    show,
    checkpoints.check,
    measures=tuple(m for m in task.measures if m.logged),
    counted=task.counted,
    clip_norm=training.clip_norm if counts else 0.0,
    online=() if task.evaluations else task.measures,
  )


def _joined(
  source: Source,
  progresses: Sequence[Progress],
  budget: loop.Budget,
  size: int,
  periods: Sequence[int],
  asked: Callable[[], bool],
) -> Iterator[tuple[int, Any]]:
  """The dispatches from the first run's step on; none crosses the step of another."""
  if source.live:
    live, step = cast(Live, source), progresses[0].step
    yield from arriving(live, step, budget.steps, size, periods, asked)
    return
  last = math.inf if budget.steps is None else budget.steps
  starts = sorted({progress.step for progress in progresses if progress.step < last})
  for start, stop in itertools.pairwise([*starts, budget.steps]):
    assert start is not None
    yield from dispatches(source, start, stop, size, periods)
