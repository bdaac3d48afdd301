"""A row for each gated cell of the registry: one step in NumPy, by its paper."""

from functools import partial
from typing import Any

import numpy as np

D, H = 3, 4


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def relu(x):
  return np.maximum(x, 0)


def parts(array, count: int) -> list[np.ndarray]:
  return np.split(np.asarray(array), count, axis=-1)


def affine(params, h, x, count: int) -> list[np.ndarray]:
  """x W + h U + b of each gate."""
  w, u, b = (parts(leaf, count) for leaf in (params.w_x, params.w_h, params.b))
  return [x @ w[k] + h @ u[k] + b[k] for k in range(count)]


def memory(i, f, g, o, c):
  c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
  return c, sigmoid(o) * np.tanh(c)


def lstm_peephole(params, carry, x):
  i, f, g, o = affine(params, carry.h, x, 4)
  c = sigmoid(f + params.p_f * carry.c) * carry.c
  c = c + sigmoid(i + params.p_i * carry.c) * np.tanh(g)
  h = sigmoid(o + params.p_o * c) * np.tanh(c)
  return (c, h), h


def cifg(params, carry, x):
  f, g, o = affine(params, carry.h, x, 3)
  c, h = memory(-f, f, g, o, carry.c)  # 1 - σ(a) is σ(-a)
  return (c, h), h


def lstm_projected(params, carry, x):
  c, wide = memory(*affine(params, carry.h, x, 4), carry.c)
  h = wide @ params.w_y
  return (c, h), h


def layer_norm(x, gain=1.0, bias=0.0):
  centred = x - x.mean(-1, keepdims=True)
  return gain * centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + bias


def lstm_layer_norm(params, carry, x, norm="products", kept="raw"):
  a_x, a_h = x @ params.w_x, carry.h @ params.w_h
  if norm == "products":
    a = layer_norm(a_x, params.gain_x) + layer_norm(a_h, params.gain_h)
  else:
    a = np.concatenate([layer_norm(gate) for gate in parts(a_x + a_h, 4)], -1)
    a = a * params.gain_x
  i, f, g, o = parts(a + params.b, 4)
  c, _ = memory(i, f, g, o, carry.c)
  read = layer_norm(c, params.gain_c, params.b_c)
  h = sigmoid(o) * np.tanh(read)
  return (c if kept == "raw" else read, h), h


def gru_layer_norm(params, carry, x):
  r, z = 0.0, 0.0
  candidates = []
  of_x, of_h = (x @ params.w_x, params.gain_x), (carry.h @ params.w_h, params.gain_h)
  for product, gain in (of_x, of_h):
    both = layer_norm(product[:, : 2 * H], gain[: 2 * H])
    r, z = r + both[:, :H], z + both[:, H:]
    candidates.append(layer_norm(product[:, 2 * H :], gain[2 * H :]))
  b_r, b_z, b_n = parts(params.b, 3)
  r, z = sigmoid(r + b_r), sigmoid(z + b_z)
  n = np.tanh(candidates[0] + b_n + r * (candidates[1] + params.b_n))
  h = (1 - z) * n + z * carry.h
  return (h,), h


def lstm_multiplicative(params, carry, x):
  *w, w_m = parts(params.w_x, 5)
  m = (x @ w_m) * (carry.h @ params.w_h)
  u, b = parts(params.w_m, 4), parts(params.b, 4)
  c, h = memory(*(x @ w[k] + m @ u[k] + b[k] for k in range(4)), carry.c)
  return (c, h), h


def lstm_mogrifier(params, carry, x):
  h = carry.h
  q, r = list(params.q), list(params.r)
  while q:
    x = 2 * sigmoid(h @ q.pop(0)) * x
    if r:
      h = 2 * sigmoid(x @ r.pop(0)) * h
  c, h = memory(*affine(params, h, x, 4), carry.c)
  return (c, h), h


