"""What every experiment does with a task: train it, restore it, evaluate it."""

import contextlib
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from tqdm import tqdm

from experiments import STARTED, common, workdir
from unroll import checkpoint, train
from unroll.data.batches import Source
from unroll.data.prefetch import dispatches
from unroll.gradients import ChunkLoss
from unroll.metrics import bits_per_char, perplexity
from unroll.report.curves import curves
from unroll.runlog import RunLog, read
from unroll.schedules import plateau
from unroll.types import BadInput, Carry, Key, Params, Sums

FLAGS = flags.FLAGS
LINES_EVERY = 5.0  # seconds between log lines where there is no terminal


class Task(NamedTuple):
  """What is trained, and how it is measured.

  Attributes:
    init: `key -> params`.
    carry: `(params, batch size) -> carry`.
    loss: the chunk loss.
    tokens_per_char: of the validation text.
    evaluations: name -> source of the validation batches.
    objective: the evaluation that chooses the best checkpoint.
  """

  init: Callable[[Key], Params]
  carry: Callable[[Params, int], Carry]
  loss: ChunkLoss
  tokens_per_char: float
  evaluations: Mapping[str, Source]
  objective: str


def fit(task: Task, source: Source, path: Path) -> tuple[Params, dict[str, Any], bool]:
  """Trains a task in its folder, from its newest checkpoint if there is one.

  Returns:
    The parameters to use, the summary of the run, and whether it is finished.
  """
  optimizer, budget = common.optimizer(), _budget(source)
  state = _fresh_state(task)
  parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  restored = checkpoint.restore(path / workdir.CHECKPOINTS, state, warn=common.say)
  progress = train.Progress(0, 0.0, 0.0, plateau(FLAGS.schedule), {}, {})
  if restored:
    state, progress = restored.state, train.Progress.from_json(restored.meta)
    common.say(f"resumed {path} at step {progress.step}")
  common.say(
    f"{parameters:,} parameters, {len(source):,} steps an epoch, run in {path}"
  )
  step = train.make_step(
    task.loss,
    common.scheme(),
    optimizer,
    common.schedule(),
    jax.random.key(FLAGS.seed + 1),
  )
  evaluate = evaluator(task)
  periods = (FLAGS.eval_every, FLAGS.checkpoint_every)
  with (
    RunLog(path, progress.step) as log,
    checkpoint.Checkpoints(path / workdir.CHECKPOINTS, FLAGS.keep) as checkpoints,
    _interrupts() as interrupted,
    _Display(budget, progress) as display,
  ):
    hooks = train.Hooks(
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
    state, progress, finished = train.fit(
      train.make_dispatch(step),
      state,
      progress,
      dispatches(source, progress.step, budget.steps, FLAGS.dispatch, periods),
      budget,
      hooks,
      eval_every=FLAGS.eval_every,
      checkpoint_every=FLAGS.checkpoint_every,
      clock=STARTED,
    )
  records = read(path / "metrics.jsonl")
  losses = [r["train/loss"] for r in records if r.get("train/loss") is not None][-100:]
  speeds = [r["tokens_per_second"] for r in records if "tokens_per_second" in r]
  summary = {
    "steps": progress.step,
    "tokens": int(progress.tokens),
    "seconds": round(progress.seconds, 2),
    "tokens_per_second": round(statistics.median(speeds)) if speeds else 0,
    "parameters": parameters,
    "train/loss": statistics.fmean(losses) if losses else None,
    **_without_step(progress.last),
    **{f"best/{name}": value for name, value in progress.best.items()},
    "skipped": int(state.skipped),
    "workdir": str(path),
  }
  if progress.step:
    curves(path, clip_norm=FLAGS.clip_norm if FLAGS.clip_by == "global_norm" else None)
  return optimizer.averaged(state.opt_state, state.params), summary, finished


def restore(task: Task, path: Path) -> tuple[Params, int]:
  """The parameters of --checkpoint, moving average and all, and their step.

  Raises:
    BadInput: if the run has no checkpoint.
  """
  optimizer, like = common.optimizer(), jax.eval_shape(lambda: _fresh_state(task))
  folder = path / workdir.CHECKPOINTS
  restored = checkpoint.restore(
    folder, like, which=FLAGS.checkpoint, warn=common.say
  )
  if restored is None:
    raise BadInput(f"{folder} holds no checkpoint: train the run first")
  state = restored.state
  return optimizer.averaged(state.opt_state, state.params), restored.step


def evaluator(task: Task, split: str = "val") -> Callable[[Params], dict[str, float]]:
  """Compiles `params -> {"val/loss_streamed": …}`: nats, bits and perplexity."""
  measures = {}
  for name, source in task.evaluations.items():
    batches = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *source)
    run = train.make_evaluate(task.loss, batches)
    rows = batches.inputs.shape[-1]

    def measure(params: Params, run=run, rows=rows) -> Sums:
      return run(params, task.carry(params, rows))

    measures[name] = measure

  def evaluate(params: Params) -> dict[str, float]:
    sums = {name: measure(params) for name, measure in measures.items()}
    losses = {name: float(part.mean()) for name, part in sums.items()}
    loss = losses[task.objective]
    return {
      **{f"{split}/loss_{name}": value for name, value in losses.items()},
      f"{split}/loss": loss,
      f"{split}/bits_per_char": bits_per_char(loss, task.tokens_per_char),
      f"{split}/perplexity": perplexity(loss),
    }

  return evaluate


