"""--arms: many runs in one program, each as if it had been run alone.

  python -m experiments.charlm --hidden=64 --steps=300 --arms=arms.json --json

The flags of the command are those of every arm; `armfile` says what the file holds. An
arm's folder is that of the same run alone: either way of running goes on with it. Arms
that were stopped at different steps wait for each other.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.session import (
  architecture,
  armfile,
  common,
  dataset,
  folder,
  planning,
  task,
)
from experiments.session.start import STARTED
from experiments.session.terminal import Display, interrupts
from unroll import devices, loop
from unroll.arms import Arms, one_by_one
from unroll.data.batches import Batch, Source, Stacked
from unroll.data.prefetch import dispatches
from unroll.report.page import page
from unroll.run import Progress, Run
from unroll.runlog import RunLog
from unroll.train import Arm, TrainState, evaluation, several
from unroll.types import BadInput, Params

FLAGS = flags.FLAGS


def train(
  experiment: str,
  own: tuple[str, ...],
  build: task.Build,
  finish: task.Finish | None = None,
) -> None:
  """--mode=train with --arms: see `trainer.train`."""
  if FLAGS.processes > 1:
    raise BadInput("--arms is for one process: drop --processes")
  owns = armfile.read(FLAGS.arms)
  armfile.refuse_flags()
  planning.keep_memory()
  count = devices.divide_arms(FLAGS.devices, len(owns))
  looped = one_by_one(FLAGS.batch * max(architecture.hidden_sizes()))
  group = Arms(len(owns), count, looped=looped)
  data = dataset.load()
  planned = functools.partial(build, data.vocabulary, data, "val")
  one = devices.Spread(1)  # a device trains whole arms
  made = planned(
    planning.chosen(lambda plan, batch: task.lowered(planned(plan), batch, one), data)
  )
  arms = armfile.each(owns, task.arm_of_flags)
  sources = armfile.each(owns, lambda: dataset.source(data.tokens["train"]))
  budget, states = _budget(sources), _fresh(made, arms)

  def asked():
    return experiment, common.config(*own), data.vocabulary, data.digest

  # Only when all that is asked for has been found good is anything written.
  armfile.each(owns, lambda: folder.check(*asked()))
  paths = armfile.each(owns, lambda: folder.prepare(*asked()))
  states, runs, done = _fit(
    made, group, arms, sources, states, budget, data.tokens_per_char["val"], paths
  )
  summaries: list[dict[str, Any]] = []
  for each, state, run, path in zip(owns, states, runs, paths):
    if run.error:
      common.say(f"{path}: {run.error}")
      summaries.append({"error": str(run.error), "workdir": str(path)})
      continue
    finished = done or run.progress.step >= (budget.steps or 0)
    with each.applied():
      summaries.append(task.summary(run.progress, state, finished, path))
      if finished:
        print(f"{path}:")
        task.show(summaries[-1])
        if finish:
          params = jax.device_put(task.averaged(state))
          finish(made.model, params, data.vocabulary, path)
      with task.extra(path / "report.html"):
        page(
          path,
          command=folder.command(experiment),
          summary=summaries[-1],
          measures=task.MEASURES,
        )
  if not done:
    common.say(f"interrupted; the same command with --arms={FLAGS.arms} goes on")
  common.result(summaries)


def _budget(sources: Sequence[Source]) -> loop.Budget:
  budgets = {task.budgeted(source) for source in sources}
  if len(budgets) > 1:
    raise BadInput(
      f"--truncation={FLAGS.truncation} cuts an epoch into another number of steps for "
      "each seed, so that arms would not end together: give --steps, not --epochs"
    )
  return budgets.pop()


def _fresh(made: task.Task, arms: Sequence[Arm]) -> list[TrainState]:
  """The states before the first step, by one program for all seeds; on the host."""

  @jax.jit
  def fresh(seeds):
    return jax.lax.map(functools.partial(task.fresh_state, made), seeds)

  task.check_size(
    jax.eval_shape(functools.partial(task.fresh_state, made), arms[0].seed)
  )
  seeds = jax.device_put(np.array([arm.seed for arm in arms]))
  states = jax.device_get(fresh(seeds))
  return [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(len(arms))]


def _fit(
  made: task.Task,
  group: Arms,
  arms: Sequence[Arm],
  sources: Sequence[Source],
  states: Sequence[TrainState],
  budget: loop.Budget,
  tokens_per_char: float,
  paths: Sequence[Path],
) -> tuple[list[TrainState], list[Run], bool]:
  """Trains each arm in its folder, from its newest checkpoint if there is one.

  Returns:
    The states, the runs, and whether all of the budget is spent.
  """
  parameters = sum(leaf.size for leaf in jax.tree.leaves(states[0].params))
  resumed = [task.resumed(s, path, budget) for s, path in zip(states, paths)]
  states, progresses = zip(*resumed)
  common.say(
    f"{len(paths)} arms of {parameters:,} parameters, {len(sources[0]):,} steps an "
    f"epoch, runs in {paths[0]} to {paths[-1]}"
  )
  alike = len({repr(source) for source in sources}) == 1
  source, axis = (sources[0], None) if alike else (Stacked(group.filled(sources)), 1)
  advance = group.program(
    several(functools.partial(task.step_of, made)), (0, 0, axis, 0, 0), donate=(1,)
  )
  own = group.stack(arms)

  def dispatch(state, batches, counts, controls):
    steps = group.stack([np.int32(count) for count in counts])
    return advance(own, state, batches, steps, group.stack(controls))

  with contextlib.ExitStack() as stack:
    least = min(progresses, key=lambda progress: progress.step)
    show = _together(stack.enter_context(Display(budget, least)))
    runs = []
    for number, (progress, path) in enumerate(zip(progresses, paths)):
      log = stack.enter_context(RunLog(path, progress.step, warn=common.say))
      saved = stack.enter_context(folder.checkpoints(path))
      shown = functools.partial(show, number)
      runs.append(Run(progress, task.hooks(log, saved, shown), STARTED))
    state, done = loop.fit(
      loop.Program(dispatch, _evaluator(made, group, tokens_per_char), group.split),
      group.stack(states),
      runs,
      (
        (count, jax.device_put(batches, group.sharding(axis)))
        for count, batches in _joined(source, progresses, budget)
      ),
      budget,
      stop=stack.enter_context(interrupts()),
      eval_every=FLAGS.eval_every,
      checkpoint_every=FLAGS.checkpoint_every,
    )
  return group.split(state), runs, done


def _joined(
  source: Source, progresses: Sequence[Progress], budget: loop.Budget
) -> Iterator[tuple[int, Batch]]:
  """The dispatches from the first arm's step on; none crosses the step of another."""
  assert budget.steps is not None
  periods = (FLAGS.eval_every, FLAGS.checkpoint_every)
  starts = sorted({min(progress.step, budget.steps) for progress in progresses})
  for start, stop in itertools.pairwise([*starts, budget.steps]):
    if start != stop:
      yield from dispatches(source, start, stop, FLAGS.dispatch, periods)