def mgu(params, carry, x):
  (w_f, w_n), (b_f, b_n) = parts(params.w_x, 2), parts(params.b, 2)
  f = sigmoid(x @ w_f + carry.h @ params.w_f + b_f)
  n = np.tanh(x @ w_n + (f * carry.h) @ params.w_n + b_n)
  h = (1 - f) * carry.h + f * n
  return (h,), h


def mgu_reset_after(params, carry, x):
  (w_f, w_n), (u_f, u_n) = parts(params.w_x, 2), parts(params.w_h, 2)
  b_f, b_n = parts(params.b, 2)
  f = sigmoid(x @ w_f + carry.h @ u_f + b_f)
  n = np.tanh(x @ w_n + b_n + f * (carry.h @ u_n))
  h = (1 - f) * n + f * carry.h
  return (h,), h


def ugrnn(params, carry, x):
  g, n = affine(params, carry.h, x, 2)
  h = sigmoid(g) * carry.h + (1 - sigmoid(g)) * np.tanh(n)
  return (h,), h


def janet(params, carry, x, beta=1.0):
  s, n = affine(params, carry.h, x, 2)
  h = sigmoid(s) * carry.h + (1 - sigmoid(s - beta)) * np.tanh(n)
  return (h,), h


def minimal_rnn(params, carry, x):
  z = np.tanh(x @ params.w_x + params.b_x)
  u = sigmoid(carry.h @ params.w_h + z @ params.w_z + params.b)
  h = u * carry.h + (1 - u) * z
  return (h,), h


def bistable(params, carry, x, seen):
  w, b = parts(params.w_x, 3), parts(params.b, 3)
  of_a, of_c = seen(params, carry.h)
  a = 1 + np.tanh(x @ w[0] + of_a + b[0])
  c = sigmoid(x @ w[1] + of_c + b[1])
  h = c * carry.h + (1 - c) * np.tanh(x @ w[2] + a * carry.h + b[2])
  return (h,), h


def rhn(params, carry, x):
  s = carry.h
  for depth, (u, b) in enumerate(zip(params.w_h, params.b)):
    a = s @ u + b
    if depth == 0:
      a = a + x @ params.w_x
    n, t = parts(a, 2)
    s = np.tanh(n) * sigmoid(t) + s * (1 - sigmoid(t))
  return (s,), s


def scrn(params, carry, x, alpha=0.95):
  size = carry.s.shape[1]
  s = (1 - alpha) * (x @ params.w_x[:, :size]) + alpha * carry.s
  read = x @ params.w_x[:, size:] + s @ params.w_s + carry.h @ params.w_h
  h = sigmoid(read + params.b)
  return (s, h), np.concatenate([s, h], -1)


def li_gru(params, carry, x, norm=layer_norm):
  w, u = parts(params.w_x, 2), parts(params.w_h, 2)
  b, gain = parts(params.b, 2), parts(params.gain, 2)
  a = [gain[k] * norm(x @ w[k]) + carry.h @ u[k] + b[k] for k in range(2)]
  z = sigmoid(a[0])
  h = z * carry.h + (1 - z) * relu(a[1])
  return (h,), h


def ran(params, carry, x, output=np.tanh):
  (w_i, w_f, w_c), (u_i, u_f) = parts(params.w_x, 3), parts(params.w_h, 2)
  b_i, b_f = parts(params.b, 2)
  i = sigmoid(x @ w_i + carry.h @ u_i + b_i)
  f = sigmoid(x @ w_f + carry.h @ u_f + b_f)
  c = i * (x @ w_c) + f * carry.c
  return (c, output(c)), output(c)


def fast_rnn(params, carry, x):
  n = np.tanh(x @ params.w_x + carry.h @ params.w_h + params.b)
  h = sigmoid(params.alpha) * n + sigmoid(params.beta) * carry.h
  return (h,), h


def fast_grnn(params, carry, x):
  b_z, b_n = parts(params.b, 2)
  a = x @ params.w_x + carry.h @ params.w_h
  z, n = sigmoid(a + b_z), np.tanh(a + b_n)
  h = (sigmoid(params.zeta) * (1 - z) + sigmoid(params.nu)) * n + z * carry.h
  return (h,), h


