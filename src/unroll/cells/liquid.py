"""Liquid networks: units that follow a differential equation, or its closed form.

Both read the time between steps as `timing` has it.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import HiddenCarry, carried, refuse_chrono
from unroll.cells.timing import features, parted, projected
from unroll.linear import add_bias
from unroll.parameters import Elementwise
from unroll.start import Init, bias_gates, gates
from unroll.types import Array, BadInput, Cell, Key


class CfCParams(NamedTuple):
  """The backbone `w_x [D, N]`, `w_h [H, N]`, `b [N]`, and the heads that read it.

  Of each further layer of the backbone `w_deep [N, N]`, `b_deep [N]`. Heads are f, g,
  a, s in this order, `w_y [N, 4H]`, `b_y [4H]`; with `mode="pure"` there is f alone.
  """

  w_x: Array
  w_h: Array
  b: Array
  w_deep: tuple[Array, ...]
  b_deep: tuple[Array, ...]
  w_y: Array
  b_y: Array


class PureCfCParams(NamedTuple):
  """`CfCParams` as `of_f`; the rate `tau [H]` and the limit `limit [H]` of a unit."""

  of_f: CfCParams
  tau: Array
  limit: Array


class Synapses(NamedTuple):
  """From each of N to each of H, `[N, H]`: a sigmoid that opens, and where it drives.

  The weight is how far it opens, above 0, kept as what softplus makes it of. `slope`
  and `centre` are of the sigmoid, `reversal` is the potential that it drives to.
  """

  weight: Array
  slope: Array
  centre: Array
  reversal: Array


class LTCParams(NamedTuple):
  """Synapses from inputs `[D, H]` and units `[H, H]`; and what each of them has.

  Inputs are scaled and shifted, `scale [D]`, `shift [D]`. Units have a leak, the
  potential `rest` that it drives to, and a capacity, `[H]`; leaks and capacities are
  kept as what softplus makes them of.
  """

  inputs: Elementwise
  units: Elementwise
  scale: Array
  shift: Array
  leak: Array
  rest: Array
  capacity: Array


def cfc(
  input_size: int,
  hidden_size: int,
  *,
  mode: Literal["default", "pure", "no_gate"] = "default",
  units: int = 128,
  depth: int = 1,
  timed: bool = False,
  init: Init | None = None,
) -> Cell:
  """The closed-form continuous-time network (Hasani et al. 2022).

      q    = φ(x W + h_{t-1} U + b)      backbone, of φ(a) = 1.7159 tanh(0.666 a)
      f, g = tanh(q V + b)               where a unit starts, and where it goes
      a, s = q V + b
      h_t  = (1 - σ(a dt + s)) ⊙ f + σ(a dt + s) ⊙ g

  With `mode="no_gate"`, h_t = f + σ(a dt + s) ⊙ g. With `mode="pure"`, h_t =
  A - A ⊙ exp(-dt (|τ| + |f|)) ⊙ f, of f = q V + b. All are as in the authors' ncps.

  Args:
    input_size: D.
    hidden_size: H.
    mode: "default", "pure" or "no_gate".
    units: N, the width of the backbone.
    depth: layers of the backbone.
    timed: whether the last input is dt, the time since the step before; else it is 1.
    init: how parameters start; by default U is orthogonal. τ starts at 0, A at 1.

  Returns:
    The cell; its output y_t is h_t.

  Raises:
    BadInput: if the backbone has no unit or no layer, or there is no feature.
  """
  for name, value in (("units", units), ("depth", depth)):
    if value < 1:
      raise BadInput(f"{name}={value}: a backbone has at least 1")
  starts, heads = init or Init(), 1 if mode == "pure" else 4
  refuse_chrono(starts)
  read = features(input_size, timed)

  def new(key: Key) -> CfCParams:
    key_x, key_h, key_b, key_y, key_b_y, key_deep = jax.random.split(key, 6)
    deep = jax.random.split(key_deep, 2 * depth - 1)
    return CfCParams(
      w_x=gates(starts.kernel, key_x, read, units, 1),
      w_h=gates(starts.recurrent, key_h, hidden_size, units, 1),
      b=bias_gates(starts.bias, key_b, units, 1),
      w_deep=tuple(gates(starts.kernel, key, units, units, 1) for key in deep[1::2]),
      b_deep=tuple(bias_gates(starts.bias, key, units, 1) for key in deep[2::2]),
      w_y=gates(starts.kernel, key_y, units, hidden_size, heads),
      b_y=bias_gates(starts.bias, key_b_y, hidden_size, heads),
    )

  def seen(params: CfCParams, h: Array, z: Array) -> Array:
    q = _lecun(add_bias(z, params.b) + h @ params.w_h)
    for w, b in zip(params.w_deep, params.b_deep, strict=True):
      q = _lecun(add_bias(q @ w, b))
    return add_bias(q @ params.w_y, params.b_y)

  def step(params: CfCParams, carry: HiddenCarry, z: Array):
    z, dt = parted(z, timed)
    f, g, a, s = jnp.split(seen(params, carry.h, z), 4, axis=-1)
    f, g, s = jnp.tanh(f), jnp.tanh(g), jax.nn.sigmoid(a * dt + s)
    h = (f if mode == "no_gate" else (1 - s) * f) + s * g
    return HiddenCarry(h), h

  def solved(params: PureCfCParams, carry: HiddenCarry, z: Array):
    z, dt = parted(z, timed)
    f = seen(params.of_f, carry.h, z)
    rate = add_bias(jnp.abs(f), jnp.abs(params.tau))
    limit = jnp.broadcast_to(params.limit.astype(f.dtype), f.shape)
    h = limit - limit * jnp.exp(-dt * rate) * f
    return HiddenCarry(h), h

  def project(params: CfCParams, xs: Array) -> Array:
    return projected(lambda xs: xs @ params.w_x, xs, timed)

  if mode != "pure":
    return Cell(new, _carry(hidden_size), project, step)

  def pure(key: Key) -> PureCfCParams:
    zero = jnp.zeros(hidden_size, jnp.float32)
    return PureCfCParams(new(key), zero, jnp.ones_like(zero))

  return Cell(
    pure,
    lambda params, batch: _carry(hidden_size)(params.of_f, batch),
    lambda params, xs: project(params.of_f, xs),
    solved,
  )


def ltc(
  input_size: int,
  hidden_size: int,
  *,
  unfolds: int = 6,
  timed: bool = False,
) -> Cell:
  """Liquid time constants (Hasani, Lechner, Amini, Rus & Grosu 2021).

      C dv/dt = l ⊙ (r - v) + Σ w ⊙ σ(s ⊙ (u - c)) ⊙ (e - v)

  The sum is over the synapses of a unit: u is an input, after its scale and shift, or
  the potential v of a unit. The authors' solver takes each step in `unfolds` parts of
  δ = dt / unfolds, implicit in the v of the unit and explicit in u:

      v ← (C v + δ (l r + Σ w σ e)) / (C + δ (l + Σ w σ))

  It is ncps's LTC, with `implicit_param_constraints` and a wiring of all to all.

  Args:
    input_size: D.
    hidden_size: H.
    unfolds: the parts of a step.
    timed: whether the last input is dt, the time since the step before; else it is 1.

  Returns:
    The cell; its output y_t is v. Its parameters start as those of ncps, of which a
    third of the synapses drive to -1 and others to 1.

  Raises:
    BadInput: if there is no part of a step, or no feature.
  """
  if unfolds < 1:
    raise BadInput(f"unfolds={unfolds}: a step has at least 1 part")
  read = features(input_size, timed)

  def new(key: Key) -> LTCParams:
    key_x, key_h, key_l, key_r, key_c = jax.random.split(key, 5)

    def drawn(key: Key, least: float, most: float) -> Array:
      return jax.random.uniform(key, (hidden_size,), jnp.float32, least, most)

    return LTCParams(
      inputs=Elementwise(_synapses(key_x, read, hidden_size)),
      units=Elementwise(_synapses(key_h, hidden_size, hidden_size)),
      scale=jnp.ones(read, jnp.float32),
      shift=jnp.zeros(read, jnp.float32),
      leak=_before_softplus(drawn(key_l, 0.001, 1.0)),
      rest=drawn(key_r, -0.2, 0.2),
      capacity=_before_softplus(drawn(key_c, 0.4, 0.6)),
    )

  def prepare(params: LTCParams) -> LTCParams:
    def opened(node: Elementwise) -> Elementwise:
      weight = jax.nn.softplus(node.value.weight)
      return Elementwise(node.value._replace(weight=weight))

    return params._replace(
      inputs=opened(params.inputs),
      units=opened(params.units),
      leak=jax.nn.softplus(params.leak),
      capacity=jax.nn.softplus(params.capacity),
    )

  def project(params: LTCParams, xs: Array) -> Array:
    def passed(xs: Array) -> Array:
      scale = jnp.broadcast_to(params.scale.astype(xs.dtype), xs.shape)
      both = _passed(params.inputs.value, add_bias(xs * scale, params.shift))
      return jnp.concatenate(both, axis=-1)

    return projected(passed, xs, timed)

  def step(params: LTCParams, carry: HiddenCarry, z: Array):
    z, dt = parted(z, timed)
    v, delta = carry.h, dt / unfolds
    capacity, leak, rest = (
      jnp.broadcast_to(leaf.astype(v.dtype), v.shape)
      for leaf in (params.capacity, params.leak, params.rest)
    )
    open_x, driven_x = jnp.split(z, 2, axis=-1)
    for _ in range(unfolds):
      open_h, driven_h = _passed(params.units.value, v)
      driven = capacity * v + delta * (leak * rest + driven_x + driven_h)
      v = driven / (capacity + delta * (leak + open_x + open_h))
    return HiddenCarry(v), v

  def carry(params: LTCParams, batch: int) -> HiddenCarry:
    return HiddenCarry(jnp.zeros((batch, hidden_size), params.rest.dtype))

  return Cell(new, carry, project, step, prepare=prepare)


def _carry(hidden_size: int):
  return carried(hidden_size, HiddenCarry)


def _lecun(a: Array) -> Array:
  return 1.7159 * jnp.tanh(0.666 * a)


def _passed(synapses: Synapses, u: Array) -> tuple[Array, Array]:
  """Of each unit, Σ w σ and Σ w σ e over its synapses from `u [..., N]`."""
  shape = (*u.shape, synapses.weight.shape[-1])
  weight, slope, centre, reversal = (
    jnp.broadcast_to(leaf.astype(u.dtype), shape) for leaf in synapses
  )
  opened = weight * jax.nn.sigmoid(slope * (u[..., None] - centre))
  return jnp.sum(opened, axis=-2), jnp.sum(opened * reversal, axis=-2)


def _synapses(key: Key, count: int, size: int) -> Synapses:
  keys, shape = jax.random.split(key, 4), (count, size)

  def drawn(key: Key, least: float, most: float) -> Array:
    return jax.random.uniform(key, shape, jnp.float32, least, most)

  return Synapses(
    weight=_before_softplus(drawn(keys[0], 0.001, 1.0)),
    slope=drawn(keys[1], 3.0, 8.0),
    centre=drawn(keys[2], 0.3, 0.8),
    reversal=jnp.where(jax.random.uniform(keys[3], shape) < 1 / 3, -1.0, 1.0),
  )


def _before_softplus(a: Array) -> Array:
  return jnp.log(jnp.expm1(a))
