"""How a run is trained: its settings, and the values that they stand for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from experiments.session.settings import Settings
from unroll import gradients, loop, optim, schedules
from unroll.architecture import Architecture
from unroll.data.batches import Source
from unroll.gradients import online
from unroll.settings import MOST, setting
from unroll.train import Arm
from unroll.types import BadInput


@dataclass(frozen=True)
class Truncation:
  """Truncation"""

  truncation: str = setting(
    "tbptt:64", f"how the gradient through time is taken: {gradients.FORMS}"
  )

  def scheme(self) -> gradients.Scheme:
    """The truncation scheme."""
    return gradients.named_scheme(self.truncation)


@dataclass(frozen=True)
class Training:
  """Training"""

  batch: int = setting(32, "sequences side by side", least=1)
  clip_norm: float = setting(1.0, "clipping threshold; 0: off", least=0)
  clip_by: str = setting(
    "global_norm", "what is held below the threshold", choices=sorted(optim.CLIPS)
  )
  optimizer: str = setting(
    "adam", "sgd, momentum[:M], rmsprop[:R], adagrad, adam[:B1,B2] or adamw[:…]"
  )
  learning_rate: float = setting(2e-3, "the highest learning rate", least=0)
  schedule: str = setting(
    "constant",
    "constant, linear[:FINAL], cosine[:FINAL], exponential:RATE, "
    "step:EVERY,FACTOR[,AFTER] or plateau:PATIENCE,FACTOR",
  )
  warmup_steps: int = setting(0, "steps of linear warm-up", least=0)
  weight_decay: float | None = setting(
    None, "decoupled weight decay; 0 unless the optimizer is adamw (0.01)", least=0
  )
  ema: float = setting(0.0, "decay of the parameters' moving average; 0: none")
  asgd: int = setting(
    0,
    "averages all parameters from the evaluation on that is worse than the best of "
    "those more than so many before it (NT-ASGD); 0: never",
    least=0,
  )
  steps: int | None = setting(None, "updates to train for", least=0, role="changing")
  epochs: float | None = setting(
    None, "passes over the data to train for", least=0, role="changing"
  )
  minutes: float | None = setting(
    None, "minutes of wall clock to train for, start-up included", role="changing"
  )
  patience: int = setting(
    0,
    "evaluations without a new best before training stops; 0: never",
    least=0,
    role="changing",
  )
  seed: int = setting(
    0,
    "number that parameters, dropout and the order of data are drawn by",
    least=0,
    most=2**31 - 2,
  )
  eval_every: int = setting(500, "steps between evaluations", least=1, role="changing")
  checkpoint_every: int = setting(
    500, "steps between checkpoints", least=1, role="changing"
  )
  keep: int = setting(
    3, "newest checkpoints kept, beside the best", least=1, role="call"
  )
  dispatch: int = setting(
    10, "steps taken in one call of the device", least=1, role="call"
  )
  # With another number of devices sums are rounded differently, no more.
  devices: str = setting(
    "auto",
    "devices that the batch is spread over, a core of a CPU one each; auto: as many as "
    "have 4 rows or more, or 16 if layers are wider than 512",
    role="call",
  )
  remat: str = setting(
    "none",
    "segments of a sequence that are computed again for the gradient instead of kept: "
    "none, sqrt, every:K, recursive[:DEPTH] or auto",
  )
  memory_budget: str = setting(
    "2GiB",
    "memory that --remat=auto may take for a training step: B, KiB, MiB, GiB",
  )

  def make_optimizer(
    self, arm: Arm | None = None, multiples: Callable[..., Any] | None = None
  ) -> optim.Optimizer:
    """The optimiser, clipping included; an arm brings a threshold of its own."""
    return optim.optimizer(
      self.optimizer,
      clip_norm=self.clip_norm if arm is None else arm.clip_norm,
      clip_by=self.clip_by,
      weight_decay=self.weight_decay,
      ema=self.ema,
      asgd=self.asgd > 0,
      multiples=multiples,
    )

  def make_schedule(self, arm: Arm | None = None) -> schedules.Schedule:
    """The learning rate by step; an arm brings a highest one of its own."""
    highest = self.learning_rate if arm is None else arm.learning_rate
    return schedules.schedule(self.schedule, highest, self.warmup_steps)

  def arm(self) -> Arm:
    """The settings that are inputs of the program: other values run the same one."""
    self.make_optimizer(), self.make_schedule()  # to refuse what is no value of theirs
    values = (
      np.int32(self.seed),
      np.float32(self.learning_rate),
      np.float32(self.clip_norm),
    )
    return Arm(*jax.device_put(values))

  def budget(self, source: Source) -> loop.Budget:
    """When training on a source ends."""
    steps, epochs = self.steps, self.epochs
    if self.minutes is not None and not 0 < self.minutes <= MOST:
      raise BadInput(f"minutes={self.minutes}: give a number above 0, up to {MOST}")
    if epochs is not None and not source.live and not epochs * len(source) <= MOST:
      raise BadInput(f"epochs={epochs}: give a number of at most {MOST} steps in all")
    if source.live and epochs is not None:
      raise BadInput(f"epochs={epochs}: a stream has no epochs: give steps or minutes")
    if steps is None and epochs is None and self.minutes is None and not source.live:
      epochs = 10
    limits = [] if steps is None else [steps]
    if epochs is not None:
      limits.append(round(epochs * len(source)))
    seconds = None if self.minutes is None else 60 * self.minutes
    return loop.Budget(min(limits) if limits else None, seconds, self.patience)


def scheme_of(settings: Settings) -> gradients.Scheme:
  """The truncation scheme; the whole gradient where a page has none to choose.

  Raises:
    BadInput: it carries the gradient forward in time, and that is to be clipped.
  """
  if Truncation not in settings.page.groups:
    return gradients.named_scheme("full")
  scheme, spec = settings[Truncation].scheme(), settings[Truncation].truncation
  clip = settings[Architecture].carry_clip
  if clip and spec.partition(":")[0] in online.__all__:
    raise BadInput(
      f"carry_clip={clip} clips what flows back in time, and truncation={spec} goes "
      "forward: give carry_clip=0, or another truncation"
    )
  return scheme
