"""What every experiment does with a task: train it, restore it, evaluate it."""

import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import STARTED, common, dataset, gang, planning, summary, workdir
from experiments.terminal import Display, interrupts
from unroll import checkpoint, devices, loop
from unroll.data.batches import Source
from unroll.data.prefetch import dispatches
from unroll.data.vocabulary import Vocabulary
from unroll.gradients import ChunkLoss
from unroll.metrics import bits_per_char, perplexity
from unroll.report.page import page
from unroll.runlog import RunLog
from unroll.schedules import plateau
from unroll.train import (
  Control,
  Step,
  TrainState,
  initial_state,
  make_dispatch,
  make_evaluate,
  make_step,
)
from unroll.types import BadInput, Carry, Params, Sums

FLAGS = flags.FLAGS


class Task(NamedTuple):
  """What is trained, and how it is measured.

  Attributes:
    model: a Linen module that reads tokens `[T, B]` and has an `initial_carry`.
    loss: its chunk loss.
    evaluations: name -> source of the evaluation batches.
    objective: the evaluation that chooses the best checkpoint.
  """

  model: Any
  loss: ChunkLoss
  evaluations: Mapping[str, Source]
  objective: str

  def carry(self, params: Params, batch: int) -> Carry:
    """The initial carry of so many sequences."""
    return self.model.apply(params, batch, method="initial_carry")


# (vocabulary, dataset, split to evaluate, plan) -> task; without data nothing to
# evaluate.
Build = Callable[..., Task]
# (model, parameters, vocabulary, run folder), called once a run is finished.
Finish = Callable[[Any, Params, Vocabulary, Path], None]


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
  spread = _spread()
  data = dataset.load()
  planned = functools.partial(build, data.vocabulary, data, "val")
  task = planned(
    planning.chosen(lambda plan, batch: _lowered(planned(plan), batch, spread), data)
  )
  source = dataset.source(data.tokens["train"], spread.columns(FLAGS.batch))
  step = _step(task)
  state, budget = gang.shaped(lambda: _fresh_state(task)), _budget(source)
  # Only now, when all flags have been found good, is anything written.
  run = experiment, common.config(*own), data.vocabulary, data.digest
  path = Path(gang.told(lambda: str(workdir.prepare(*run))))
  state, progress, finished = _fit(
    task, source, step, state, spread, budget, data.tokens_per_char["val"], path
  )
  if not gang.speaks():
    return
  params, told = summary.of(state, progress, finished, path)
  if finished:
    print(
      f"validation: {told['val/bits_per_char']:.3f} bits per character, "
      f"perplexity {told['val/perplexity']:.2f}"
    )
    if finish:
      finish(task.model, params, data.vocabulary, path)
  else:
    common.say(f"interrupted; the same command with --workdir={path} goes on")
  page(path, command=workdir.command(experiment), summary=told)
  if FLAGS.json:
    print(json.dumps(told))


def evaluate(experiment: str, build: Build) -> None:
  """--mode=eval: the validation split, and the test split where there is one."""
  path, vocabulary = workdir.existing(experiment)
  spread = _spread()
  data = dataset.load(vocabulary)
  if data.digest != workdir.read_config(path)["data"]:
    raise BadInput(
      f"--corpus={FLAGS.corpus} is not the text that {path} was trained on: restore it"
    )
  results: dict[str, Any] = {}
  for split in ("val", "test"):
    if split in data.tokens:
      task = build(vocabulary, data, split)
      params, step = restore(task, path)
      results |= _evaluator(task, split, data.tokens_per_char[split], spread)(params)
  for name, value in results.items():
    print(f"{name:24} {value:.4f}")
  if FLAGS.json:
    print(json.dumps({**results, "step": step, "workdir": str(path)}))


def _fit(
  task: Task,
  source: Source,
  step: Step,
  state: TrainState,
  spread: devices.Spread,
  budget: loop.Budget,
  tokens_per_char: float,
  path: Path,
) -> tuple[TrainState, loop.Progress, bool]:
  """Trains in a folder, from its newest checkpoint if there is one.

  Returns:
    The state, its progress, and whether the run is finished.
  """
  optimizer = common.optimizer()
  parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  progress = loop.Progress(0, 0.0, 0.0, plateau(FLAGS.schedule), {}, {})

  def newest() -> dict[str, Any] | None:
    nonlocal state
    restored = checkpoint.restore(path / workdir.CHECKPOINTS, state, warn=common.say)
    if restored:
      state = restored.state
    return restored and restored.meta

  if meta := gang.told(newest):
    progress = loop.Progress.from_json(meta)
    common.say(f"resumed {path} at step {progress.step}")
  shardings = spread.state(state)
  state = spread.put(gang.same(state), shardings)
  common.say(
    f"{parameters:,} parameters, {len(source):,} steps an epoch, run in {path}"
  )
  evaluate = _evaluator(task, "val", tokens_per_char, spread)
  periods = (FLAGS.eval_every, FLAGS.checkpoint_every)
  batches = dispatches(source, progress.step, budget.steps, FLAGS.dispatch, periods)
  with (
    gang.alone(lambda: RunLog(path, progress.step)) as log,
    gang.alone(
      lambda: checkpoint.Checkpoints(path / workdir.CHECKPOINTS, FLAGS.keep)
    ) as checkpoints,
    interrupts() as interrupted,
    gang.alone(lambda: Display(budget, progress)) as display,
  ):
    hooks = loop.Hooks(
      evaluate=lambda state: evaluate(
        optimizer.averaged(state.opt_state, state.params)
      ),
      objective="val/loss",
      save=lambda state, progress, best: checkpoints.save(
        progress.step, spread.gathered(state), progress.to_json(), best=best
      ),
      log=log.write,
      show=display.show,
      stop=interrupted,
    )
    dispatch = make_dispatch(step, (shardings, spread.whole))
    dispatch, hooks = gang.agreed(spread, dispatch, hooks)
    return loop.fit(
      dispatch,
      state,
      progress,
      ((count, spread.join(some, 2)) for count, some in batches),
      budget,
      hooks,
      eval_every=FLAGS.eval_every,
      checkpoint_every=FLAGS.checkpoint_every,
      clock=STARTED,
    )


