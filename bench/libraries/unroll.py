"""This library, as its experiments use it."""

import functools
import os
import sys
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from bench.libraries import layer as timed
from bench.libraries import training
from bench.libraries.cells import cells as cells
from bench.libraries.cells import recurrence as recurrence
from bench.libraries.cells import reservoir as reservoir
from bench.libraries.cells import resets as resets
from bench.libraries.training import STEPS
from bench.libraries.translating import beam as beam
from bench.libraries.translating import translate as translate
from bench.sentences import CLASSES, sentences
from bench.shapes import Shape
from bench.timing import Timed, begun
from unroll import generate as generation
from unroll import layers, optim, readout, remat, train
from unroll import memory as needs
from unroll.architecture import Architecture
from unroll.arms import Arms
from unroll.cells import CELLS
from unroll.data.batches import Lanes
from unroll.data.buckets import Buckets
from unroll.data.examples import labelled
from unroll.data.prefetch import dispatches
from unroll.devices import Spread
from unroll.gradients import full, truncated
from unroll.models import classifier
from unroll.models.language import LanguageModel, next_token_loss

BUCKETS = 14  # the default is 8, which pad by 13 % where these pad by 9 %


def layer(shape: Shape) -> Timed:
  """Forward and backward of sum(y²), for parameters and inputs."""
  return timed.backward(_made(shape))


def forward(shape: Shape) -> Timed:
  """Forward alone."""
  return timed.forward(_made(shape))


def _made(shape: Shape) -> timed.Layer:
  core = layers.Recurrent(_core(shape), shape.dtype)
  xs = jax.random.normal(jax.random.key(1), (shape.steps, shape.batch, shape.inputs))
  params = jax.jit(core.init)(jax.random.key(0), xs)
  spread = Spread(jax.device_count())
  params = jax.device_put(params, spread.whole)
  xs = jax.device_put(xs, spread.rows(xs, axis=1))

  def apply(params, xs):
    return cast(tuple[Any, jax.Array], core.apply(params, xs))[1]

  return apply, params, xs


def _core(shape: Shape) -> layers.Layer:
  inputs = [shape.inputs] + [shape.width] * (shape.layers - 1)
  cells = [CELLS[shape.cell](size, shape.hidden) for size in inputs]
  if shape.bidirectional:
    return layers.stacked(*(layers.bidirectional(cell, cell) for cell in cells))
  return layers.stacked(*cells)


def step(shape: Shape) -> Timed:
  """The training step of a character language model; seconds a step."""
  dispatch, *arguments = _training(shape)
  return Timed(training.running(dispatch, *arguments), STEPS)


def compile(shape: Shape) -> Timed:
  """Tracing, lowering and compiling that step."""
  dispatch, *arguments = _training(shape)
  return Timed(lambda: dispatch.lower(*arguments).compile())


def memory(shape: Shape, plan: str) -> Timed:
  """That step under a plan of rematerialisation, and the memory that it needs.

  Raises:
    MemoryError: if that is more than half of what the machine has.
  """
  dispatch, *arguments = _training(shape, remat.named_plan(plan), steps=1)
  needed = needs.peak(dispatch.lower(*arguments))
  half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
  if needed > half:
    raise MemoryError(f"{needs.size(needed)} are more than half of what there is")
  return Timed(training.running(dispatch, *arguments), note={"needed_bytes": needed})


def loss(shape: Shape, part: str, sliced: bool) -> Timed:
  """The output layer and its cross-entropy, or a training step, and its memory.

  Args:
    shape: of the model; its vocabulary is what matters.
    part: "layer", forward and backward, or "step".
    sliced: False takes all steps as one slice, which is left to autodiff.
  """
  if not sliced:
    readout.ROWS = sys.maxsize
  if part == "step":
    dispatch, *arguments = _training(shape, steps=1)
    program, call = dispatch.lower(*arguments), training.running(dispatch, *arguments)
  else:
    gradient, arguments = _output_layer(shape)
    program = gradient.lower(*arguments)

    def call() -> None:
      jax.block_until_ready(gradient(*arguments))

  return Timed(call, note={"needed_bytes": needs.peak(program)})


def _output_layer(shape: Shape) -> tuple[Any, list[Any]]:
  """The gradient of its mean cross-entropy, and what it is taken of."""
  draw, rows = np.random.default_rng(0), (shape.steps, shape.batch)
  ys = draw.standard_normal((*rows, shape.width), np.float32)
  kernel = draw.standard_normal((shape.width, shape.vocabulary), np.float32)
  targets = draw.integers(shape.vocabulary, size=rows, dtype=np.int32)
  weight = np.ones(rows, np.float32)
  spread = Spread(jax.device_count())
  ys, targets, weight = (
    jax.device_put(x, spread.rows(x, axis=1)) for x in (ys, targets, weight)
  )
  bias = np.zeros(shape.vocabulary, np.float32)
  kernel, bias = jax.device_put((kernel, bias), spread.whole)

  def mean(ys, kernel, bias, targets, weight):
    kernel = kernel.astype(shape.dtype)
    return readout.cross_entropy(ys, kernel, bias, targets, weight).mean()

  gradient = jax.jit(jax.value_and_grad(mean, argnums=(0, 1, 2)))
  return gradient, [ys, kernel, bias, targets, weight]


