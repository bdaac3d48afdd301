"""What an experiment trains: the pieces of its program, and what is told of a run."""

import contextlib
import functools
import statistics
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.session import common, folder, identity
from unroll import checkpoint, devices, loop, memory, schedules
from unroll.data.batches import Source
from unroll.data.vocabulary import Vocabulary
from unroll.gradients import ChunkLoss
from unroll.metrics import (
  BITS_PER_CHAR,
  NATS,
  PERPLEXITY,
  bits_per_char,
  perplexity,
)
from unroll.records import METRICS, measured, read
from unroll.report.curves import curves
from unroll.run import Hooks, Objective, Progress
from unroll.schedules import plateau
from unroll.train import (
  Arm,
  Control,
  Step,
  TrainState,
  initial_state,
  make_dispatch,
  make_step,
)
from unroll.types import Array, BadInput, Carry, Params, Sums

FLAGS = flags.FLAGS
MEASURES = (BITS_PER_CHAR, PERPLEXITY, NATS)  # of the page of a run


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
    return initial_carry(self.model, params, batch)


@functools.partial(jax.jit, static_argnums=(0, 2))
def initial_carry(model: Any, params: Params, batch: int) -> Carry:
  """The carry that so many sequences start with, made on the device."""
  return model.apply(params, batch, method="initial_carry")


# (vocabulary, dataset, split to evaluate, plan) -> task; without data nothing to
# evaluate.
Build = Callable[..., Task]
# (model, parameters, vocabulary, run folder), called once a run is finished.
Finish = Callable[[Any, Params, Vocabulary, Path], None]


def arm_of_flags() -> Arm:
  """The flags that are inputs of the program: other values run the same one."""
  common.optimizer(), common.schedule()  # to refuse what is no value of theirs
  values = (
    np.int32(FLAGS.seed),
    np.float32(FLAGS.learning_rate),
    np.float32(FLAGS.clip_norm),
  )
  return Arm(*jax.device_put(values))


def fresh_state(task: Task, seed: Array) -> TrainState:
  """The state of a run before its first step."""
  params = task.model.init(jax.random.key(seed), jnp.zeros((1, 1), jnp.int32))
  carry = task.carry(params, FLAGS.batch)
  memory = common.scheme().estimator(task.loss).init(params, carry)
  return initial_state(params, common.optimizer(), carry, memory)


def check_size(state: TrainState) -> None:
  """Refuses a model whose training cannot fit into memory; arrays or their shapes.

  Raises:
    BadInput: for one.
  """
  leaves = [*jax.tree.leaves(state), *jax.tree.leaves(state.params)]  # and gradients
  told = f"--hidden={','.join(FLAGS.hidden)} with --embedding={FLAGS.embedding}"
  memory.check(
    sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
    f"{told}, --layers={FLAGS.layers} and --batch={FLAGS.batch}",
  )


def step_of(task: Task, arm: Arm) -> Step:
  """The update of a run; within a program the arm is one of its inputs."""
  return make_step(
    task.loss,
    common.scheme(),
    common.optimizer(arm),
    common.schedule(arm),
    jax.random.key(arm.seed + 1),
  )


def lowered(task: Task, batch: Any, spread: devices.Spread) -> jax.stages.Lowered:
  """The program that trains on batches like this one, not compiled yet."""
  arm = arm_of_flags()
  state = jax.eval_shape(functools.partial(fresh_state, task), arm.seed)
  check_size(state)
  batches = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct((FLAGS.dispatch, *leaf.shape), leaf.dtype), batch
  )
  shardings = spread.state(state)
  state, batches = jax.tree.map(
    lambda leaf, how: leaf.update(sharding=how),
    (state, batches),
    (shardings, spread.batches(batches)),
  )
  dispatch = make_dispatch(functools.partial(step_of, task), (shardings, spread.whole))
  control = Control(*np.ones(2, np.float32))
  return dispatch.lower(arm, state, batches, np.int32(1), control)


def budgeted(source: Source) -> loop.Budget:
  """When training ends, as --steps, --epochs, --minutes and --patience say."""
  steps, epochs = FLAGS.steps, FLAGS.epochs
  most = common.MOST
  if FLAGS.minutes is not None and not 0 < FLAGS.minutes <= most:
    raise BadInput(f"--minutes={FLAGS.minutes}: give a number above 0, up to {most}")
  if epochs is not None and not epochs * len(source) <= most:
    raise BadInput(f"--epochs={epochs}: give a number of at most {most} steps in all")
  if steps is None and epochs is None and FLAGS.minutes is None:
    epochs = 10
  limits = [] if steps is None else [steps]
  if epochs is not None:
    limits.append(round(epochs * len(source)))
  seconds = None if FLAGS.minutes is None else 60 * FLAGS.minutes
  return loop.Budget(min(limits) if limits else None, seconds, FLAGS.patience)


def resumed(
  state: TrainState, path: Path, budget: loop.Budget
) -> tuple[TrainState, Progress]:
  """State and progress of a run's newest checkpoint; without one the state given.

  From then on its configuration is that of the flags, and what has changed is told.
  """
  restored = checkpoint.restore(path / folder.CHECKPOINTS, state, warn=common.say)
  if restored is None:
    identity.update(path, 0)
    return state, Progress(0, 0.0, 0.0, plateau(FLAGS.schedule), {}, {})
  progress = Progress.from_json(restored.meta)
  common.say(f"resumed {path} at step {progress.step}")
  changed = identity.update(path, progress.step)
  further = _end(budget, progress) or _schedule(budget, progress, changed)
  for told in filter(None, (_changes(changed), further)):
    common.say(told)
  return restored.state, progress