def nas(params, carry, x):
  a = parts(x @ params.w_x, 8)
  b = parts(carry.h @ params.w_h + params.b, 8)
  first = [
    sigmoid(a[0] + b[0]),
    relu(a[1] + b[1]),
    sigmoid(a[2] + b[2]),
    relu(a[3] * b[3]),
    np.tanh(a[4] + b[4]),
    sigmoid(a[5] + b[5]),
    np.tanh(a[6] + b[6]),
    sigmoid(a[7] + b[7]),
  ]
  left = np.tanh(np.tanh(first[0] * first[1]) + carry.c)
  c = left * np.tanh(first[2] + first[3])
  right = np.tanh(np.tanh(first[4] * first[5]) + sigmoid(first[6] + first[7]))
  h = np.tanh(c * right)
  return (c, h), h


def indrnn(params, carry, x, bound=None):
  u = params.u if bound is None else np.clip(params.u, -bound, bound)
  h = relu(x @ params.w_x + u * carry.h + params.b)
  return (h,), h


def co_rnn(params, carry, x, step=0.042, frequency=2.7, damping=4.7):
  drive = x @ params.w_x + carry.y @ params.w_y + carry.z @ params.w_z + params.b
  z = carry.z + step * (np.tanh(drive) - frequency * carry.y - damping * carry.z)
  y = carry.y + step * z
  return (y, z), y


def lem(params, carry, x, step=1.0):
  """torchrecurrent 0.2.5 reads carry.z for the last z, against the paper:
  `findings/torchrecurrent_lem_reads_the_memory_before.sh`."""
  (w_1, w_2, w_z, w_y), (b_1, b_2, b_z, b_y) = parts(params.w_x, 4), parts(params.b, 4)
  u_1, u_2, u_z = parts(params.w_h, 3)
  slow = step * sigmoid(x @ w_2 + carry.y @ u_2 + b_2)
  fast = step * sigmoid(x @ w_1 + carry.y @ u_1 + b_1)
  z = (1 - slow) * carry.z + slow * np.tanh(x @ w_z + carry.y @ u_z + b_z)
  y = (1 - fast) * carry.y + fast * np.tanh(x @ w_y + z @ params.w_z + b_y)
  return (y, z), y


def antisymmetric(params, carry, x, gated=False):
  u = params.w_h - params.w_h.T - 0.01 * np.eye(len(params.w_h))
  new, *gate = parts(x @ params.w_x + params.b, 1 + gated)
  z = sigmoid(gate[0] + carry.h @ u) if gated else 1
  h = carry.h + 0.1 * z * np.tanh(new + carry.h @ u)
  return (h,), h


def exp_rnn(params, carry, x):
  size = len(params.b)
  above = np.zeros((size, size))
  above[np.triu_indices(size, 1)] = params.skew
  values, vectors = np.linalg.eig(above - above.T)
  orthogonal = (vectors * np.exp(values) @ np.linalg.inv(vectors)).real
  a = x @ params.w_x + carry.h @ orthogonal
  h = np.sign(a) * relu(np.abs(a) + params.b)
  return (h,), h


def echo_state(params, carry, x):
  w_x, w_h, b = (leaf.value for leaf in params)
  h = 0.3 * carry.h + 0.7 * np.tanh(x @ w_x + carry.h @ w_h + b)
  return (h,), h


def slstm(params, carry, x):
  i, f, z, o = affine(params, carry.h, x, 4)
  c, n = carry.c * np.exp(carry.m), carry.n * np.exp(carry.m)
  c = sigmoid(f) * c + np.exp(i) * np.tanh(z)
  n = sigmoid(f) * n + np.exp(i)
  m = np.maximum(np.log(sigmoid(f)) + carry.m, i)
  h = sigmoid(o) * c / n
  return (h, c / np.exp(m), n / np.exp(m), m), h


