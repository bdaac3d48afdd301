#!/usr/bin/env bash
# Guessed: a cell with nn.Dropout, unrolled by flax.linen's nn.RNN, draws its masks from the
#   stream `dropout` given to apply, another mask at every step.
# In fact: nn.RNN passes on the stream `params` alone (split_rngs={'params': False} is its
#   default, and what is not named there is withheld). Given both streams, as in init and
#   through nnx.bridge, the cell's Dropout falls back to `params`: one mask for all steps,
#   whatever key `dropout` has. Given `dropout` alone, it raises InvalidRngError, which says
#   that `dropout` is missing. split_rngs={'params': False, 'dropout': True} cures it.
# Versions: flax 0.12.8, jax 0.10.2, Python 3.11, Linux x86-64, 2026-11-29.
# Why it matters: a recurrent network trains with a locked mask that its user did not ask for,
#   and every seed of dropout gives the same one; nothing fails.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q flax==0.12.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu bin/python -I - <<'EOF'
import platform

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Masks(nn.RNNCellBase):
  """Puts out the mask of each step: ones, dropped."""

  @nn.compact
  def __call__(self, carry, x):
    return carry, nn.Dropout(0.5, deterministic=False)(jnp.ones_like(x))

  @nn.nowrap
  def initialize_carry(self, rng, input_shape):
    return jnp.zeros(input_shape)

  @property
  def num_feature_axes(self):
    return 1


xs = jnp.zeros((1, 5, 16))  # [B, T, D]
key = jax.random.key


def masks(rnn, **rngs):
  return np.asarray(rnn.apply({}, xs, rngs=rngs))[0]


plain, split = nn.RNN(Masks()), nn.RNN(
  Masks(), split_rngs={"params": False, "dropout": True}
)
one = masks(plain, params=key(0), dropout=key(1))
other = masks(plain, params=key(0), dropout=key(2))
mended = masks(split, params=key(0), dropout=key(1))
try:
  masks(plain, dropout=key(1))
  alone = "no error"
except flax.errors.InvalidRngError as error:
  alone = str(error).split(" (")[0]

print(f"flax {flax.__version__}, jax {jax.__version__}, Python {platform.python_version()}")
print("masks of five steps:", *("".join("01"[int(v > 0)] for v in row) for row in one))
print("the same with another dropout key:", np.array_equal(one, other))
print("dropout alone:", alone)
print("with split_rngs:", *("".join("01"[int(v > 0)] for v in row) for row in mended))
as_found = (
  np.all(one == one[0])
  and np.array_equal(one, other)
  and alone == 'Dropout_0 needs PRNG for "dropout"'
  and not np.all(mended == mended[0])
)
raise SystemExit(0 if as_found else "this behaviour has changed")
EOF
