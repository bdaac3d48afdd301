"""What every experiment does with a task: train it, restore it, evaluate it."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.session import (
  architecture,
  common,
  dataset,
  folder,
  gang,
  identity,
  planning,
  together,
)
from experiments.session.start import STARTED
from experiments.session.task import (
  MEASURES,
  Build,
  Finish,
  Task,
  arm_of_flags,
  averaged,
  budgeted,
  check_size,
  extra,
  fresh_state,
  hooks,
  lowered,
  numbers,
  resumed,
  show,
  step_of,
  summary,
)
from experiments.session.terminal import Display, interrupts
from unroll import checkpoint, devices, loop
from unroll.data.batches import Source
from unroll.data.prefetch import dispatches
from unroll.report.page import page
from unroll.run import Progress, Run
from unroll.runlog import RunLog
from unroll.train import Arm, TrainState, make_dispatch, make_evaluate
from unroll.types import BadInput, Params, Sums

FLAGS = flags.FLAGS


def train(
  experiment: str, own: tuple[str, ...], build: Build, finish: Finish | None = None
) -> None:
  """--mode=train: from flags to a finished run, or as far as it is let.

  Args:
    experiment: its name.
    own: the flags of the experiment itself that make the run what it is.
    build: makes the task.
    finish: what is still to be shown of a finished run.
  """
  if FLAGS.arms:
    return together.train(experiment, own, build, finish)
  spread = _spread()
  data = dataset.load()
  planned = functools.partial(build, data.vocabulary, data, "val")
  task = planned(
    planning.chosen(lambda plan, batch: lowered(planned(plan), batch, spread), data)
  )
  source = dataset.source(data.tokens["train"], spread.columns(FLAGS.batch))
  arm, budget = arm_of_flags(), budgeted(source)
  fresh = jax.jit(functools.partial(fresh_state, task))
  check_size(jax.eval_shape(fresh, arm.seed))
  state = gang.shaped(lambda: fresh(arm.seed))
  # Only now, when all flags have been found good, is anything written.
  run = experiment, common.config(*own), data.vocabulary, data.digest
  path = Path(gang.told(lambda: str(folder.prepare(*run))))
  state, progress, finished = _fit(
    task, source, arm, state, spread, budget, data.tokens_per_char["val"], path
  )
  if not gang.speaks():
    return
  params = jax.device_put(jax.device_get(averaged(state)), jax.local_devices()[0])
  told = summary(progress, state, finished, path)
  if finished:
    show(told)
    if finish:
      finish(task.model, params, data.vocabulary, path)
  else:
    common.say(f"interrupted; the same command with --workdir={path} goes on")
  with extra(path / "report.html"):
    page(path, command=folder.command(experiment), summary=told, measures=MEASURES)
  common.result(told)


def evaluate(experiment: str, build: Build) -> None:
  """--mode=eval: the validation split, and the test split where there is one."""
  path, vocabulary = folder.existing(experiment)
  spread = _spread()
  data = dataset.load(vocabulary)
  if data.digest != identity.read(path)["data"]:
    raise BadInput(
      f"--corpus={FLAGS.corpus} is not the text that {path} was trained on: restore "
      "it, or say where it is now"
    )
  results: dict[str, Any] = {}
  params, step = restore(build(vocabulary, data, "val"), path)
  for split in ("val", "test"):
    if split in data.tokens:
      task = build(vocabulary, data, split)
      results |= _evaluator(task, split, data.tokens_per_char[split], spread)(params)
  for name, value in results.items():
    print(f"{name:24} {value:.4f}")
  common.result({**results, "step": step, "workdir": str(path)})


def _fit(
  task: Task,
  source: Source,
  arm: Arm,
  state: TrainState,
  spread: devices.Spread,
  budget: loop.Budget,
  tokens_per_char: float,
  path: Path,
) -> tuple[TrainState, Progress, bool]:
  """Trains in a folder, from its newest checkpoint if there is one.

  Returns:
    The state, its progress, and whether the run is finished.
  """
  parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))

  def put(tree: Any) -> Any:
    """The same on every device: put there, as JAX may be told to move nothing."""
    if jax.process_count() > 1:  # the program places it, without waiting for a vote
      return tree
    return spread.put(tree, jax.tree.map(lambda leaf: spread.whole, tree))

  def newest() -> dict[str, Any]:
    nonlocal state
    state, progress = resumed(state, path, budget)
    return progress.to_json()

  progress = Progress.from_json(gang.told(newest))
  shardings = spread.state(state)
  state = spread.put(gang.same(state), shardings)
  arm = put(arm)
  common.say(
    f"{parameters:,} parameters, {len(source):,} steps an epoch, run in {path}"
  )
  evaluate = _evaluator(task, "val", tokens_per_char, spread)
  periods = (FLAGS.eval_every, FLAGS.checkpoint_every)
  batches = dispatches(source, progress.step, budget.steps, FLAGS.dispatch, periods)
  with (
    gang.alone(lambda: RunLog(path, progress.step, warn=common.say)) as log,
    gang.alone(lambda: folder.checkpoints(path)) as checkpoints,
    interrupts() as interrupted,
    gang.alone(lambda: Display(budget, progress)) as display,
  ):
    dispatch = make_dispatch(
      functools.partial(step_of, task), (shardings, spread.whole)
    )
    program = loop.Program(
      dispatch=lambda state, batches, counts, controls: dispatch(
        arm, state, batches, *put((np.int32(counts[0]), controls[0]))
      ),
      evaluate=lambda state: [evaluate(averaged(state))],
      split=lambda tree: [tree],
    )
    program, stop, late = gang.agreed(spread, program, interrupted)
    run = Run(progress, hooks(log, checkpoints, display.show, spread.gathered), STARTED)
    state, finished = loop.fit(
      program,
      state,
      [run],
      ((count, spread.join(some, 2)) for count, some in batches),
      budget,
      stop=stop,
      eval_every=FLAGS.eval_every,
      checkpoint_every=FLAGS.checkpoint_every,
      late=late,
    )
    if run.error:
      raise run.error
  return state, run.progress, finished


def restore(task: Task, path: Path) -> tuple[Params, int]:
  """The parameters of --checkpoint, moving average and all, and their step.

  Raises:
    BadInput: if the run has no such checkpoint.
  """
  optimizer = common.optimizer()
  like = jax.eval_shape(functools.partial(fresh_state, task), arm_of_flags().seed)
  saved = path / folder.CHECKPOINTS
  which: Any = FLAGS.checkpoint
  found = checkpoint.steps(saved)
  if isinstance(which, int) and found and which not in found:
    raise BadInput(
      f"--checkpoint={which}: {saved} has those of step {', '.join(map(str, found))}"
    )
  unjudged = which == "best" and not checkpoint.best_steps(saved)
  which = "newest" if unjudged else which
  restored = checkpoint.restore(saved, like, which=which, warn=common.say)
  if restored is None:
    raise BadInput(f"{saved} holds no checkpoint: train the run first")
  if unjudged:
    common.say(
      f"{path} has no best checkpoint, as no evaluation has chosen one yet: this is "
      f"the newest, of step {restored.step}"
    )
  state = restored.state
  return optimizer.averaged(state.opt_state, state.params), restored.step


def _evaluator(
  task: Task, split: str, tokens_per_char: float, spread: devices.Spread
) -> Callable[[Params], dict[str, float]]:
  """Compiles `params -> {"val/loss_streamed": …}`: nats, bits and perplexity."""

  def compiled(source: Source) -> Callable[[Params], dict[str, Sums]]:
    batches = jax.tree.map(lambda *leaves: np.stack(leaves), *source)
    batches = jax.device_put(batches, spread.batches(batches))
    count = jax.device_put(np.int32(len(source)), spread.whole)
    run = make_evaluate(task.loss)

    def measure(params: Params) -> dict[str, Sums]:
      carry = task.carry(params, source.rows)
      return run(params, carry, batches, count)[1]

    return measure

  measures = {name: compiled(source) for name, source in task.evaluations.items()}

  def evaluate(params: Params) -> dict[str, float]:
    sums = {name: measure(params) for name, measure in measures.items()}
    return numbers(task, split, sums, tokens_per_char)

  return evaluate


def _spread() -> devices.Spread:
  planning.keep_memory()
  width = max(architecture.hidden_sizes())
  count = devices.divide(FLAGS.devices, FLAGS.batch, width, FLAGS.processes)
  return devices.Spread(count)
