"""How parameters start: initialisers, and the blocks that a gate has of each."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll import specs
from unroll.types import Array, BadInput, Key

Initializer = Callable[..., Array]  # (key, shape, dtype) -> array

glorot: Initializer = jax.nn.initializers.glorot_uniform()
orthogonal: Initializer = jax.nn.initializers.orthogonal()
zeros: Initializer = jax.nn.initializers.zeros


def identity(key: Key, shape: tuple[int, int], dtype=jnp.float32) -> Array:
  """The identity matrix `[H, H]` (Le, Jaitly & Hinton 2015)."""
  del key
  return jnp.eye(*shape, dtype=dtype)


def uniform(
  key: Key, shape: tuple[int, ...], dtype=jnp.float32, bound: float | None = None
) -> Array:
  """Uniform on ±bound; on ±1/√H, as torch's recurrent layers, H the last axis."""
  bound = shape[-1] ** -0.5 if bound is None else bound
  return jax.random.uniform(key, shape, dtype, -bound, bound)


class Init(NamedTuple):
  """How a cell's parameters start, gate by gate.

  Attributes:
    kernel: input-to-hidden `[D, H]`, one draw a gate.
    recurrent: hidden-to-hidden `[H, H]`, one draw a gate.
    bias: `[H]`, one draw a gate.
    chrono: `T_max` of chrono initialisation, or None: gate biases are drawn so that
      memories last for 1 to T_max steps (Tallec & Ollivier 2018, section 3).
  """

  kernel: Initializer = glorot
  recurrent: Initializer = orthogonal
  bias: Initializer = zeros
  chrono: float | None = None


MOST = 1e30  # far beyond it float32 ends

INITS = {
  "orthogonal": Init(),
  "glorot": Init(recurrent=glorot),
  "identity": Init(recurrent=identity),
  "uniform": Init(uniform, uniform, uniform),
}


def named_init(spec: str) -> Init:
  """Reads `orthogonal`, `glorot`, `identity`, `uniform[:BOUND]`, `normal:STD`,
  `chrono:T_max`.

  Raises:
    BadInput: for another name, a bound or deviation that is not positive, or a T_max
      below 3.
  """
  match specs.split(spec, float):
    case name, () if name in INITS:
      return INITS[name]
    case "uniform", (bound,) if 0 < bound <= MOST:
      within = partial(uniform, bound=bound)
      return Init(within, within, within)
    case "normal", (deviation,) if 0 < deviation <= MOST:
      normal = jax.nn.initializers.normal(deviation)
      return Init(normal, normal)
    case "chrono", (longest,) if 3 <= longest <= MOST:
      return Init(chrono=longest)
  raise BadInput(
    f"init={spec}: choose one of {', '.join(INITS)}, uniform:BOUND or normal:STD with "
    "a positive number, or chrono:T_max with the longest memory, at least 3 steps; "
    f"all up to {MOST:g}"
  )


def gates(init: Initializer, key: Key, rows: int, size: int, count: int) -> Array:
  """Draws `count` blocks `[rows, size]` side by side: `[rows, count·size]`."""
  keys = jax.random.split(key, count)
  # One after another, by one program: to compile a copy for each block takes as long
  # as the blocks are many, and QR of many matrices at once can wait for ever for the
  # threads that it holds itself (jaxlib 0.10.2).
  blocks = jax.lax.map(lambda key: init(key, (rows, size), jnp.float32), keys)
  return jnp.moveaxis(blocks, 0, 1).reshape(rows, count * size)


def bias_gates(init: Initializer, key: Key, size: int, count: int) -> Array:
  """Draws `count` independent `[size]` biases end to end: `[count·size]`."""
  keys = jax.random.split(key, count)
  return jax.vmap(lambda key: init(key, (size,), jnp.float32))(keys).reshape(-1)


def chrono_bias(key: Key, size: int, t_max: float) -> Array:
  """log u with u uniform on [1, T_max - 1]: a gate that forgets after about u steps."""
  return jnp.log(jax.random.uniform(key, (size,), jnp.float32, 1.0, t_max - 1.0))