def _evaluator(
  made: task.Task, group: Arms, tokens_per_char: float
) -> Callable[[TrainState], list[dict[str, float]]]:
  """Compiles `state -> [{"val/loss_streamed": …} of each arm]`."""

  def compiled(source: Source) -> Callable[[Params], list[Any]]:
    batches = jax.tree.map(lambda *leaves: np.stack(leaves), *source)
    batches = jax.device_put(batches, group.sharding(None))
    count = jax.device_put(np.int32(len(source)), group.sharding(None))

    def sums(params: Params, batches: Any, count: Any):
      carry = made.carry(params, source.rows)
      return evaluation(made.loss)(params, carry, batches, count)[1]

    run = group.program(sums, (0, None, None))
    return lambda params: group.split(run(params, batches, count))

  measures = {name: compiled(source) for name, source in made.evaluations.items()}

  def evaluate(state: TrainState) -> list[dict[str, float]]:
    params = task.averaged(state)
    sums = [measure(params) for measure in measures.values()]
    return [
      task.numbers(made, "val", dict(zip(measures, own)), tokens_per_char)
      for own in zip(*sums)
    ]

  return evaluate


def _together(display: Display) -> Callable[[int, Progress, float, float], None]:
  """Shows the least of all losses, and the tokens of all arms."""
  latest: dict[int, tuple[float, float]] = {}

  def show(number: int, progress: Progress, loss: float, speed: float) -> None:
    latest[number] = loss, speed
    losses, speeds = zip(*latest.values())
    least = min(filter(math.isfinite, losses), default=math.nan)
    display.show(progress._replace(last={}), least, sum(speeds))

  return show