def _fresh_state(task: Task) -> train.TrainState:
  params = jax.jit(task.init)(jax.random.key(FLAGS.seed))
  carry = task.carry(params, FLAGS.batch)
  return train.initial_state(params, common.optimizer(), carry)


def _budget(source: Source) -> train.Budget:
  if FLAGS.minutes is not None and FLAGS.minutes <= 0:
    raise BadInput(f"--minutes={FLAGS.minutes}: give a number above 0")
  steps, epochs = FLAGS.steps, FLAGS.epochs
  if steps is None and epochs is None and FLAGS.minutes is None:
    epochs = 10
  limits = [] if steps is None else [steps]
  if epochs is not None:
    limits.append(round(epochs * len(source)))
  seconds = None if FLAGS.minutes is None else 60 * FLAGS.minutes
  return train.Budget(min(limits) if limits else None, seconds, FLAGS.patience)


def _without_step(numbers: Mapping[str, float]) -> dict[str, float]:
  return {name: value for name, value in numbers.items() if name != "step"}


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
  """Turns Ctrl-C and SIGTERM into a question that the loop asks; twice is at once."""
  asked = False

  def ask(number: int, frame: Any) -> None:
    nonlocal asked
    asked = True
    signal.signal(number, previous[number])
    common.say("stopping after this step, with a checkpoint; once more stops at once")

  previous = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
  try:
    yield lambda: asked
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)


class _Display:
  """A progress bar on a terminal, a line now and then elsewhere."""

  def __init__(self, budget: train.Budget, progress: train.Progress):
    self._timed = budget.steps is None
    total = budget.seconds if self._timed else budget.steps
    self._bar = tqdm(
      total=round(total) if total else None,
      initial=round(progress.seconds) if self._timed else progress.step,
      unit="s" if self._timed else "step",
      disable=not sys.stderr.isatty(),
      bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
    )
    self._line_due = 0.0

  def __enter__(self) -> "_Display":
    return self

  def __exit__(self, *error: Any) -> None:
    self._bar.close()

  def show(self, progress: train.Progress, loss: float, speed: float) -> None:
    """Shows where training is."""
    text = f"step {progress.step:,} loss {loss:.3f}"
    if progress.last:
      text += f" val {progress.last['val/loss']:.3f}"
    text += f" {speed:,.0f} tokens/s"
    if not self._bar.disable:
      self._bar.n = round(progress.seconds) if self._timed else progress.step
      self._bar.set_postfix_str(text)
    elif time.monotonic() >= self._line_due:
      common.say(f"{progress.seconds:6.1f}s {text}")
      self._line_due = time.monotonic() + LINES_EVERY
