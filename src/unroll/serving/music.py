"""A model of piano rolls: how pieces go on, and how likely they are."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from unroll import generate as generation
from unroll.data.examples import padded
from unroll.data.music.rolls import KEYS, Roll
from unroll.data.powers import Powers
from unroll.layers import initial_carry
from unroll.models.built import Built
from unroll.models.music import drawn
from unroll.score import Scores
from unroll.serving.value import Functions
from unroll.types import Array, Params

ROWS = 16  # pieces side by side
NOTHING = np.zeros((0, KEYS), np.uint8)


def functions(built: Built) -> Functions:
  """What a model of piano rolls answers.

  A roll is uint8 `[T, 88]`, 1 where a key sounds.

  `predict(params, rolls)`: float32 `[N, 88]`, the probability of each key in the step
  after each roll, which may have no step.

  `generate(params, primer=NOTHING, *, length=64, samples=1, seed=0, temperature=1.0)`:
  `[samples, P + length, 88]`, the P steps of the primer and what follows them.

  `score(params, rolls)`: the log-probability of each roll, of its first step too, and
  its steps.
  """
  module = built.module
  apply, nats_of = _apply(module), _nats(module)

  def predict(params: Params, rolls: Sequence[Roll]) -> NDArray[np.float32]:
    found = np.zeros((len(rolls), KEYS), np.float32)
    ends = [np.append(roll, np.zeros((1, KEYS), np.uint8), axis=0) for roll in rolls]
    for rows, keys, valid in _batches(ends):
      _, chances = nats_of(params, keys, valid)
      found[rows[rows >= 0]] = np.asarray(chances)[rows >= 0]
    return found

  def generate(
    params: Params,
    primer: Roll = NOTHING,
    *,
    length: int = 64,
    samples: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
  ) -> NDArray[np.uint8]:
    # A piece begins with a step of zeros, from which its first step follows.
    start = np.append(np.zeros((1, KEYS), np.float32), primer, axis=0)
    _, steps = generation.frames(
      apply,
      params,
      initial_carry(module, params, samples),
      jax.device_put(np.repeat(start[:, None].astype(np.float32), samples, axis=1)),
      jax.jit(jax.random.key)(jax.device_put(np.int32(seed))),
      length=length,
      draw=drawn,
      options=(jax.device_put(np.float32(temperature)),),
    )
    new = np.moveaxis(np.asarray(steps), 1, 0).astype(np.uint8)
    return np.append(np.repeat(primer[None], samples, axis=0), new, axis=1)

  def score(params: Params, rolls: Sequence[Roll]) -> Scores:
    found = np.zeros(len(rolls), np.float32)
    for rows, keys, valid in _batches(rolls):
      nats, _ = nats_of(params, keys, valid)
      found[rows[rows >= 0]] = 0 - np.asarray(nats)[rows >= 0]
    return Scores(found, np.array([*map(len, rolls)], np.int32))

  return Functions(predict, generate, score)


def _batches(rolls: Sequence[Roll]):
  batches = Powers([*map(len, rolls)], lambda *some: padded(rolls, *some), ROWS)
  for number, batch in enumerate(batches):
    yield batches.chosen(number), *jax.device_put(batch)


@lru_cache(maxsize=16)  # so that the same model is the same program
def _apply(module: Any) -> generation.Apply:
  def apply(params, carry, keys):
    return module.apply(params, keys, carry)

  return apply


@lru_cache(maxsize=16)
def _nats(module: Any):
  apply = _apply(module)

  @jax.jit
  def nats(params: Params, keys: Array, valid: Array) -> tuple[Array, Array]:
    """The nats of each roll, `[B]`, and its last step as it was expected, `[B, 88]`."""
    truth = keys.astype(jnp.float32)
    before = jnp.concatenate([jnp.zeros_like(truth[:1]), truth[:-1]])
    _, logits = apply(params, initial_carry(module, params, keys.shape[1]), before)
    each = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), truth).sum(-1)
    last = jnp.maximum(jnp.sum(valid, axis=0) - 1, 0)
    end = jnp.take_along_axis(logits, last[None, :, None], axis=0)[0]
    return jnp.sum(jnp.where(valid, each, 0), axis=0), jax.nn.sigmoid(end)

  return nats
