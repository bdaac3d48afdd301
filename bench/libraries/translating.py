"""A translator of this library: a training step, and beam search."""

from functools import partial
from typing import Any

import jax
import numpy as np

from bench.libraries import training
from bench.libraries.training import STEPS
from bench.shapes import Shape
from bench.timing import Timed
from unroll import beam as beams
from unroll import layers, optim, train
from unroll.architecture import Architecture
from unroll.data.examples import Examples
from unroll.data.pairs import Given, Sizes
from unroll.gradients import full
from unroll.models.conditional import conditional_loss
from unroll.models.decoders import Decoders
from unroll.models.translator import (
  Encoders,
  Translator,
  example,
  translator,
)

BEAMS = 5
BOS, EOS = 1, 2


def translate(shape: Shape) -> Timed:
  """A training step; seconds a step. Sources and targets have T tokens, all real."""
  model = _model(shape)
  params = jax.jit(model.init)(jax.random.key(0), example())
  carry = layers.initial_carry(model, params, shape.batch)
  state = train.initial_state(params, optim.optimizer("adam"), carry)
  draw = np.random.default_rng(0)
  batches = jax.tree.map(
    lambda *each: np.stack(each), *(_batch(shape, draw) for _ in range(STEPS))
  )

  def step_of(arm: train.Arm) -> train.Step:
    return training.step(conditional_loss(model), full(), arm)

  return Timed(training.running(*training.dispatched(step_of, state, batches)), STEPS)


def beam(shape: Shape) -> Timed:
  """Beam search of T steps, none of which ends; seconds a sentence."""
  model = _model(shape)
  params = jax.jit(model.init)(jax.random.key(0), example())
  given = jax.device_put(_batch(shape, np.random.default_rng(0)).inputs)
  apply: Any = model.apply
  encode = jax.jit(partial(apply, method="encode"))
  first = np.full(shape.batch, BOS, np.int32)

  def step(params, memory, carry, tokens):
    return (*apply(params, tokens, carry, memory, method="next")[:2], None)

  def call() -> None:
    memory, carry = encode(params, given)
    found = beams.search(
      step,
      *(params, memory, carry, first),
      beams=BEAMS,
      length=shape.steps,
      stop=EOS,
      shortest=shape.steps + 1,
    )
    jax.block_until_ready(found)

  return Timed(call, shape.batch)


def _model(shape: Shape) -> Translator:
  return translator(
    Encoders(source_embedding=shape.inputs),
    Decoders(embedding=shape.inputs),
    Architecture(cell=shape.cell, layers=shape.layers, hidden=(shape.hidden,)),
    Sizes(shape.vocabulary, shape.vocabulary, BOS, EOS),
  )


def _batch(shape: Shape, draw: np.random.Generator) -> Examples:
  rows = (shape.steps, shape.batch)
  source, target = (
    draw.integers(3, shape.vocabulary, size=rows, dtype=np.int32) for _ in range(2)
  )
  real = np.ones(rows, bool)
  given = Given(source, real, np.zeros_like(source))
  return Examples(given, target, np.ones(rows, np.float32), real)
