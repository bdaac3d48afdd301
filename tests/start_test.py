"""How parameters start: the laws of initialisers, gate by gate."""

import jax
import numpy as np
import pytest
from tables import same

from unroll import start
from unroll.types import BadInput

KEY = jax.random.key(0)
SIZE = 16


@pytest.mark.parametrize("count", [1, 3, 4])
def test_every_gate_is_orthogonal(count):
  blocks = np.split(start.gates(start.orthogonal, KEY, SIZE, SIZE, count), count, 1)
  for block in blocks:
    np.testing.assert_allclose(block.T @ block, np.eye(SIZE), atol=1e-5)
  assert len({block.tobytes() for block in blocks}) == count


def test_every_gate_is_the_identity():
  blocks = start.gates(start.identity, KEY, SIZE, SIZE, 2)
  same(blocks, np.tile(np.eye(SIZE, dtype=np.float32), (1, 2)))


def test_gates_do_not_share_a_fan():
  """The bound of Glorot's is that of one gate, not of all side by side."""
  kernel = start.gates(start.glorot, KEY, SIZE, 4 * SIZE, 4)
  bound = (6 / (SIZE + 4 * SIZE)) ** 0.5
  assert 0.95 * bound < np.abs(kernel).max() <= bound


@pytest.mark.parametrize("shape", [(64, SIZE), (1000, 4)])
def test_uniform_has_the_bounds_of_its_width(shape):
  drawn = start.uniform(KEY, shape)
  bound = shape[-1] ** -0.5
  assert -bound <= drawn.min() < -0.95 * bound
  assert 0.95 * bound < drawn.max() <= bound


def test_biases_are_drawn_gate_by_gate():
  biases = start.bias_gates(start.uniform, KEY, SIZE, 3)
  assert biases.shape == (3 * SIZE,) and len(np.unique(biases)) == 3 * SIZE
  assert np.abs(biases).max() <= SIZE**-0.5


def test_chrono_biases_are_logs_of_memories():
  steps = np.exp(start.chrono_bias(KEY, 4000, 100.0))
  assert 1 <= steps.min() < 2 and 98 < steps.max() <= 99
  assert abs(steps.mean() - 50) < 3


@pytest.mark.parametrize("name", start.INITS)
def test_named_inits(name):
  assert start.named_init(name) == start.INITS[name]


def test_named_chrono():
  assert start.named_init("chrono:50") == start.Init(chrono=50.0)


@pytest.mark.parametrize(
  "spec",
  ["chrono", "chrono:", "chrono:a", "chrono:2", "chrono:nan", "he", "", "glorot:1"],
)
def test_another_init_is_refused(spec):
  with pytest.raises(BadInput, match=f"init={spec}: "):
    start.named_init(spec)
