"""Laws of the transcriber: its loss, what padding is worth, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import close, quick

from unroll import ctc, remat
from unroll.architecture import Architecture
from unroll.data.examples import Examples
from unroll.data.speech.reader import Shape
from unroll.layers import initial_carry
from unroll.models.transcriber import (
  Transcribers,
  example,
  transcriber,
  transcriber_loss,
)
from unroll.types import BadInput

SHAPE = Shape(features=4, classes=3)
SMALL = Architecture(cell="rnn", layers=1, hidden=(3,))
# The steps and labels of each sound; the third is too short, the last has no label.
ROWS = ((6, (1, 2)), (5, (2, 2)), (2, (1, 1)), (4, ()))
POSSIBLE = [0, 1, 3]
DRAW = np.random.default_rng(8)
INPUTS = DRAW.normal(size=(6, 4, 4)).astype(np.float32)
VALID = np.arange(6)[:, None] < np.array([steps for steps, _ in ROWS])
LABELS = np.array([(*labels, 0, 0)[:2] for _, labels in ROWS], np.int32).T
WEIGHT = (LABELS > 0).astype(np.float32)
BATCH = Examples(INPUTS, LABELS, WEIGHT, VALID)


def test_the_loss_is_the_nats_a_label_of_sounds_that_are_long_enough():
  model = transcriber(Transcribers(bidirectional=False), SMALL, SHAPE)
  params = quick(model.init)(jax.random.key(1), example(SHAPE))
  carry = initial_carry(model, params, 1)

  def loss(params, inputs):
    return transcriber_loss(model)(params, carry, BATCH._replace(inputs=inputs))

  def plainly(params):
    logits = model.apply(params, INPUTS, None, VALID)
    some = logits[:, POSSIBLE], LABELS[:, POSSIBLE], VALID[:, POSSIBLE]
    return -jnp.sum(ctc.log_likelihood(*some, WEIGHT[:, POSSIBLE] > 0)) / 4

  bad = np.where(VALID[..., None], INPUTS, np.nan)
  run = quick(jax.value_and_grad(loss, has_aux=True))
  (value, (_, sums)), found = run(params, bad)
  close((value, found), quick(jax.value_and_grad(plainly))(params), 1e-5)
  assert sums["loss"].count == 4


def test_layers_from_both_sides_take_no_plan():
  with pytest.raises(BadInput, match="remat=sqrt with `bidirectional`"):
    transcriber(Transcribers(), SMALL, SHAPE, plan=remat.sqrt())
