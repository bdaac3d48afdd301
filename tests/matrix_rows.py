"""A row for each cell whose memory is a matrix: one step in NumPy, by its paper."""

from functools import partial
from typing import Any

import numpy as np
from gated_rows import H, parts, sigmoid


def mlstm(params, carry, x, heads=1):
  """The paper's plain equations, without a stabiliser: C is d values by d keys."""
  d = H // heads
  z = x @ params.w_x
  q, k, v, o = parts(z[:, : 4 * H] + params.b, 4)
  i, f = parts(z[:, 4 * H :] + params.b_gates, 2)
  m = np.maximum(np.log(sigmoid(f)) + carry.m, i)
  c, n = np.zeros(carry.c.shape), np.zeros(carry.n.shape)
  h = np.zeros((len(x), H))
  for row in range(len(x)):
    for head in range(heads):
      own = slice(head * d, (head + 1) * d)
      scale = np.exp(carry.m[row, head])
      keep, write = sigmoid(f[row, head]), np.exp(i[row, head])
      key = k[row, own] / np.sqrt(d)
      memory = carry.c[row, head].T * scale
      memory = keep * memory + write * np.outer(v[row, own], key)
      total = keep * carry.n[row, head] * scale + write * key
      read = memory @ q[row, own] / max(abs(total @ q[row, own]), 1)
      h[row, own] = sigmoid(o[row, own]) * read
      c[row, head] = memory.T / np.exp(m[row, head])
      n[row, head] = total / np.exp(m[row, head])
  return (c, n, m), h


def gated_delta(params, carry, x, heads=1, most=1.0):
  """The paper's plain equations: S is d values by d keys."""
  d = H // heads
  z = x @ params.w_x
  q, k, v = parts(z[:, : 3 * H] * sigmoid(z[:, : 3 * H]), 3)
  b, a = parts(z[:, 3 * H :] + params.b, 2)
  s, y = np.zeros(carry.s.shape), np.zeros((len(x), H))
  for row in range(len(x)):
    for head in range(heads):
      own = slice(head * d, (head + 1) * d)
      key, query = (unit(part[row, own]) for part in (k, q))
      beta = most * sigmoid(b[row, head])
      decay = np.exp(params.decay[head])
      alpha = np.exp(-decay * np.log1p(np.exp(a[row, head])))
      kept = np.eye(d) - beta * np.outer(key, key)
      memory = alpha * carry.s[row, head].T @ kept
      memory = memory + beta * np.outer(v[row, own], key)
      s[row, head], y[row, own] = memory.T, memory @ query
  return (s,), y


def unit(vector):
  return vector / np.sqrt(vector @ vector + 1e-6)


MATRIX: dict[str, tuple[str, dict[str, Any], Any, int | None]] = {
  "mlstm": ("mlstm", {}, mlstm, None),
  "mlstm, heads": ("mlstm", {"heads": 2}, partial(mlstm, heads=2), None),
  "gated_delta": ("gated_delta", {}, gated_delta, None),
  "gated_delta, heads": (
    "gated_delta",
    {"heads": 2, "negative": True},
    partial(gated_delta, heads=2, most=2.0),
    None,
  ),
}
