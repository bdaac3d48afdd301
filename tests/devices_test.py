"""A batch spread over devices: the same training, and no stranger in its loops."""

import json
import os
import subprocess
import sys

import pytest

from unroll import devices
from unroll.types import BadInput


@pytest.mark.parametrize(
  ("spec", "batch", "most", "count"),
  [
    ("auto", 32, 2, 2),
    ("auto", 31, 2, 1),
    ("auto", 30, 2, 1),  # 15 rows each are too few
    ("auto", 1, 8, 1),
    ("auto", 64, 3, 2),  # 3 do not divide it
    ("auto", 1024, 16, 16),
    ("1", 64, 2, 1),
    ("2", 2, 2, 2),
  ],
)
def test_a_count_of_devices(spec, batch, most, count):
  assert devices.named_count(spec, batch, most) == count


@pytest.mark.parametrize("spec", ["0", "3", "4", "two", "", "-1", "1.5"])
def test_another_count_is_refused(spec):
  with pytest.raises(BadInput, match=rf"--devices={spec}: choose auto or one of 1, 2,"):
    devices.named_count(spec, 8, 3)


PROGRAM = """
import json, sys
from unroll import devices
devices.keep_memory()
spread = devices.Spread(devices.divide(sys.argv[1], 32))
import jax, jax.numpy as jnp, numpy as np
from unroll import gradients, optim, schedules, train
from unroll.cells import gru, lstm
from unroll.compose import Wiring
from unroll.data.batches import Lanes
from unroll.layers import stacked
from unroll.models.language import LanguageModel, next_token_loss

tokens = np.random.default_rng(0).integers(0, 11, 32 * 61).astype(np.int32)
source = Lanes(tokens, 32, 6)
core = stacked(lstm(4, 8), gru(8, 8), wiring=Wiring(dropout=0.2))
model = LanguageModel(vocabulary=11, embedding=4, core=core, width=8)
params = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
carry = model.apply(params, 32, method="initial_carry")
optimizer = optim.optimizer("adam", clip_norm=0.1)
state = train.initial_state(params, optimizer, carry)
shardings = spread.state(state)
state = jax.device_put(state, shardings)
rate = schedules.schedule("constant", 0.01, 0)
loss, key = next_token_loss(model), jax.random.key(1)
step = train.make_step(loss, gradients.truncated(6), optimizer, rate, key)
dispatch = train.make_dispatch(step, (shardings, spread.whole))
control = train.Control(np.float32(np.inf), np.float32(1))
for i in range(3):
  batches = jax.tree.map(lambda *b: np.stack(b), *(source[2 * i + j] for j in (0, 1)))
  batches = jax.device_put(batches, spread.batches(batches))
  state, metrics = dispatch(state, batches, np.int32(2), control)
assert jax.tree.leaves(state.carry)[0].sharding.num_devices == spread.count
text = dispatch.lower(state, batches, np.int32(2), control).compile().as_text()
print(json.dumps({
  "devices": spread.count,
  "programs": dispatch._cache_size(),
  "collectives": sum(text.count(f" {name}(") for name in (
    "all-gather", "all-to-all", "collective-permute", "reduce-scatter")),
  "sums": text.count(" all-reduce("),
  "params": [np.asarray(p).ravel().tolist() for p in jax.tree.leaves(state.params)],
}))
"""


def trained(count: int) -> dict:
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM, str(count)],
    capture_output=True,
    text=True,
    check=False,
    env=environment,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


@pytest.mark.skipif(devices.cores() < 2, reason="needs two cores")
def test_two_devices_train_as_one():
  alone, both = trained(1), trained(2)
  assert (alone["devices"], both["devices"]) == (1, 2)
  assert alone["programs"] == both["programs"] == 1
  # Gradients and counts are summed, once a step; nothing else crosses over.
  assert both["collectives"] == 0
  assert 0 < both["sums"] <= 3
  for one, two in zip(alone["params"], both["params"], strict=True):
    assert one == pytest.approx(two, abs=1e-5)
