"""Learning rate schedules: pure functions of the step, the horizon and the plateau."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll import specs
from unroll.types import Array, BadInput, Better

SCHEDULES: specs.Forms = {
  "constant": (),
  "linear": (0.0,),
  "cosine": (0.0,),
  "exponential": ("RATE",),
  "step": ("EVERY", "FACTOR", 0),
  "plateau": ("PATIENCE", "FACTOR"),
}

Schedule = Callable[[Array, Array, Array], Array]


def schedule(
  spec: str, learning_rate: float | Array, warmup_steps: int = 0
) -> Schedule:
  """Builds a schedule from its spec.

  With p = step / horizon, held in [0, 1], the learning rate is multiplied by

    constant                1
    linear[:final]          1 - (1 - final) p
    cosine[:final]          final + (1 - final) (1 + cos(pi p)) / 2
    exponential:RATE        RATE^(step / 1000), so by RATE over every 1,000 steps
    step:EVERY,FACTOR[,AFTER]  FACTOR^floor((step - AFTER) / EVERY), 1 before AFTER
    plateau:PATIENCE,FACTOR the scale of a `Plateau`

  and, in the first `warmup_steps`, also by (step + 1) / warmup_steps.

  Args:
    spec: one of the forms above; `final` is a fraction in [0, 1], by default 0.
    learning_rate: the rate at the top; a number, or a traced scalar.
    warmup_steps: length of the linear warm-up in steps; 0 for none.

  Returns:
    `(step, horizon, scale) -> learning rate`, all scalars: `step` int32 from 0,
    `horizon` float32, the number of steps that the run is expected to take (it may
    change between steps), `scale` float32 from a `Plateau`, else 1. The learning rate
    is float32.

  Raises:
    BadInput: an argument has no such value.
  """
  name, numbers = _read(spec)
  traced = isinstance(learning_rate, jax.Array)
  if not traced and not 0 <= learning_rate < math.inf:
    raise BadInput(f"learning_rate={learning_rate} must be 0 or a positive number")
  if warmup_steps < 0:
    raise BadInput(f"warmup_steps={warmup_steps} must be 0 (none) or positive")
  decay = _decay(name, *numbers)

  def rate(step: Array, horizon: Array, scale: Array) -> Array:
    now = step.astype(jnp.float32)
    progress = jnp.clip(now / jnp.maximum(horizon, 1.0), 0.0, 1.0)
    warmup = jnp.minimum(1.0, (now + 1) / max(1, warmup_steps))
    return learning_rate * warmup * decay(step, progress) * scale

  return rate


class Plateau(NamedTuple):
  """How the objective has fared: when to lower the rate, when to stop.

  It lives on the host, and `_asdict()` of it is JSON.

  Attributes:
    patience: evaluations in a row without a new best that lower the rate.
    factor: by which they lower it.
    best: the best finite value so far; None before the first.
    bad: evaluations since the best, whatever the rate has done: early stopping.
    scale: what the learning rate is multiplied by.
  """

  patience: int
  factor: float
  best: float | None = None
  bad: int = 0
  scale: float = 1.0

  def observe(self, value: float, better: Better = "lower") -> "Plateau":
    """Takes one evaluation's objective; a value that is not finite is never a best."""
    sign = {"lower": 1, "higher": -1}[better]
    improved = self.best is None or sign * value < sign * self.best
    if math.isfinite(value) and improved:
      return self._replace(best=float(value), bad=0)
    bad = self.bad + 1
    lower = self.factor if bad % self.patience == 0 else 1.0
    return self._replace(bad=bad, scale=self.scale * lower)


class NonMonotone(NamedTuple):
  """When averaging begins (NT-ASGD, Merity et al. 2018): the objective got worse.

  It lives on the host, and `_asdict()` of it is JSON.

  Attributes:
    interval: n: an evaluation is compared with those more than n before it; 0: with
      none, so that averaging never begins.
    values: the objective of every evaluation so far.
    begun: the step at which averaging began; None before it has.
  """

  interval: int = 0
  values: tuple[float, ...] = ()
  begun: int | None = None

  def observe(self, value: float, step: int, better: Better = "lower") -> "NonMonotone":
    """Takes one evaluation's objective, of the parameters of a step."""
    if not self.interval or self.begun is not None:
      return self
    sign = {"lower": 1, "higher": -1}[better]

    def cost(one: float) -> float:
      return sign * one if math.isfinite(one) else math.inf

    before = [cost(one) for one in self.values[: -self.interval]]
    worse = bool(before) and cost(value) > min(before)
    return self._replace(
      values=(*self.values, float(value)), begun=step if worse else None
    )


def plateau(spec: str) -> Plateau:
  """The plateau of a schedule; its scale stays 1 for all but `plateau:…`.

  Raises:
    BadInput: `spec` is no schedule.
  """
  name, numbers = _read(spec)
  if name != "plateau":
    return Plateau(patience=1, factor=1.0)
  patience, factor = numbers
  return Plateau(int(patience), factor)


def follows_end(spec: str) -> bool:
  """Whether a schedule depends on the horizon, so that another end changes all of it.

  Raises:
    BadInput: `spec` is no schedule.
  """
  return _read(spec)[0] in ("linear", "cosine")


def _read(spec: str) -> tuple[str, tuple[float, ...]]:
  name, numbers = specs.read("schedule", spec, SCHEDULES)
  match name, numbers:
    case "step", (_, _, after) if after % 1 or not 0 <= after < 2**31:
      raise BadInput(
        f"schedule={spec}: AFTER must be a whole number from 0 to {2**31 - 1}"
      )
    case "step" | "plateau", (count, *_) if count % 1 or not 1 <= count < 2**31:
      what = SCHEDULES[name][0]
      raise BadInput(
        f"schedule={spec}: {what} must be a whole number from 1 to {2**31 - 1}"
      )
  fraction = numbers[1:2] if name == "step" else numbers[-1:]
  if not all(0 <= number <= 1 for number in fraction):
    what = "FACTOR" if name == "step" else "the last number"
    raise BadInput(f"schedule={spec}: {what} must be a fraction in [0, 1]")
  return name, numbers


def _decay(name: str, *numbers: float) -> Callable[[Array, Array], Array]:
  """`(step, progress in [0, 1]) -> multiple of the learning rate`."""
  match name, numbers:
    case "linear", (final,):
      return lambda step, progress: 1 - (1 - final) * progress
    case "cosine", (final,):
      return lambda step, progress: (
        final + (1 - final) * (1 + jnp.cos(jnp.pi * progress)) / 2
      )
    case "exponential", (base,):
      return lambda step, progress: base ** (step.astype(jnp.float32) / 1000)
    case "step", (every, factor, after):

      def falls(step: Array) -> Array:
        return jnp.maximum(step - int(after), 0) // int(every)

      return lambda step, progress: factor ** falls(step).astype(jnp.float32)
    case _:
      return lambda step, progress: jnp.ones_like(progress)
