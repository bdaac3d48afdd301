"""A row for each cell that is linear in its carry: one step in NumPy, by its paper."""

from functools import partial
from typing import Any

import numpy as np
from gated_rows import GATED, D, H, parts, sigmoid
from matrix_rows import MATRIX
from timed_rows import TIMED

from unroll import cells


def positive(a):
  return np.where(a >= 0, a + 0.5, sigmoid(a))


def min_gru(params, carry, x):
  z, n = parts(x @ params.w_x + params.b, 2)
  h = (1 - sigmoid(z)) * carry.h + sigmoid(z) * positive(n)
  return (h,), h


def min_lstm(params, carry, x):
  f, i, n = parts(x @ params.w_x + params.b, 3)
  f, i = sigmoid(f), sigmoid(i)
  h = f / (f + i) * carry.h + i / (f + i) * positive(n)
  return (h,), h


def qrnn(params, carry, x):
  w, v = parts(params.w_x, 2)
  f, o, n = parts(x @ w + carry.before + params.b, 3)
  c = sigmoid(f) * carry.c + (1 - sigmoid(f)) * np.tanh(n)
  return (x @ v, c), sigmoid(o) * c


def qrnn_alone(params, carry, x):
  f, o, n = parts(x @ params.w_x + params.b, 3)
  c = sigmoid(f) * carry.c + (1 - sigmoid(f)) * np.tanh(n)
  return (c,), sigmoid(o) * c


def sru(params, carry, x, form="v2"):
  w_f, w_r, w, w_p = parts(params.w_x, 4)
  (b_f, b_r), project = parts(params.b, 2), x @ w_p
  v_f, v_r = parts(params.v, 2) if form == "v2" else (0, 0)
  f = sigmoid(x @ w_f + v_f * carry.c + b_f)
  c = f * carry.c + (1 - f) * (x @ w)
  r = sigmoid(x @ w_r + v_r * carry.c + b_r)
  if form == "v1":
    return (c,), r * np.tanh(c) + (1 - r) * project
  return (c,), r * c + (1 - r) * project * np.sqrt(3)


def complex_step(params, carry, x, factor, scale):
  """A state of complex numbers; the step's input, and what is read of it."""
  size = factor.shape[0]
  re, im, *more = np.split(x @ params.w_x, [size, 2 * size], axis=-1)
  skipped = more[0] if more[0].size else x
  h = factor * (carry.h.re + 1j * carry.h.im) + scale * (re + 1j * im)
  c = params.w_y[:size] - 1j * params.w_y[size:]
  y = (h @ c).real + params.skip * skipped
  return ((h.real, h.imag),), gelu(y)


def gelu(x):
  return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def lru(params, carry, x):
  factor = np.exp(-np.exp(params.nu) + 1j * np.exp(params.theta))
  return complex_step(params, carry, x, factor, np.exp(params.gamma))


def s5(params, carry, x):
  value = -np.exp(params.decay) + 1j * params.angle
  factor = np.exp(value * np.exp(params.step))
  return complex_step(params, carry, x, factor, (factor - 1) / value)


def s4d(params, carry, x):
  """By the paper's complex numbers, feature by feature."""
  x = x @ params.w_x
  decay, angle, re, im = map(np.asarray, params.modes.value)
  y, h = params.skip * x, carry.h.re + 1j * carry.h.im
  for feature, time in enumerate(np.exp(params.step)):
    a = -np.exp(decay[feature]) + 1j * angle[feature]
    held = (np.exp(a * time) - 1) / a
    h[:, feature] = np.exp(a * time) * h[:, feature] + held * x[:, feature, None]
    y[:, feature] += 2 * (h[:, feature] @ (re[feature] + 1j * im[feature])).real
  return ((h.real, h.imag),), y


def s4d_mixed(params, carry, x):
  (h,), y = s4d(params, carry, x)
  y, gate = parts(gelu(y) @ params.w_y + params.b, 2)
  return (h,), y * sigmoid(gate)


def rg_lru(params, carry, x):
  x = x @ params.w_x
  blocks = np.split(x, len(params.w_gates), axis=-1)
  both = [parts(x @ w, 2) for x, w in zip(blocks, params.w_gates, strict=True)]
  b_r, b_i = parts(params.b, 2)
  r, i = (np.concatenate(gate, axis=-1) for gate in zip(*both))
  r, i = sigmoid(r + b_r), sigmoid(i + b_i)
  a = np.exp(-8 * r * np.log1p(np.exp(params.decay)))
  h = a * carry.h + np.sqrt(1 - a**2) * i * x
  return (h,), h


LINEAR: dict[str, tuple[str, dict[str, Any], Any, int | None]] = {
  "lru": ("lru", {}, lru, None),
  "lru, more states": ("lru", {"states": 7}, lru, None),
  "s5": ("s5", {}, s5, None),
  "s5, blocks": ("s5", {"states": 6, "blocks": 2}, s5, None),
  "s4d": ("s4d", {"states": 6}, s4d_mixed, None),
  "s4d, linear": ("s4d", {"output": "linear"}, s4d, None),
  "rg_lru": ("rg_lru", {}, rg_lru, None),
  "rg_lru, heads": ("rg_lru", {"heads": 2}, rg_lru, None),
  "min_gru": ("min_gru", {}, min_gru, None),
  "min_lstm": ("min_lstm", {}, min_lstm, None),
  "qrnn": ("qrnn", {}, qrnn, None),
  "qrnn, 1": ("qrnn", {"window": "1"}, qrnn_alone, None),
  "sru": ("sru", {}, sru, None),
  "sru, v1": ("sru", {"form": "v1"}, partial(sru, form="v1"), None),
}
EQUATIONS = {**GATED, **TIMED, **MATRIX, **LINEAR}


def made(name: str, **options):
  """The cell of a row."""
  registered, own, _, _ = EQUATIONS[name]
  return cells.CELLS[registered](D, H, **own, **options)