def _changes(changed: Mapping[str, tuple[Any, Any]]) -> str:
  """What a run that goes on is told anew."""
  told = [
    f"{_shown(n, now)}, not {_shown(n, was)}" for n, (was, now) in changed.items()
  ]
  return f"from here on with {'; with '.join(told)}" if told else ""


def _end(budget: loop.Budget, progress: Progress) -> str:
  """Why a run has nothing left to train."""
  if budget.steps is not None and progress.step >= budget.steps:
    return f"it is to end at step {budget.steps}: more --steps or --epochs go on"
  bad = progress.plateau.bad
  if budget.patience and bad >= budget.patience:
    return f"{bad} evaluations brought no new best: another --patience goes on"
  return ""


def _schedule(
  budget: loop.Budget, progress: Progress, changed: Mapping[str, Any]
) -> str:
  """What another end does to the learning rate."""
  if not changed.keys() & {"steps", "epochs", "minutes"}:
    return ""
  if not schedules.follows_end(FLAGS.schedule):
    return ""
  rate = schedules.schedule(FLAGS.schedule, 1.0, FLAGS.warmup_steps)
  horizon = budget.horizon(progress.step, progress.seconds)
  share = rate(jnp.int32(progress.step), jnp.float32(horizon), jnp.float32(1))
  return (
    f"--schedule={FLAGS.schedule} falls until the new end, about step {horizon:,.0f}: "
    f"the learning rate goes on with {share:.3g} of its highest, as in a run of that "
    "length"
  )


def _shown(name: str, value: Any) -> str:
  return f"no --{name}" if value is None else f"--{name}={value}"


def hooks(
  log: Any,
  checkpoints: Any,
  show: Callable[..., None],
  gathered: Callable[[TrainState], TrainState] = lambda state: state,
) -> Hooks:
  """What the loop calls for a run: its log, its checkpoints, the terminal.

  The log is on disk before a checkpoint is, which is therefore never ahead of it.

  Args:
    log: a `RunLog`, or something silent in its place.
    checkpoints: a `Checkpoints`, likewise.
    show: shows the run's progress.
    gathered: makes a state whole that is spread over processes.
  """

  def save(state: TrainState, progress: Progress, best: bool) -> None:
    log.sync()
    checkpoints.save(progress.step, gathered(state), progress.to_json(), best=best)

  return Hooks(Objective("val/loss"), save, log.write, show, checkpoints.check)


def averaged(state: TrainState) -> Params:
  """The parameters to evaluate: their moving average, if there is one."""
  return common.optimizer().averaged(state.opt_state, state.params)


def numbers(
  task: Task, split: str, sums: Mapping[str, dict[str, Sums]], tokens_per_char: float
) -> dict[str, float]:
  """An evaluation: from the sums of each measure to nats, bits and perplexity."""
  # On the host, where a mean asks for no program.
  losses = {name: NATS.of(part) for name, part in jax.device_get(dict(sums)).items()}
  loss = losses[task.objective]
  return {
    **{f"{split}/loss_{name}": value for name, value in losses.items()},
    f"{split}/loss": loss,
    f"{split}/bits_per_char": bits_per_char(loss, tokens_per_char),
    f"{split}/perplexity": perplexity(loss),
  }


def summary(
  progress: Progress, state: TrainState, finished: bool, path: Path
) -> dict[str, Any]:
  """What there is to say of a run at its end; draws its curves into its folder."""
  records = read(path / METRICS, warn=common.say)
  if progress.step:
    with extra(path / "curves.png"):
      clip_norm = FLAGS.clip_norm if FLAGS.clip_by == "global_norm" else None
      curves(path, measures=(NATS,), clip_norm=clip_norm, warn=lambda said: None)

  def finite(name: str) -> list[float]:
    return [value for _, value in measured(records, name) if value is not None]

  losses, speeds = finite("train/loss")[-100:], finite("tokens_per_second")
  starts = finite("start_seconds")
  return {
    "steps": progress.step,
    "tokens": int(progress.tokens),
    "seconds": round(progress.seconds, 2),
    "start_seconds": round(starts[-1], 2) if starts else None,
    "tokens_per_second": round(statistics.median(speeds)) if speeds else 0,
    "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    "train/loss": statistics.fmean(losses) if losses else None,
    **_without_step(progress.last),
    **{f"best/{name}": value for name, value in progress.best.items()},
    "skipped": int(jax.device_get(state.skipped)),
    "finished": finished,
    "workdir": str(path),
  }


@contextlib.contextmanager
def extra(path: Path) -> Iterator[None]:
  """For a file that only shows a run: the run is whole without it."""
  try:
    yield
  except Exception as error:  # whatever a library finds wrong with it
    common.say(f"{path} is missing: {error}")


def show(summary: Mapping[str, Any]) -> None:
  """One line of a finished run, for people."""
  print(
    f"validation: {summary['val/bits_per_char']:.3f} bits per character, "
    f"perplexity {summary['val/perplexity']:.2f}"
  )


def _without_step(numbers: Mapping[str, float]) -> dict[str, float]:
  return {name: value for name, value in numbers.items() if name != "step"}
