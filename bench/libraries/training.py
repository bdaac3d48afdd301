"""The training step of a model of ours, as experiments compile it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unroll import optim, schedules, train
from unroll.devices import Spread
from unroll.gradients import ChunkLoss, Scheme

STEPS = 10  # a dispatch, the default of experiments


def step(
  loss: ChunkLoss, scheme: Scheme, arm: train.Arm, optimizer: str = "adam"
) -> train.Step:
  """One update at a constant learning rate."""
  return train.make_step(
    loss,
    scheme,
    optim.optimizer(optimizer, clip_norm=arm.clip_norm),
    schedules.schedule("constant", arm.learning_rate),
    jax.random.key(arm.seed),
  )


def arm(clip_norm: float = 1) -> train.Arm:
  """What may differ between runs."""
  return train.Arm(jnp.int32(1), jnp.float32(2e-3), jnp.float32(clip_norm))


def control() -> train.Control:
  """Of a run without an end."""
  return train.Control(*np.array([np.inf, 1, np.inf], np.float32))


def dispatched(
  step_of: Callable[[train.Arm], train.Step], state: train.TrainState, batches: Any
) -> tuple[Any, train.Arm, train.TrainState, Any, np.int32, train.Control]:
  """What an experiment compiles, and the arguments of a call, spread over devices.

  Args:
    step_of: makes a step.
    state: before the first.
    batches: `[steps, T, B, …]`.
  """
  spread = Spread(jax.device_count())
  shardings = spread.state(state)
  state = jax.device_put(state, shardings)
  steps = len(jax.tree.leaves(batches)[0])
  batches = jax.device_put(batches, spread.batches(batches))
  dispatch = train.make_dispatch(step_of, (shardings, spread.whole))
  return dispatch, arm(), state, batches, np.int32(steps), control()


def running(dispatch, arm, state, *rest) -> Callable[[], None]:
  """One dispatch after the other, as the state is donated."""

  def call() -> None:
    nonlocal state
    state, metrics = dispatch(arm, state, *rest)
    jax.block_until_ready((state, metrics))

  return call