def arms(shape: Shape, count: int, looped: bool = False) -> Timed:
  """So many of those models trained in one program; seconds a step of each.

  Args:
    shape: of one.
    count: of models; a single one is trained as `step` does, its batch spread.
    looped: of several, as for `Arms`.
  """
  if count == 1:
    return step(shape)
  step_of, state, batches = _parts(shape, remat.NONE, STEPS)
  arm, control = training.arm(), training.control()
  together = Arms(count, jax.device_count(), looped=looped)
  program = together.program(train.several(step_of), (0, 0, None, 0, 0), donate=(1,))
  arms = [arm._replace(seed=jnp.int32(seed)) for seed in range(count)]
  batches = jax.device_put(batches, together.sharding(None))
  steps, controls = [np.int32(STEPS)] * count, [control] * count
  state = together.stack([jax.device_get(state)] * count)
  rest = (batches, together.stack(steps), together.stack(controls))
  return Timed(
    training.running(program, together.stack(arms), state, *rest), STEPS * count
  )


def _training(
  shape: Shape, plan: remat.Plan = remat.NONE, steps: int = STEPS
) -> tuple[Any, train.Arm, train.TrainState, Any, np.int32, train.Control]:
  """What `experiments.charlm` compiles, and the arguments of a call: the arm, state,
  batches, their number, control."""
  step_of, state, batches = _parts(shape, plan, steps)
  return training.dispatched(step_of, state, batches)


def _parts(shape: Shape, plan: remat.Plan, steps: int):
  model = _model(shape)
  tokens = np.random.default_rng(0).integers(
    shape.vocabulary, size=steps * shape.steps * shape.batch + 1, dtype=np.int32
  )
  params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
  carry = model.apply(params, shape.batch, method="initial_carry")

  def step_of(arm: train.Arm) -> train.Step:
    loss, scheme = next_token_loss(model, plan), truncated(shape.steps)
    return training.step(loss, scheme, arm, shape.optimizer)

  state = train.initial_state(params, optim.optimizer(shape.optimizer), carry)
  source = Lanes(tokens, shape.batch, shape.steps)
  batches = jax.tree.map(
    lambda *each: np.stack(each), *(source[i] for i in range(steps))
  )
  return step_of, state, batches


def classify(shape: Shape, data: str = "") -> Timed:
  """An epoch of a classifier of sentences, as `experiments.classify` trains it."""
  given = sentences(shape, data)
  reads = classifier.Shape(CLASSES, given.vocabulary)
  model = classifier.classifier(
    classifier.Classifiers(shape.inputs, shape.bidirectional),
    Architecture(shape.cell, shape.layers, (shape.hidden,)),
    reads,
  )
  source = Buckets(
    [len(tokens) for tokens in given.tokens],
    functools.partial(labelled, given.tokens, given.labels),
    shape.batch,
    buckets=BUCKETS,
  )
  params = jax.jit(model.init)(jax.random.key(0), classifier.example(reads))
  carry = layers.initial_carry(model, params, shape.batch)
  state = train.initial_state(params, optim.optimizer("adam"), carry)
  spread = Spread(jax.device_count())
  shardings = spread.state(state)
  state = jax.device_put(state, shardings)

  def step_of(arm: train.Arm) -> train.Step:
    return training.step(classifier.classifier_loss(model), full(), arm)

  dispatch = train.make_dispatch(step_of, (shardings, spread.whole))
  arm, control = jax.device_put(
    (training.arm(clip_norm=0), training.control()), spread.whole
  )
  step = 0

  def call() -> None:
    nonlocal state, step
    last, end = None, step + len(source)
    for count, batches in dispatches(source, step, end, STEPS, first=STEPS):
      batches = spread.join(batches, 2)
      state, new = dispatch(arm, state, batches, np.int32(count), control)
      jax.block_until_ready(last)  # as `loop.fit`, which is one dispatch ahead
      last = new
    step = end
    jax.block_until_ready((state, last))

  note = {"configuration": f"{BUCKETS} buckets", "padding": source.padding}
  return begun(Timed(call, note=note))


def generate(shape: Shape) -> Timed:
  """Sampling; seconds a token of each stream."""
  model = _model(shape)

  def apply(params, carry, tokens, valid=None):
    return model.apply(params, tokens, carry, valid=valid)

  prompt = jnp.zeros((1, shape.batch), jnp.int32)
  params = jax.jit(model.init)(jax.random.key(0), prompt)
  carry = model.apply(params, shape.batch, method="initial_carry")
  key = jax.random.key(1)

  def call():
    drawn = generation.sample(apply, params, carry, prompt, key, length=shape.steps)
    jax.block_until_ready(drawn)

  return Timed(call, shape.steps)


def _model(shape: Shape) -> LanguageModel:
  return LanguageModel(
    vocabulary=shape.vocabulary,
    embedding=shape.inputs,
    core=_core(shape),
    width=shape.width,
    dtype=shape.dtype,
  )
