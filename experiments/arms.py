"""--arms: many runs in one program, each as if it had been run alone.

  python -m experiments.charlm --hidden=64 --layers=1 --steps=300 --arms=arms.json --json

The flags of the command are those of every arm; the file says what an arm has of its
own, `[{"workdir": "a", "flags": {"seed": "1", "learning_rate": "0.01"}}, …]`. An arm's
folder is that of the same run alone: either way of running goes on with it.
"""

import contextlib
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from experiments import STARTED, common, dataset, planning, task, workdir
from experiments.terminal import Display, interrupts
from unroll import checkpoint, devices, loop
from unroll.arms import Arms
from unroll.data.batches import Source, Stacked
from unroll.data.prefetch import dispatches
from unroll.run import Progress, Run
from unroll.runlog import RunLog
from unroll.train import Arm, TrainState, evaluation, several
from unroll.types import BadInput, Params

FLAGS = flags.FLAGS

flags.DEFINE_string(
  "arms", "", "a JSON file of runs that differ in few numbers, trained in one program"
)


class Own(NamedTuple):
  """What an arm has of its own: its run folder, and some of `Arm`'s flags."""

  workdir: str
  flags: Mapping[str, Any]

  @contextlib.contextmanager
  def applied(self) -> Iterator[None]:
    """Makes the flags those of this arm."""
    own = {"workdir": self.workdir, **self.flags}
    before = {name: FLAGS[name].value for name in own}
    try:
      for name, value in own.items():
        setattr(FLAGS, name, value)
      yield
    finally:
      for name, value in before.items():
        FLAGS[name].value = value


def train(
  experiment: str,
  own: tuple[str, ...],
  build: task.Build,
  finish: task.Finish | None = None,
) -> None:
  """--mode=train with --arms: see `session.train`."""
  arms = read(FLAGS.arms)
  _refuse_flags()
  group = Arms(len(arms), devices.divide_arms(FLAGS.devices, len(arms)))
  data = dataset.load()
  planned = functools.partial(build, data.vocabulary, data, "val")
  one = devices.Spread(1)
  plan = planning.chosen(lambda plan, some: task.lowered(planned(plan), some, one), data)
  made = planned(plan)
  values, sources, identities = [], [], []
  for arm in arms:
    with arm.applied():
      values.append(task.arm_of_flags())
      sources.append(dataset.source(data.tokens["train"]))
      identity = (experiment, common.config(*own), data.vocabulary, data.digest)
      workdir.check(*identity)
      identities.append(identity)
  budget = _common_budget(sources)
  fresh = _fresh(made, values)
  paths = []
  for arm, identity in zip(arms, identities):
    with arm.applied():
      paths.append(workdir.prepare(*identity))
  states, runs, done = _fit(
    made, group, values, sources, fresh, budget, data.tokens_per_char["val"], paths
  )
  summaries: list[dict[str, Any]] = []
  for arm, state, run, path in zip(arms, states, runs, paths):
    if run.error:
      summaries.append({"error": str(run.error), "workdir": str(path)})
      common.say(f"{path}: {run.error}")
      continue
    finished = done or run.progress.step == budget.steps
    with arm.applied():
      told = task.summary(run.progress, state, finished, path)
      summaries.append(told)
      if not finished:
        continue
      print(
        f"{path}: validation: {told['val/bits_per_char']:.3f} bits per character, "
        f"perplexity {told['val/perplexity']:.2f}"
      )
      if finish:
        finish(made.model, _averaged(state), data.vocabulary, path)
  if not done:
    common.say(f"interrupted; the same command with --arms={FLAGS.arms} goes on")
  if FLAGS.json:
    print(json.dumps(summaries))


def read(path: str) -> list[Own]:
  """The arms of a file.

  Raises:
    BadInput: if there is none, or something in it is not what an arm has of its own.
  """
  try:
    content = json.loads(Path(path).read_text("utf-8"))
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise BadInput(f"--arms={path} cannot be read as JSON: {reason}") from None
  if not isinstance(content, list) or not content:
    raise BadInput(f'--arms={path} holds no list of {{"workdir": …, "flags": {{…}}}}')
  arms = []
  for number, entry in enumerate(content):
    match entry:
      case {"workdir": str(folder), "flags": dict(given), **rest} if folder and not rest:
        own = {name: _parsed(path, number, name, given[name]) for name in given}
        arms.append(Own(folder, own))
      case _:
        raise BadInput(
          f'--arms={path}, arm {number}: give {{"workdir": "…", "flags": {{…}}}} and '
          f"nothing else, not {json.dumps(entry)[:60]}"
        )
  folders = [Path(arm.workdir).resolve() for arm in arms]
  for folder in folders:
    if folders.count(folder) > 1:
      raise BadInput(f"--arms={path}: two arms share {folder}: give each its own")
  return arms


def _parsed(path: str, number: int, name: str, value: Any) -> Any:
  if name not in Arm._fields:
    raise BadInput(
      f"--arms={path}, arm {number}: --{name} makes another program; what may differ is "
      f"{', '.join(Arm._fields)}"
    )
  try:
    return FLAGS[name].parser.parse(str(value))
  except (ValueError, TypeError) as error:
    raise BadInput(
      f"--arms={path}, arm {number}: --{name}={value}: {error}"
    ) from None


