"""Convolutional cells beside Flax's, in one to three dimensions; what they refuse.

Their other laws are those of every row of `rows.py`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import B, T, close, noise, parameters, quick

from unroll import cells, scan
from unroll.start import Init
from unroll.types import BadInput

SIZES = [(5,), (3, 4), (2, 3, 2)]
C, M = 2, 3


@pytest.mark.parametrize("size", SIZES, ids=len)
def test_a_conv_lstm_is_that_of_flax(size):
  """Of Flax 0.12: gates in the order i, g, f, o, and 1 is added to f."""
  cell = cells.conv_lstm((*size, C), M)
  params, xs = parameters(cell), noise(3, T, B, *size, C)
  peer = nn.ConvLSTMCell(M, (3,) * len(size))

  def of_peer(array):
    i, f, g, o = jnp.split(array, 4, axis=-1)
    return jnp.concatenate([i, g, f, o], axis=-1)

  def ours(params, xs):
    return scan.unroll(cell, params, cell.carry(params, B), xs)[1]

  def theirs(params, xs):
    one = jnp.split(jnp.zeros(4 * M), 4)
    bias = params.b - jnp.concatenate([one[0], one[1] + 1, *one[2:]])
    own = {
      "ih": {"kernel": of_peer(params.w_x), "bias": of_peer(bias)},
      "hh": {"kernel": of_peer(params.w_h), "bias": jnp.zeros(4 * M)},
    }
    carry = tuple(cell.carry(params, B))

    def step(carry, x):
      return peer.apply({"params": own}, carry, x)

    return jax.lax.scan(step, carry, xs)[1]

  def loss(run):
    return quick(jax.value_and_grad(lambda *at: jnp.sum(jnp.sin(run(*at))), (0, 1)))

  close(loss(ours)(params, xs), loss(theirs)(params, xs), 1e-4)


@pytest.mark.parametrize("make", [cells.conv_lstm, cells.conv_gru])
def test_it_starts_as_it_is_told(make):
  params = make((4, 4, C), M, kernel=5, forget_bias=2.5).init(jax.random.key(0))
  assert params.w_x.shape[:3] == (5, 5, C) and params.w_h.shape[:3] == (5, 5, M)
  kept = params.b.reshape(-1, M)
  assert np.all(kept[1] == 2.5) and not np.any(np.delete(kept, 1, axis=0))
  params = make((4, 4, C), M, init=Init(chrono=50.0)).init(jax.random.key(0))
  assert np.all(params.b.reshape(-1, M)[1] > 0)


def test_a_state_may_have_one_place():
  cell = cells.conv_gru((1, 1), 1, kernel=1)
  params = cell.init(jax.random.key(0))
  _, ys = scan.unroll(cell, params, cell.carry(params, 2), jnp.ones((3, 2, 1, 1)))
  assert ys.shape == (3, 2, 1, 1)


BAD = {
  "no size": ((3,), {}, r"shape=\(3,\), .*: give a size in 1 to 3 dimensions"),
  "four": ((2, 2, 2, 2, 1), {}, "give a size in 1 to 3 dimensions"),
  "empty": ((0, 2, 1), {}, "every number is 1 or more"),
  "kernel": ((2, 2, 1), {"kernel": 0}, "kernel=0: every number is 1 or more"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_it_cannot_be_is_refused(name):
  shape, options, said = BAD[name]
  for make in (cells.conv_lstm, cells.conv_gru):
    with pytest.raises(BadInput, match=said):
      make(shape, M, **options)
