"""A row for each cell with a clock: one step in NumPy, by its paper."""

from functools import partial
from typing import Any

import numpy as np
from gated_rows import affine, parts, relu, sigmoid


def softplus(x):
  return np.log1p(np.exp(x))


def since(x, timed: bool):
  """The features of a step, and the time since the one before."""
  return (x[:, :-1], np.maximum(x[:, -1:], 0)) if timed else (x, np.ones((len(x), 1)))


def cfc(params, carry, x, mode="default", timed=False):
  own = params.of_f if mode == "pure" else params
  x, dt = since(x, timed)
  q = x @ own.w_x + carry.h @ own.w_h + own.b
  q = 1.7159 * np.tanh(0.666 * q)
  for w, b in zip(own.w_deep, own.b_deep):
    q = 1.7159 * np.tanh(0.666 * (q @ w + b))
  if mode == "pure":
    f = q @ own.w_y + own.b_y
    decay = np.exp(-(np.abs(params.tau) + np.abs(f)) * dt)
    h = params.limit * (1 - decay * f)
    return (h,), h
  f, g, a, s = parts(q @ own.w_y + own.b_y, 4)
  gate = sigmoid(a * dt + s)
  if mode == "no_gate":
    h = np.tanh(f) + gate * np.tanh(g)
  else:
    h = (1 - gate) * np.tanh(f) + gate * np.tanh(g)
  return (h,), h


def ltc(params, carry, x, unfolds=6, timed=False):
  """Unit by unit and synapse by synapse."""
  x, dt = since(x, timed)
  x = params.scale * x + params.shift
  leak, capacity = softplus(params.leak), softplus(params.capacity)
  of_x, of_v = params.inputs.value, params.units.value
  v = np.array(carry.h, np.float64)
  for row in range(len(x)):
    for _ in range(unfolds):
      old = v[row].copy()
      for unit in range(len(old)):
        over, under = leak[unit] * params.rest[unit], leak[unit]
        for u, synapses in ((x[row], of_x), (old, of_v)):
          for i, potential in enumerate(u):
            w, slope, centre, e = (leaf[i, unit] for leaf in synapses)
            g = softplus(w) * sigmoid(slope * (potential - centre))
            over, under = over + g * e, under + g
        part = dt[row, 0] / unfolds
        v[row, unit] = capacity[unit] * old[unit] + part * over
        v[row, unit] /= capacity[unit] + part * under
  return (v,), v


def phased_lstm(params, carry, x, ratio=0.05, leak=0.001, timed=False):
  x, dt = since(x, timed)
  t, period = carry.t.value + dt, np.exp(params.log_period)
  i, f, g, o = affine(params, carry.h, x, 4)
  new = sigmoid(f + params.p_f * carry.c) * carry.c
  new = new + sigmoid(i + params.p_i * carry.c) * np.tanh(g)
  out = sigmoid(o + params.p_o * new) * np.tanh(new)
  phase = np.mod(t - params.shift, period) / period
  k = np.select(
    [phase < ratio / 2, phase < ratio],
    [2 * phase / ratio, 2 - 2 * phase / ratio],
    leak * phase,
  )
  c, h = k * new + (1 - k) * carry.c, k * out + (1 - k) * carry.h
  return (c, h, t), h


def gru_d(params, carry, x, timed=False):
  x, dt = since(x, timed)
  m, age, last = ~np.isnan(x), carry.age.value + dt, carry.last.value
  fresh = np.exp(-relu(age * params.d_x + params.b_d_x))
  x = np.where(m, x, fresh * last + (1 - fresh) * params.mean.value)
  h = np.exp(-relu(age @ params.w_d + params.b_d)) * carry.h
  w, v, b = parts(params.w_x, 3), parts(params.w_m, 3), parts(params.b, 3)
  u_r, u_z = parts(params.w_rz, 2)
  r = sigmoid(x @ w[0] + m @ v[0] + h @ u_r + b[0])
  z = sigmoid(x @ w[1] + m @ v[1] + h @ u_z + b[1])
  n = np.tanh(x @ w[2] + m @ v[2] + (r * h) @ params.w_n + b[2])
  h = (1 - z) * h + z * n
  return (h, np.where(m, x, last), np.where(m, 0, age)), h


def clockwork(params, carry, x, blocks=4):
  """Block by block, each of the blocks that it reads by itself."""
  old, t = parts(carry.h, blocks), carry.t.value
  w, b = parts(params.w_x, blocks), parts(params.b, blocks)
  new = []
  for k in range(blocks):
    a = x @ w[k] + b[k]
    for slower in range(k, blocks):
      a = a + old[slower] @ parts(np.split(params.w_h, blocks)[slower], blocks)[k]
    new.append(np.where(t % 2**k == 0, np.tanh(a), old[k]))
  h = np.concatenate(new, -1)
  return (h, (t + 1) % 2 ** (blocks - 1)), h


# As of `gated_rows`.
TIMED: dict[str, tuple[str, dict[str, Any], Any, int | None]] = {
  "cfc": ("cfc", {"units": 6}, cfc, None),
  "cfc, deep": ("cfc", {"units": 5, "depth": 3}, cfc, None),
  "cfc, timed": ("cfc", {"units": 6, "timed": True}, partial(cfc, timed=True), None),
  "cfc, no_gate": (
    "cfc",
    {"units": 6, "mode": "no_gate", "timed": True},
    partial(cfc, mode="no_gate", timed=True),
    None,
  ),
  "cfc, pure": (
    "cfc",
    {"units": 6, "mode": "pure", "timed": True},
    partial(cfc, mode="pure", timed=True),
    None,
  ),
  "ltc": ("ltc", {}, ltc, None),
  "ltc, timed": (
    "ltc",
    {"unfolds": 2, "timed": True},
    partial(ltc, unfolds=2, timed=True),
    None,
  ),
  "phased_lstm": ("phased_lstm", {}, phased_lstm, 4),
  "phased_lstm, timed": (
    "phased_lstm",
    {"ratio": 0.6, "leak": 0.1, "shortest": 2.0, "longest": 9.0, "timed": True},
    partial(phased_lstm, ratio=0.6, leak=0.1, timed=True),
    None,
  ),
  "gru_d": ("gru_d", {}, gru_d, None),
  "gru_d, timed": ("gru_d", {"timed": True}, partial(gru_d, timed=True), None),
  "clockwork_rnn": ("clockwork_rnn", {}, clockwork, 1),
  "clockwork_rnn, 2": (
    "clockwork_rnn",
    {"blocks": 2},
    partial(clockwork, blocks=2),
    1,
  ),
}