def _refuse_flags() -> None:
  if FLAGS.workdir:
    raise BadInput(f"--workdir={FLAGS.workdir}: each arm of --arms has its own; drop it")
  if FLAGS.minutes is not None:
    raise BadInput(
      f"--minutes={FLAGS.minutes}: how far an arm comes in that time depends on the "
      "others; give --steps or --epochs"
    )
  if FLAGS.patience:
    raise BadInput(
      f"--patience={FLAGS.patience}: arms end together, and would run out of it at "
      "different steps; drop it"
    )


def _common_budget(sources: Sequence[Source]) -> loop.Budget:
  budgets = {task.budgeted(source) for source in sources}
  if len(budgets) > 1:
    steps = ", ".join(str(budget.steps) for budget in sorted(budgets))
    raise BadInput(
      f"--truncation={FLAGS.truncation} cuts an epoch into another number of steps for "
      f"each seed, and --epochs would end arms after {steps}; give --steps"
    )
  return budgets.pop()


def _fresh(made: task.Task, values: Sequence[Arm]) -> list[TrainState]:
  """The states before the first step, of one program for all seeds; on the host."""

  @jax.jit
  def fresh(seeds):
    return jax.lax.map(functools.partial(task.fresh_state, made), seeds)

  states = jax.device_get(fresh(np.array([arm.seed for arm in values])))
  return [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(len(values))]


def _fit(
  made: task.Task,
  group: Arms,
  values: Sequence[Arm],
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
  found = [task.resumed(state, path) for state, path in zip(states, paths)]
  common.say(
    f"{len(paths)} arms of {parameters:,} parameters, {len(sources[0]):,} steps an "
    f"epoch, runs in {paths[0]} to {paths[-1]}"
  )
  evaluate = _evaluator(made, group, tokens_per_char)
  alike = len({repr(source) for source in sources}) == 1
  source = sources[0] if alike else Stacked(group.filled(sources))
  axis = None if alike else 1
  advance = group.program(
    several(functools.partial(task.step_of, made)), (0, 0, axis, 0, 0), donate=(1,)
  )
  given = group.stack(values)

  def dispatch(state, batches, counts, controls):
    counts = group.stack([np.int32(count) for count in counts])
    return advance(given, state, batches, counts, group.stack(controls))

  with contextlib.ExitStack() as stack:
    display = stack.enter_context(Display(budget, min(p for _, p in found)))
    runs = []
    for number, ((_, progress), path) in enumerate(zip(found, paths)):
      log = stack.enter_context(RunLog(path, progress.step))
      folder = path / workdir.CHECKPOINTS
      saved = stack.enter_context(checkpoint.Checkpoints(folder, FLAGS.keep))
      show = _ignored if number else display.show
      runs.append(Run(progress, task.hooks(log, saved, show), STARTED))
    starts = sorted({run.progress.step for run in runs})
    state, done = loop.fit(
      loop.Program(dispatch, evaluate, group.split),
      group.stack([state for state, _ in found]),
      runs,
      (
        (count, jax.device_put(some, group.sharding(axis)))
        for count, some in _from(source, starts, budget)
      ),
      budget,
      stop=stack.enter_context(interrupts()),
      eval_every=FLAGS.eval_every,
      checkpoint_every=FLAGS.checkpoint_every,
    )
  return group.split(state), runs, done


def _from(source: Source, starts: Sequence[int], budget: loop.Budget):
  """The dispatches from the first of these steps on, none of which crosses another."""
  assert budget.steps is not None
  periods = (FLAGS.eval_every, FLAGS.checkpoint_every)
  ends = [*starts, budget.steps]
  for start, stop in itertools.pairwise(ends):
    if start < stop:
      yield from dispatches(source, start, stop, FLAGS.dispatch, periods)


def _evaluator(
  made: task.Task, group: Arms, tokens_per_char: float
) -> Callable[[TrainState], list[dict[str, float]]]:
  """Compiles the evaluation of all arms: see `session`."""

  def compiled(source: Source):
    batches = jax.tree.map(lambda *leaves: np.stack(leaves), *source)
    batches = jax.device_put(batches, group.sharding(None))
    rows = batches.inputs.shape[-1]

    def sums(params: Params, batches: Any):
      return evaluation(made.loss)(params, made.carry(params, rows), batches)

    run = group.program(sums, (0, None))
    return lambda params: group.split(run(params, batches))

  measures = {name: compiled(source) for name, source in made.evaluations.items()}

  def evaluate(state: TrainState) -> list[dict[str, float]]:
    params = _averaged(state)
    sums = {name: measure(params) for name, measure in measures.items()}
    each = [dict(zip(sums, parts)) for parts in zip(*sums.values())]
    return [task.numbers(made, "val", own, tokens_per_char) for own in each]

  return evaluate


def _averaged(state: TrainState) -> Params:
  return common.optimizer().averaged(state.opt_state, state.params)


def _ignored(progress: Progress, loss: float, speed: float) -> None:
  """Only one arm is shown."""
