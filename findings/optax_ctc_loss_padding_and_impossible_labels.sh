#!/usr/bin/env bash
# Guessed: optax.ctc_loss takes paddings because what stands there does not matter; and
#   labels that no path through the logits can give, as five labels in three steps, have an
#   infinite loss, as in PyTorch, or none.
# In fact: a NaN in a step that is padding makes the loss and the gradient of its sequence
#   NaN. Labels that cannot be given have a loss of about 1e5, which is -log_epsilon, and
#   a gradient that is not 0: a batch mean is about 1e5 / B for one such sequence, and it
#   trains on it.
# Versions: optax 0.2.8, jax 0.10.2, Python 3.11, Linux x86-64, 2026-11-30.
# Why it matters: encoders leave NaN or infinities on padding (0 / 0 of a mean over no
#   frames), and a sound may be shorter than its transcript. Set padded logits to 0, and
#   leave such sequences out by their lengths: T must be at least the labels and one more
#   for each pair of equal neighbours.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q optax==0.2.8 jax==0.10.2 jaxlib==0.10.2
cd "$folder"
JAX_PLATFORMS=cpu bin/python -I - <<'END'
import platform

import jax
import jax.numpy as jnp
import numpy as np
import optax

B, T, V, L = 2, 6, 5, 5
logits = np.random.default_rng(0).standard_normal((B, T, V)).astype(np.float32)
labels = np.array([[1, 2, 0, 0, 0], [1, 2, 3, 4, 1]])
label_paddings = np.array([[0, 0, 1, 1, 1], [0, 0, 0, 0, 0]], np.float32)


def found(logits, real):
  paddings = (np.arange(T) >= np.array(real)[:, None]).astype(np.float32)

  def loss(logits):
    each = optax.ctc_loss(logits, paddings, labels, label_paddings)
    return jnp.sum(each), each

  gradient, each = jax.grad(loss, has_aux=True)(logits)
  return np.asarray(each), np.asarray(gradient)


print(f"optax {optax.__version__}, jax {jax.__version__}, Python {platform.python_version()}")
dirty = logits.copy()
dirty[0, 4:] = np.nan
clean, _ = found(logits, (4, 6))
each, gradient = found(dirty, (4, 6))
print(f"first sequence, 4 real steps: loss {clean[0]:.3f}; with NaN on padding {each[0]}")
padding_matters = np.isnan(each[0]) and np.isnan(gradient[0, :4]).any()
each, gradient = found(logits, (4, 3))
most = np.abs(gradient[1]).max()
print(f"five labels in three steps: loss {each[1]:.4g}, largest gradient {most:.3g}")
finite = 9e4 < each[1] < 2e5 and most > 0
raise SystemExit(0 if padding_matters and finite else "this behaviour has changed")
END
