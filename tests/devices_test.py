"""A batch spread over devices: the same training, and no stranger in its loops."""

import ctypes
import json
import os
import socket
import subprocess
import sys

import pytest

from unroll import devices
from unroll.types import BadInput


@pytest.mark.parametrize(
  ("spec", "batch", "width", "most", "count"),
  [
    ("auto", 16, 512, 2, 2),
    ("auto", 15, 512, 2, 1),
    ("auto", 8, 512, 2, 2),
    ("auto", 6, 512, 2, 1),  # 3 rows each are too few
    ("auto", 32, 513, 2, 2),
    ("auto", 30, 513, 2, 1),  # and of a wide layer 15 are
    ("auto", 1, 8, 8, 1),
    ("auto", 64, 8, 3, 2),  # 3 do not divide it
    ("auto", 1024, 8, 16, 16),
    ("1", 64, 8, 2, 1),
    ("2", 2, 8, 2, 2),
  ],
)
def test_a_count_of_devices(spec, batch, width, most, count):
  assert devices.named_count(spec, batch, width, most) == count


@pytest.mark.parametrize("spec", ["0", "3", "4", "two", "", "-1", "1.5"])
def test_another_count_is_refused(spec):
  with pytest.raises(BadInput, match=rf"devices={spec}: choose auto or one of 1, 2,"):
    devices.named_count(spec, 8, 4, 3)


KEEPS = """
import ctypes, json, resource, sys, threading
from unroll import devices

devices.keep_memory(*json.loads(sys.argv[1]))
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

size = int(sys.argv[2])

def work(times):
  for _ in range(times):
    array = libc.malloc(size)
    ctypes.memset(array, 1, size)
    libc.free(array)

def faults(times):
  libc.malloc(3 * 2**24)  # most of a thread's first heap: the rest needs another
  work(1)  # what it keeps from then on
  before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
  work(times)
  counts.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

counts = []
faults(10)
thread = threading.Thread(target=faults, args=[10])
thread.start()
thread.join()
print(*counts)
"""


@pytest.mark.skipif(
  not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc's malloc"
)
@pytest.mark.parametrize(
  ("program", "size"), [("[]", 2**25), ("[32, 1000, 256]", 2**27)]
)
def test_every_thread_keeps_the_memory_that_it_frees(program, size):
  command = [sys.executable, "-c", KEEPS, program, str(size)]
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  said = subprocess.run(command, env=environment, capture_output=True, text=True)
  main, thread = map(int, said.stdout.split())
  assert max(main, thread) < 100  # of thousands of pages, ten times


PROGRAM = """
import json, sys
from unroll import devices
devices.keep_memory()
import jax, jax.numpy as jnp, numpy as np
count, dtype, processes, process, address = sys.argv[1:]
if processes != "1":
  jax.distributed.initialize(
    address, int(processes), int(process), cluster_detection_method="deactivate"
  )
spread = devices.Spread(devices.divide(count, 32, 8, int(processes)))
from unroll import gradients, linear, optim, schedules, train
from unroll.scan import matrix
linear.SIZABLE = matrix.ROWS = matrix.LOOPS = 0  # or nothing here would be
from unroll.cells import gru, lstm
from unroll.compose import Wiring
from unroll.data.batches import Lanes
from unroll.layers import stacked
from unroll.models.language import LanguageModel, next_token_loss

tokens = np.random.default_rng(0).integers(0, 11, 32 * 61).astype(np.int32)
source = Lanes(tokens, 32, 6, columns=spread.columns(32))
core = stacked(lstm(4, 8), gru(8, 8), wiring=Wiring(dropout=0.2))
model = LanguageModel(vocabulary=11, embedding=4, core=core, width=8, dtype=dtype)
params = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
carry = model.apply(params, 32, method="initial_carry")
optimizer = optim.optimizer("adam", clip_norm=0.1)
state = train.initial_state(params, optimizer, carry)
shardings = spread.state(state)
state = spread.put(state, shardings)
rate = schedules.schedule("constant", 0.01, 0)
loss, key = next_token_loss(model), jax.random.key(1)
step = train.make_step(loss, gradients.truncated(6), optimizer, rate, key)
dispatch = train.make_dispatch(lambda _: step, (shardings, spread.whole))
control = train.Control(np.float32(np.inf), np.float32(1))
for i in range(3):
  batches = jax.tree.map(lambda *b: np.stack(b), *(source[2 * i + j] for j in (0, 1)))
  batches = spread.join(batches, 2)
  state, metrics = dispatch(None, state, batches, np.int32(2), control)
assert jax.tree.leaves(state.carry)[0].sharding.num_devices == spread.count
text = dispatch.lower(None, state, batches, np.int32(2), control).compile().as_text()
print(json.dumps({
  "devices": spread.count,
  "programs": dispatch._cache_size(),
  "collectives": sum(text.count(f" {name}(") for name in (
    "all-gather", "all-to-all", "collective-permute", "reduce-scatter")),
  "sums": text.count(" all-reduce("),
  "state": [
    np.asarray(leaf).ravel().tolist()
    for leaf in jax.tree.leaves((state.params, spread.gathered(state).carry))
  ],
}))
"""


def trained(count: int, processes: int = 1, dtype: str = "float32") -> list[dict]:
  """What each process says of the training on so many devices of its own."""
  with socket.create_server(("127.0.0.1", 0)) as free:
    address = f"127.0.0.1:{free.getsockname()[1]}"
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
  children = [
    subprocess.Popen(
      [
        *(sys.executable, "-c", PROGRAM),
        *(str(count), dtype, str(processes), str(own), address),
      ],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env=environment,
    )
    for own in range(processes)
  ]
  ended = [(*child.communicate(), child.returncode) for child in children]
  assert not any(code for *_, code in ended), ended
  return [json.loads(output.splitlines()[-1]) for output, *_ in ended]


def same_training(one: dict, other: dict, tolerance: float = 1e-5) -> None:
  assert one["programs"] == other["programs"] == 1
  # Gradients and counts are summed, once a step; nothing else crosses over.
  assert other["collectives"] == 0
  assert 0 < other["sums"] <= 3
  for a, b in zip(one["state"], other["state"], strict=True):
    assert a == pytest.approx(b, abs=tolerance)


@pytest.fixture(scope="module")
def alone() -> dict:
  [said] = trained(1)
  assert said["devices"] == 1
  return said


@pytest.mark.skipif(devices.cores() < 2, reason="needs two cores")
@pytest.mark.slow
def test_two_devices_train_as_one(alone):
  [both] = trained(2)
  assert both["devices"] == 2
  same_training(alone, both)


@pytest.mark.slow
@pytest.mark.skipif(devices.cores() < 2, reason="needs two cores")
def test_two_devices_train_as_one_with_half_precision_products():
  [one], [both] = trained(1, dtype="bfloat16"), trained(2, dtype="bfloat16")
  same_training(one, both, tolerance=1e-3)


@pytest.mark.slow
def test_two_processes_train_as_one(alone):
  for said in trained(1, processes=2):
    assert said["devices"] == 2
    same_training(alone, said)


def test_a_batch_that_cannot_be_shared_is_refused():
  with pytest.raises(BadInput, match=r"batch=9 cannot be shared .* by processes=2"):
    devices.divide("auto", 9, 8, processes=2)
