"""What every experiment does with a task: train it, restore it, evaluate it."""

import functools
import json
import math
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import STARTED, common, dataset, planning, workdir
from experiments.terminal import Display, interrupts
from unroll import checkpoint, devices, loop
from unroll.data.batches import Source
from unroll.data.prefetch import dispatches
from unroll.data.vocabulary import Vocabulary
from unroll.gradients import ChunkLoss
from unroll.metrics import bits_per_char, perplexity
from unroll.report.curves import curves
from unroll.report.page import page
from unroll.runlog import RunLog, read
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
  spread = devices.Spread(devices.divide(FLAGS.devices, FLAGS.batch))
  data = dataset.load()
  planned = functools.partial(build, data.vocabulary, data, "val")
  task = planned(
    planning.chosen(lambda plan, batch: _lowered(planned(plan), batch, spread), data)
  )
  source = dataset.source(data.tokens["train"])
  step = _step(task)
  state, budget = _fresh_state(task), _budget(source)
  # Only now, when all flags have been found good, is anything written.
  settings = common.config(*own)
  path = workdir.prepare(experiment, settings, data.vocabulary, data.digest)
  params, summary, finished = _fit(
    task, source, step, state, spread, budget, data.tokens_per_char["val"], path
  )
  if finished:
    print(
      f"validation: {summary['val/bits_per_char']:.3f} bits per character, "
      f"perplexity {summary['val/perplexity']:.2f}"
    )
    if finish:
      finish(task.model, params, data.vocabulary, path)
  else:
    common.say(f"interrupted; the same command with --workdir={path} goes on")
  page(path, command=workdir.command(experiment), summary=summary)
  if FLAGS.json:
    print(json.dumps(summary))


def evaluate(experiment: str, build: Build) -> None:
  """--mode=eval: the validation split, and the test split where there is one."""
  path, vocabulary = workdir.existing(experiment)
  spread = devices.Spread(devices.divide(FLAGS.devices, FLAGS.batch))
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
) -> tuple[Params, dict[str, Any], bool]:
  """Trains in a folder, from its newest checkpoint if there is one.

  Returns:
    The parameters to use, the summary of the run, and whether it is finished.
  """
  optimizer = common.optimizer()
  parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  shardings = spread.state(state)
  state = jax.device_put(state, shardings)
  restored = checkpoint.restore(path / workdir.CHECKPOINTS, state, warn=common.say)
  progress = loop.Progress(0, 0.0, 0.0, plateau(FLAGS.schedule), {}, {})
  if restored:
    state, progress = restored.state, loop.Progress.from_json(restored.meta)
    common.say(f"resumed {path} at step {progress.step}")
  common.say(
    f"{parameters:,} parameters, {len(source):,} steps an epoch, run in {path}"
  )
  evaluate = _evaluator(task, "val", tokens_per_char, spread)
  periods = (FLAGS.eval_every, FLAGS.checkpoint_every)
  batches = dispatches(source, progress.step, budget.steps, FLAGS.dispatch, periods)
  with (
    RunLog(path, progress.step) as log,
    checkpoint.Checkpoints(path / workdir.CHECKPOINTS, FLAGS.keep) as checkpoints,
    interrupts() as interrupted,
    Display(budget, progress) as display,
  ):
    hooks = loop.Hooks(
      evaluate=lambda state: evaluate(
        optimizer.averaged(state.opt_state, state.params)
      ),
      objective="val/loss",
      save=lambda state, progress, best: checkpoints.save(
        progress.step, state, progress.to_json(), best=best
      ),
      log=log.write,
      show=display.show,
      stop=interrupted,
    )
    state, progress, finished = loop.fit(
      make_dispatch(step, (shardings, spread.whole)),
      state,
      progress,
      ((n, jax.device_put(some, spread.batches(some))) for n, some in batches),
      budget,
      hooks,
      eval_every=FLAGS.eval_every,
      checkpoint_every=FLAGS.checkpoint_every,
      clock=STARTED,
    )
  records = read(path / "metrics.jsonl")
  losses = [r["train/loss"] for r in records if r.get("train/loss") is not None][-100:]
  speeds = [r["tokens_per_second"] for r in records if "tokens_per_second" in r]
  starts = [r["start_seconds"] for r in records if "start_seconds" in r]
  summary = {
    "steps": progress.step,
    "tokens": int(progress.tokens),
    "seconds": round(progress.seconds, 2),
    "start_seconds": round(starts[-1], 2) if starts else None,
    "tokens_per_second": round(statistics.median(speeds)) if speeds else 0,
    "parameters": parameters,
    "train/loss": statistics.fmean(losses) if losses else None,
    **_without_step(progress.last),
    **{f"best/{name}": value for name, value in progress.best.items()},
    "skipped": int(state.skipped),
    "finished": finished,
    "workdir": str(path),
  }
  if progress.step:
    curves(path, clip_norm=FLAGS.clip_norm if FLAGS.clip_by == "global_norm" else None)
  params = optimizer.averaged(state.opt_state, state.params)
  return jax.device_put(params, jax.devices()[0]), summary, finished


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
    batches = jax.device_put(batches, spread.batches(batches))
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


def _without_step(numbers: Mapping[str, float]) -> dict[str, float]:
  return {name: value for name, value in numbers.items() if name != "step"}
