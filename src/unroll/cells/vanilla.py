"""The vanilla (Elman) recurrent cell: with tanh, ReLU or nothing, and the IRNN."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.cells.dense import refuse_chrono
from unroll.linear import add_bias, bias_gradient, weight_gradient
from unroll.start import Init, bias_gates, gates, identity
from unroll.types import Array, Cell, Derivative, Key


class VanillaParams(NamedTuple):
  """`w_x [D, H]`, `w_h [H, H]`, `b [H]`."""

  w_x: Array
  w_h: Array
  b: Array


class VanillaCarry(NamedTuple):
  """`h [B, H]`."""

  h: Array


def vanilla(
  input_size: int,
  hidden_size: int,
  *,
  activation: Callable[[Array], Array] = jnp.tanh,
  init: Init | None = None,
) -> Cell:
  """h_t = φ(x_t W_x + h_{t-1} W_h + b) (Elman 1990).

  Args:
    input_size: D.
    hidden_size: H.
    activation: φ, elementwise.
    init: how parameters start; orthogonal `w_h` and Glorot `w_x` by default.

  Returns:
    The cell; its output y_t is h_t.

  Raises:
    BadInput: if `init` asks for chrono initialisation: there is no gate to set.
  """
  init = init or Init()
  refuse_chrono(init)

  def new(key: Key) -> VanillaParams:
    key_x, key_h, key_b = jax.random.split(key, 3)
    return VanillaParams(
      w_x=gates(init.kernel, key_x, input_size, hidden_size, 1),
      w_h=gates(init.recurrent, key_h, hidden_size, hidden_size, 1),
      b=bias_gates(init.bias, key_b, hidden_size, 1),
    )

  def carry(params: VanillaParams, batch: int) -> VanillaCarry:
    return VanillaCarry(jnp.zeros((batch, hidden_size), params.b.dtype))

  def project(params: VanillaParams, xs: Array) -> Array:
    return xs @ params.w_x

  def forward(params: VanillaParams, carry: VanillaCarry, z: Array):
    a = add_bias(z, params.b) + carry.h @ params.w_h
    h = activation(a)
    return VanillaCarry(h), h, (a,)

  def backward(
    transposed: VanillaParams, saved, before, after, d_after: VanillaCarry, d_y
  ):
    _, pullback = jax.vjp(activation, *saved)
    (d_z,) = pullback(d_after.h + d_y)
    return VanillaCarry(d_z @ transposed.w_h), (d_z,)

  def weights(params: VanillaParams, before: VanillaCarry, d_saved):
    (d_z,) = d_saved
    return jax.tree.map(jnp.zeros_like, params)._replace(
      w_h=weight_gradient(before.h, d_z, params.w_h.dtype),
      b=bias_gradient(d_z, params.b.dtype),
    )

  derivative = Derivative(forward, backward, weights)
  return Cell(new, carry, project, derivative.step, derivative)


def relu_rnn(input_size: int, hidden_size: int, *, init: Init | None = None) -> Cell:
  """The vanilla cell with φ = max(0, ·)."""
  return vanilla(input_size, hidden_size, activation=jax.nn.relu, init=init)


def linear_rnn(input_size: int, hidden_size: int, *, init: Init | None = None) -> Cell:
  """The vanilla cell with φ(a) = a, which keeps what it has read.

  From an orthogonal `w_h`, as by default, the state keeps its norm however long, and a
  gradient too (Henaff, Szlam & LeCun 2016). What a model makes of its outputs is not
  linear if the readout is a softmax.
  """
  return vanilla(input_size, hidden_size, activation=lambda a: a, init=init)


def irnn(input_size: int, hidden_size: int, *, init: Init | None = None) -> Cell:
  """The ReLU cell whose `w_h` starts as the identity (Le, Jaitly & Hinton 2015).

  Input weights are Gaussian with standard deviation 0.001, as in the paper;
  `init` may change those and the bias, not the identity.
  """
  init = init or Init(kernel=jax.nn.initializers.normal(0.001))
  return relu_rnn(input_size, hidden_size, init=init._replace(recurrent=identity))
