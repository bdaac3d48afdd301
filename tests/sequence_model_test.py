"""Laws of the model that answers at the steps of a sequence."""

import functools

import jax
import numpy as np
import pytest
from tables import close, noise

from unroll.architecture import Architecture
from unroll.data.examples import Examples
from unroll.data.synthetic.named import TASKS
from unroll.data.synthetic.task import Sequences
from unroll.models.sequence import sequence_loss, sequence_model
from unroll.remat import NONE, named_plan

LAYERS = Architecture(cell="gru", layers=1, hidden=(5,))


@functools.cache
def made(name, plan=NONE):
  """Of a task: a model, parameters that differ everywhere, a batch, and two functions:
  parameters, batch -> outputs; parameters, carry, batch -> (loss, sums), gradient."""
  task = TASKS[name]
  model = sequence_model(LAYERS, task, plan=plan)
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), task.example))
  leaves, tree = jax.tree.flatten(shapes)
  drawn = [noise(number, *leaf.shape) for number, leaf in enumerate(leaves, 1)]
  batch = Sequences(task, max(20, task.least), 6, seed=1, batches=1)[0]
  out = jax.jit(lambda params, batch: model.apply(params, batch.inputs)[1])
  loss = jax.jit(jax.value_and_grad(sequence_loss(model), has_aux=True))
  return model, jax.tree.unflatten(tree, drawn), batch, out, loss


def fresh(model, params):
  return model.apply(params, 6, method="initial_carry")


@pytest.mark.parametrize("name", ["multiplication", "copy", "dyck"])
def test_sums_are_those_of_every_answer(name):
  model, params, batch, out, loss = made(name)
  out = np.asarray(out(params, batch), np.float64)
  # Three are right, wherever they are asked.
  if model.classes:
    known = (batch.weight > 0) & (np.arange(6) < 3)
    batch = batch._replace(targets=np.where(known, out.argmax(-1), 1).astype(np.int32))
  else:
    off = np.array([0.5, 0.039, -0.039, 0.041, -0.041, 0])
    batch = batch._replace(targets=(out[..., 0] + off).astype(np.float32))
  (value, (_, sums)), _ = loss(params, fresh(model, params), batch)
  total = count = right = 0
  for b in range(6):
    whole = True
    for t in np.flatnonzero(batch.weight[:, b]):
      answer = batch.targets[t, b]
      if model.classes:
        total += np.log(np.exp(out[t, b]).sum()) - out[t, b, answer]
        whole = whole and out[t, b].argmax() == answer
      else:
        total += (out[t, b, 0] - answer) ** 2
        whole = whole and abs(out[t, b, 0] - answer) < 0.04
      count += 1
    right += whole
  np.testing.assert_allclose(sums["loss"].total, total, rtol=1e-5)
  assert sums["loss"].count == count
  assert tuple(map(float, sums["accuracy"])) == (right, 6)
  np.testing.assert_allclose(value, total / count, rtol=1e-5)
  assert right >= 3


def test_what_stands_on_padding_reaches_nothing():
  model, params, batch, _, loss = made("multiplication")
  wanted = loss(params, fresh(model, params), batch)
  inputs, targets = batch.inputs.copy(), batch.targets.copy()
  inputs[~batch.valid] = targets[~batch.valid] = np.nan
  found = loss(params, fresh(model, params), Examples(inputs, targets, *batch[2:]))
  assert not batch.valid.all()
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_a_sequence_read_in_parts_is_read_the_same():
  model, params, batch, out, _ = made("copy")
  read = jax.jit(model.apply)
  first, head = read(params, batch.inputs[:20])
  _, tail = read(params, batch.inputs[20:], first)
  close(np.concatenate([head, tail]), out(params, batch), 1e-5)


def test_every_batch_is_read_from_its_start():
  model, params, batch, _, loss = made("copy")
  start = fresh(model, params)
  used = jax.tree.map(lambda leaf: leaf + 1, start)
  (value, _), _ = loss(params, start, batch)
  (again, (after, _)), _ = loss(params, used, batch)
  assert value == again
  jax.tree.map(np.testing.assert_array_equal, after, used)


def test_a_plan_changes_nothing():
  model, params, batch, _, loss = made("copy")
  *_, again = made("copy", named_plan("every:8"))
  start = fresh(model, params)
  close(again(params, start, batch)[1], loss(params, start, batch)[1], 1e-5)


def test_symbols_have_no_embedding_to_learn():
  _, params, *_ = made("copy")
  shapes = {"/".join(k.key for k in path): leaf.shape
            for path, leaf in jax.tree.leaves_with_path(params)
            if leaf.ndim == 2 and all(hasattr(k, "key") for k in path)}  # fmt: skip
  assert "params/output/kernel" in shapes and shapes["params/output/kernel"] == (5, 9)
  assert not any("embed" in name for name in shapes)
