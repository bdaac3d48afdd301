"""Newton's method is tried before it is trusted: on one batch, beside the loop."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.session.settings import Settings
from experiments.session.task import Task
from experiments.session.terminal import say, warn
from experiments.session.training import Training, scheme_of
from unroll import memory, remat, scan
from unroll.architecture import Architecture
from unroll.data.batches import ALL
from unroll.gradients import ChunkLoss
from unroll.types import BadInput, seed

# The largest difference of a gradient, of its largest number, by the type of products.
AGREES = {"float32": 1e-3, "bfloat16": 5e-2}


class _Taken(NamedTuple):
  """Loss and gradients of one batch, the seconds of a call, and how scans went."""

  found: Any
  seconds: float
  reports: list[scan.Report]


def agreed(settings: Settings, task: Task) -> Settings:
  """The settings, or those without Newton's method where that is not to be trusted.

  Says how many iterations the first batch takes, and how far loss and gradients are
  from those of the loop.

  Args:
    settings: of the run.
    task: made of them.

  Raises:
    BadInput: the scheme takes its gradients in a way that needs the loop.
  """
  if Architecture not in settings.page.groups:
    return settings
  spec = settings[Architecture].evaluate
  if spec == "sequential":
    return settings
  scheme = scheme_of(settings)
  if scheme.backward == "autodiff" or scheme.cell:
    raise BadInput(
      f"{settings.shown('truncation')} follows each step forward, and evaluate={spec} "
      "has none: give evaluate=sequential, or another truncation"
    )
  why = _distrusted(settings, task.loss(remat.NONE, scheme.backward), task)
  if not why:
    return settings
  warn(f"evaluate={spec}: {why}: this run takes step by step")
  return settings.replaced(evaluate="sequential")


def _distrusted(settings: Settings, loss: ChunkLoss, task: Task) -> str:
  """Why Newton's method is not to be trusted with this task, or "".

  The parameters are those of a run that begins.
  """
  training, spec = settings[Training], settings[Architecture].evaluate
  key = jax.random.key(training.seed)
  params = jax.jit(task.init)(key)
  carry = seed(task.carry(params, training.batch), key)
  batch = task.train(training.seed, ALL).example()
  given = (params, carry, jax.tree.map(jnp.asarray, batch))
  with scan.stepwise():
    loop = _taken(loss, given)
  with scan.reports() as reports:
    newton = _taken(loss, given, reports)
  if newton is None or loop is None:
    return f"a batch needs more than {memory.size(memory.available())} of memory"
  if not newton.reports:
    return "no scan of this model takes all of its steps at once"
  worst = max(newton.reports, key=lambda report: report.residual)
  most = max(report.iterations for report in newton.reports)
  off = _difference(newton.found, loop.found)
  slower = newton.seconds >= loop.seconds
  faster = ", and the loop is the faster" if slower else ""
  (warn if slower else say)(
    f"evaluate={spec}: {most} iterations at most, a residual of {worst.residual:.1e}; "
    f"gradients differ from the loop's by {off:.1e}; a batch takes "
    f"{newton.seconds:.3g} s, by the loop {loop.seconds:.3g} s{faster}"
  )
  if not all(report.converged for report in newton.reports):
    return f"it does not converge in {most} iterations"
  dtype = settings.values("run").get("dtype", "float32")
  return "" if off <= AGREES[dtype] else "it does not agree"


def _taken(
  loss: ChunkLoss, given: tuple[Any, ...], reports: list[scan.Report] | None = None
) -> _Taken | None:
  """Loss and gradients, twice: the second call is timed; None if there is no room."""
  take = jax.jit(jax.value_and_grad(lambda *at: loss(*at)[0])).lower(*given).compile()
  needs = take.memory_analysis()
  if needs is not None and needs.temp_size_in_bytes > memory.available():
    return None
  jax.block_until_ready(take(*given))
  if reports is not None:
    jax.effects_barrier()
    reports.clear()  # of the first call
  start = time.perf_counter()
  found = jax.block_until_ready(take(*given))
  seconds = time.perf_counter() - start
  jax.effects_barrier()
  return _Taken(found, seconds, list(reports or ()))


def _difference(a: Any, b: Any) -> float:
  """The largest difference of two trees, of the largest number of the leaf."""

  def one(a, b):
    size = jnp.max(jnp.abs(b), initial=0.0)
    return jnp.max(jnp.abs(a - b), initial=0.0) / jnp.where(size > 0, size, 1)

  found = map(one, jax.tree.leaves(a), jax.tree.leaves(b))
  return max(float(each) for each in found)