def restore(task: Task, path: Path) -> tuple[Params, int]:
  """The parameters of --checkpoint, moving average and all, and their step.

  Raises:
    BadInput: if the run has no checkpoint.
  """
  optimizer, like = common.optimizer(), jax.eval_shape(lambda: _fresh_state(task))
  folder = path / workdir.CHECKPOINTS
  restored = checkpoint.restore(folder, like, which=FLAGS.checkpoint, warn=common.say)
  if restored is None:
    raise BadInput(f"{folder} holds no checkpoint: train the run first")
  state = restored.state
  return optimizer.averaged(state.opt_state, state.params), restored.step


def _evaluator(
  task: Task, split: str, tokens_per_char: float, spread: devices.Spread
) -> Callable[[Params], dict[str, float]]:
  """Compiles `params -> {"val/loss_streamed": …}`: nats, bits and perplexity."""

  def compiled(source: Source) -> Callable[[Params], Sums]:
    batches = jax.tree.map(lambda *leaves: np.stack(leaves), *source)
    batches = spread.put(batches, spread.batches(batches))
    run = make_evaluate(task.loss, batches)
    rows = batches.inputs.shape[-1]
    return lambda params: run(params, task.carry(params, rows))

  measures = {name: compiled(source) for name, source in task.evaluations.items()}

  def evaluate(params: Params) -> dict[str, float]:
    sums = {name: measure(params) for name, measure in measures.items()}
    losses = {name: float(part.mean()) for name, part in sums.items()}
    loss = losses[task.objective]
    return {
      **{f"{split}/loss_{name}": value for name, value in losses.items()},
      f"{split}/loss": loss,
      f"{split}/bits_per_char": bits_per_char(loss, tokens_per_char),
      f"{split}/perplexity": perplexity(loss),
    }

  return evaluate


def _spread() -> devices.Spread:
  return devices.Spread(devices.divide(FLAGS.devices, FLAGS.batch, FLAGS.processes))


def _fresh_state(task: Task) -> TrainState:
  @jax.jit
  def fresh(seed):  # an argument, so that every seed is the same program
    params = task.model.init(jax.random.key(seed), jnp.zeros((1, 1), jnp.int32))
    carry = task.carry(params, FLAGS.batch)
    return initial_state(params, common.optimizer(), carry)

  return fresh(np.int32(FLAGS.seed))


def _step(task: Task) -> Step:
  return make_step(
    task.loss,
    common.scheme(),
    common.optimizer(),
    common.schedule(),
    jax.random.key(FLAGS.seed + 1),
  )


def _lowered(task: Task, batch: Any, spread: devices.Spread) -> jax.stages.Lowered:
  """The program that trains on batches like this one, not compiled yet."""
  state = jax.eval_shape(lambda: _fresh_state(task))
  batches = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct((FLAGS.dispatch, *leaf.shape), leaf.dtype), batch
  )
  shardings = spread.state(state)
  state, batches = jax.tree.map(
    lambda leaf, how: leaf.update(sharding=how),
    (state, batches),
    (shardings, spread.batches(batches)),
  )
  dispatch = make_dispatch(_step(task), (shardings, spread.whole))
  return dispatch.lower(state, batches, np.int32(1), Control(*np.ones(2, np.float32)))


def _budget(source: Source) -> loop.Budget:
  steps, epochs = FLAGS.steps, FLAGS.epochs
  if FLAGS.minutes is not None and not 0 < FLAGS.minutes < math.inf:
    raise BadInput(f"--minutes={FLAGS.minutes}: give a number above 0")
  if epochs is not None and not epochs < math.inf:
    raise BadInput(f"--epochs={epochs}: give a number")
  if steps is None and epochs is None and FLAGS.minutes is None:
    epochs = 10
  limits = [] if steps is None else [steps]
  if epochs is not None:
    limits.append(round(epochs * len(source)))
  seconds = None if FLAGS.minutes is None else 60 * FLAGS.minutes
  return loop.Budget(min(limits) if limits else None, seconds, FLAGS.patience)
