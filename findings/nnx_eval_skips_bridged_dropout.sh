#!/usr/bin/env bash
# Guessed: model.eval() of an nnx.Module turns off dropout everywhere in it, also in a Linen
#   module that nnx.bridge.ToNNX holds: nn.Dropout has the same attribute `deterministic`
#   that eval() sets to True.
# In fact: eval() reaches NNX modules only. A bridged Linen Dropout goes on dropping, without
#   a word, and draws anew at every call; nnx.Dropout beside it is off. Passing
#   deterministic=True in the call of one built without it turns it off.
# Versions: flax 0.12.8, jax 0.10.2, Python 3.11, Linux x86-64, 2026-11-29.
# Why it matters: evaluation and generation of a model that was carried over to NNX layer by
#   layer are noisy and worse than the model is; nothing fails.
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
from flax import nnx

xs = jnp.ones(1000)


class Both(nnx.Module):
  """A Linen Dropout across the bridge, and one of NNX."""

  def __init__(self, rngs):
    linen = nn.Dropout(0.5, deterministic=False)
    self.bridged = nnx.bridge.ToNNX(linen, rngs=rngs).lazy_init(xs)
    self.native = nnx.Dropout(0.5, deterministic=False, rngs=rngs)

  def __call__(self):
    return [int((layer(xs) == 0).sum()) for layer in (self.bridged, self.native)]


model = Both(nnx.Rngs(0, dropout=1))
model.train()
training = model()
model.eval()
evaluating, again = model(), model()

print(f"flax {flax.__version__}, jax {jax.__version__}, Python {platform.python_version()}")
print("zeros of 1,000 in training, bridged and native:", *training)
print("zeros after eval():", *evaluating, "and again:", *again)
off = nnx.bridge.ToNNX(nn.Dropout(0.5), rngs=nnx.Rngs(0, dropout=1))
off.lazy_init(xs, deterministic=True)
told = int((off(xs, deterministic=True) == 0).sum())
print("with deterministic=True in the call:", told)
as_found = (
  min(training) > 400
  and evaluating[0] > 400
  and evaluating[1] == 0
  and bool(jnp.any(model.bridged(xs) != model.bridged(xs)))
  and told == 0
)
raise SystemExit(0 if as_found else "this behaviour has changed")
EOF