# (name, options) -> (equation, gates side by side in each matrix of a dense cell).
GATED: dict[str, tuple[str, dict[str, Any], Any, int | None]] = {
  "lstm_peephole": ("lstm_peephole", {}, lstm_peephole, 4),
  "cifg": ("cifg", {}, cifg, 3),
  "lstm_projected": ("lstm_projected", {"memory": 6}, lstm_projected, None),
  "lstm_layer_norm": ("lstm_layer_norm", {}, lstm_layer_norm, 4),
  "lstm_layer_norm, gates": (
    "lstm_layer_norm",
    {"norm": "gates", "memory": "normalized"},
    partial(lstm_layer_norm, norm="gates", kept="normalized"),
    4,
  ),
  "gru_layer_norm": ("gru_layer_norm", {}, gru_layer_norm, 3),
  "lstm_multiplicative": ("lstm_multiplicative", {}, lstm_multiplicative, None),
  "lstm_mogrifier": ("lstm_mogrifier", {}, lstm_mogrifier, None),
  "lstm_mogrifier, even": ("lstm_mogrifier", {"rounds": 2}, lstm_mogrifier, None),
  "mgu": ("mgu", {}, mgu, 2),
  "mgu_reset_after": ("mgu_reset_after", {}, mgu_reset_after, 2),
  "ugrnn": ("ugrnn", {}, ugrnn, 2),
  "janet": ("janet", {}, janet, 2),
  "janet, beta": ("janet", {"beta": 0.3}, partial(janet, beta=0.3), 2),
  "minimal_rnn": ("minimal_rnn", {}, minimal_rnn, None),
  "brc": (
    "brc",
    {},
    partial(bistable, seen=lambda p, h: (p.w_a * h, p.w_c * h)),
    None,
  ),
  "nbrc": (
    "nbrc",
    {},
    partial(bistable, seen=lambda p, h: parts(h @ p.w_h, 2)),
    None,
  ),
  "rhn": ("rhn", {}, rhn, None),
  "scrn": ("scrn", {}, scrn, None),
  "scrn, slow": ("scrn", {"slow": 3, "alpha": 0.5}, partial(scrn, alpha=0.5), None),
  "li_gru": ("li_gru", {}, li_gru, 2),
  "li_gru, plain": (
    "li_gru",
    {"norm": "none"},
    partial(li_gru, norm=lambda a: a),
    2,
  ),
  "ran": ("ran", {}, ran, None),
  "ran, identity": (
    "ran",
    {"output": "identity"},
    partial(ran, output=lambda c: c),
    None,
  ),
  "fast_rnn": ("fast_rnn", {}, fast_rnn, 1),
  "fast_grnn": ("fast_grnn", {}, fast_grnn, 1),
  "co_rnn": ("co_rnn", {}, co_rnn, None),
  "co_rnn, slower": ("co_rnn", {"step": 0.5}, partial(co_rnn, step=0.5), None),
  "lem": ("lem", {}, lem, 4),
  "lem, slower": ("lem", {"step": 0.5}, partial(lem, step=0.5), 4),
  "antisymmetric_rnn": ("antisymmetric_rnn", {}, antisymmetric, None),
  "antisymmetric_rnn, gated": (
    "antisymmetric_rnn",
    {"gated": True},
    partial(antisymmetric, gated=True),
    None,
  ),
  "exp_rnn": ("exp_rnn", {}, exp_rnn, None),
  "echo_state": (
    "echo_state",
    {"leak": 0.7, "density": 1.0, "bias_scale": 0.1},
    echo_state,
    None,
  ),
  "slstm": ("slstm", {}, slstm, 4),
  "nas": ("nas", {}, nas, 8),
  "indrnn": ("indrnn", {}, indrnn, None),
  "indrnn, longest": (
    "indrnn",
    {"longest": 6},
    partial(indrnn, bound=2 ** (1 / 6)),
    None,
  ),
}
