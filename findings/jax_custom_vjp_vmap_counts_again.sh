#!/usr/bin/env bash
# Guessed: jax.vmap of a jax.custom_vjp function has the gradient of the same function without
#   its rule, whichever arguments are batched.
# In fact: where one result depends on a batched argument and another does not, the cotangent of
#   the other is added up over the batch once for every element of it: for a batch of n its part
#   of the gradient is n times too large, without a word. vmap of the undecorated function, or a
#   loop over the batch, is right. It is cured where every result depends on every argument, in
#   name at least.
# Versions: jax 0.10.2, Python 3.11, Linux x86-64, CPU, 2026-11-29.
# Why it matters: ensembles (vmap over parameters, one input for all) of anything with a rule of
#   its own - a fused layer, an implicit solver, a scan with a hand-written backward pass - whose
#   results include one that the parameters do not reach, such as a state that decays by itself.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu bin/python -I - <<'EOF'
import platform

import jax
import jax.numpy as jnp


def plain(w, x):
  """Two results: one that w does not reach, one that it does."""
  return 2.0 * x, w * x


@jax.custom_vjp
def ruled(w, x):
  return plain(w, x)


def backward(residuals, cotangents):
  (w, x), (a, b) = residuals, cotangents
  return b * x, 2.0 * a + b * w


ruled.defvjp(lambda w, x: (plain(w, x), (w, x)), backward)


def gradient(f, n):
  """Of the sum over n networks of their first results, for the x of them all."""
  networks = jnp.arange(1.0, n + 1)
  return float(jax.grad(lambda x: jnp.sum(jax.vmap(f, (0, None))(networks, x)[0]))(3.0))


print(f"jax {jax.__version__}, Python {platform.python_version()}")
found = {}
for n in (1, 2, 5):
  found[n] = gradient(plain, n), gradient(ruled, n)
  print(f"{n} networks: d/dx of the sum of 2 x is {found[n][0]}, with a custom_vjp {found[n][1]}")
as_found = all(right == 2.0 * n and ruled == n * right for n, (right, ruled) in found.items())
raise SystemExit(0 if as_found else "this behaviour has changed")
EOF
