"""Optimisers: clip, precondition, decay the weights, step. In that order, in sight.

The preconditioners are optax's. The rest of the update is written out here, because
what is studied with recurrent networks (Pascanu et al. 2013) is just this: what is
clipped, by which norm, and that neither the clipping nor the preconditioner touches
the weight decay.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from unroll import specs
from unroll.clipping import norm, wide
from unroll.parameters import completed, matrices, refuse_complex, trained
from unroll.types import Array, BadInput, Params

# The decay rates that may follow a name, by default.
OPTIMIZERS: specs.Forms = {
  "sgd": (),
  "momentum": (0.9,),
  "rmsprop": (0.9,),
  "adagrad": (),
  "adam": (0.9, 0.999),
  "adamw": (0.9, 0.999),
}


class OptState(NamedTuple):
  """The memory of an optimiser.

  Attributes:
    updates: the number of updates so far, int32 scalar.
    precondition: the state of the optax preconditioner.
    average: the debiased moving average of the parameters, or the mean of all from an
      update on; None if not asked for.
  """

  updates: Array
  precondition: Any
  average: Params | None


class Optimizer(NamedTuple):
  """Three pure functions over plain pytrees.

  Attributes:
    init: `params -> state`.
    update: `(grads, state, params, learning rate, begun) -> (new params, state)`. The
      learning rate is an argument, a scalar, because it depends on more than the
      step: the horizon, a plateau, the length of the chunk. So is `begun`, the updates
      before those that `asgd` averages; by default it averages none.
    averaged: `(state, params) -> params` to evaluate: their moving average if there
      is one, else `params` as they are.
  """

  init: Callable[[Params], OptState]
  update: Callable[..., tuple[Params, OptState]]
  averaged: Callable[[OptState, Params], Params]


def optimizer(
  spec: str = "adam",
  *,
  clip_norm: float | Array = 1.0,
  clip_by: str = "global_norm",
  weight_decay: float | None = None,
  ema: float = 0.0,
  asgd: bool = False,
  multiples: Callable[[Params, Array], Params] | None = None,
) -> Optimizer:
  """Builds an optimiser from its spec and options.

  All arithmetic and all state are in float32 (or wider, if the parameters are), so
  that the small rates of a moving average survive parameters in bfloat16. What is
  `parameters.Frozen` stays as it is, and has no state.

  Args:
    spec: `sgd`, `momentum[:0.9]`, `rmsprop[:0.9]`, `adagrad`, `adam[:b1,b2]` or
      `adamw[:b1,b2]`.
    clip_norm: the clipping threshold; 0 turns clipping off. A traced scalar is an
      input of the program, so that another threshold is not another program.
    clip_by: what is held below the threshold. `global_norm`: the norm of all
      gradients together (Pascanu et al. 2013); `value`: every element; `param_norm`:
      the norm of each parameter's gradient; `agc`: the ratio of the norm of a unit's
      gradient to that of its weights (Brock et al. 2021), where a unit is a column
      of a matrix `[in, out]`, or a whole vector.
    weight_decay: the decoupled decay (Loshchilov and Hutter 2019), as a multiple of
      the learning rate; on what `parameters.is_matrix` only, so never on biases and
      gains. None is 0.01 for `adamw`, else 0.
    ema: decay per update of the moving average of the parameters; 0 keeps none.
    asgd: keeps the mean of the parameters after all updates but the first `begun`
      (Polyak & Juditsky 1992); before that, the parameters as they are.
    multiples: `(params, updates) -> a scalar for each`, what the learning rate of a
      parameter is multiplied by, such as `transfer.multiples`. At 0 its gradient is
      taken for 0 as well, so that it neither counts in norms nor moves the memory of
      the preconditioner.

  Returns:
    The optimiser.

  Raises:
    BadInput: an argument has no such value.
  """
  name, numbers = specs.read("optimizer", spec, OPTIMIZERS)
  if not all(0 <= number < 1 for number in numbers):
    raise BadInput(f"optimizer={spec}: a decay rate must be in [0, 1)")
  if clip_by not in CLIPS:
    raise BadInput(f"clip_by={clip_by} is unknown: use one of {', '.join(CLIPS)}")
  traced = isinstance(clip_norm, jax.Array)  # a number that is not known yet
  if not traced and not 0 <= clip_norm < math.inf:
    raise BadInput(f"clip_norm={clip_norm} must be 0 (off) or a positive number")
  if weight_decay is None:
    weight_decay = 0.01 if name == "adamw" else 0.0
  if not 0 <= weight_decay < math.inf:
    raise BadInput(f"weight_decay={weight_decay} must be 0 (off) or positive")
  if not 0 <= ema < 1:
    raise BadInput(f"ema={ema} must be 0 (off) or a decay rate below 1")
  if ema and asgd:
    raise BadInput(f"ema={ema} and `asgd` are two averages of parameters: give one")
  preconditioner = _preconditioner(name, *numbers)

  def init(params: Params) -> OptState:
    refuse_complex("params", params)
    params = trained(params)
    # A copy, so that a step may donate parameters and average alike.
    keeps = ema or asgd
    average = jax.tree.map(lambda p: jnp.array(wide(p)), params) if keeps else None
    state = preconditioner.init(jax.tree.map(wide, params))
    return OptState(jnp.zeros((), jnp.int32), state, average)

  def update(
    grads: Params,
    state: OptState,
    everything: Params,
    learning_rate: Array,
    begun: Array | float = math.inf,
  ) -> tuple[Params, OptState]:
    params = trained(everything)
    weights = jax.tree.map(wide, params)
    direction = jax.tree.map(wide, trained(grads))
    factors = None if multiples is None else multiples(params, state.updates)
    if factors is not None:
      direction = jax.tree.map(lambda d, f: jnp.where(f > 0, d, 0), direction, factors)
    if traced:
      limit = jnp.where(clip_norm > 0, clip_norm, jnp.inf)
      direction = CLIPS[clip_by](direction, weights, limit)
    elif clip_norm:
      direction = CLIPS[clip_by](direction, weights, clip_norm)
    # Adam in optax raises its decay rates to an int32 power, which strict mode forbids.
    with jax.numpy_dtype_promotion("standard"):
      direction, precondition = preconditioner.update(direction, state.precondition)
    if weight_decay:
      direction = jax.tree.map(
        lambda d, w, matrix: d + weight_decay * w if matrix else d,
        direction,
        weights,
        matrices(params),
      )
    if factors is not None:
      direction = jax.tree.map(lambda d, f: d * f.astype(d.dtype), direction, factors)
    weights = jax.tree.map(
      lambda w, d: w - jnp.asarray(learning_rate, w.dtype) * d, weights, direction
    )
    updates, average = state.updates + 1, state.average
    if ema or asgd:
      # The debiased average itself, not a biased sum to be mended when it is read:
      # the weight of the newest parameters falls from 1 to 1 - ema, or on to 0.
      now = updates.astype(jnp.float32)
      if ema:
        newest = (1 - ema) / -jnp.expm1(now * math.log(ema))
      else:
        newest = 1 / jnp.maximum(now - begun, 1.0)
      average = jax.tree.map(
        lambda a, w: a + newest.astype(a.dtype) * (w - a), average, weights
      )
    new = completed(_cast_like(weights, params), everything)
    return new, OptState(updates, precondition, average)

  def averaged(state: OptState, params: Params) -> Params:
    if state.average is None:
      return params
    return completed(_cast_like(state.average, trained(params)), params)

  return Optimizer(init, update, averaged)


def gradient_norm(grads: Params) -> Array:
  """The l2 norm of all gradients together, a float32 scalar.

  It neither overflows nor underflows before the gradients do: they explode and
  vanish far beyond the square root of float32's range.

  Args:
    grads: any pytree of arrays, before clipping; what is frozen does not count.

  Returns:
    The norm; not finite if any gradient is not.
  """
  norms = [norm(wide(g)).reshape(()) for g in jax.tree.leaves(trained(grads))]
  return norm(jnp.stack(norms)).reshape(()).astype(jnp.float32)


def _preconditioner(name: str, *decays: float) -> optax.GradientTransformation:
  match name:
    case "sgd":
      return optax.identity()
    case "momentum":
      return optax.trace(*decays)
    case "rmsprop":
      return optax.scale_by_rms(*decays)
    case "adagrad":
      return optax.scale_by_rss()
    case _:
      return optax.scale_by_adam(*decays)


def _by_global_norm(grads: Params, weights: Params, limit: float | Array) -> Params:
  norm = gradient_norm(grads)
  return jax.tree.map(lambda g: _shrink(g, norm, limit), grads)


def _by_value(grads: Params, weights: Params, limit: float | Array) -> Params:
  return jax.tree.map(lambda g: jnp.clip(g, -limit, limit), grads)


def _by_param_norm(grads: Params, weights: Params, limit: float | Array) -> Params:
  return jax.tree.map(lambda g: _shrink(g, norm(g), limit), grads)


def _by_agc(grads: Params, weights: Params, ratio: float | Array) -> Params:
  def clip(g: Array, w: Array) -> Array:
    axes = tuple(range(g.ndim - 1)) or None
    # The floor is the paper's: weights that start at zero must be able to leave it.
    limit = ratio * jnp.maximum(norm(w, axes), 1e-3)
    return _shrink(g, norm(g, axes), limit)

  return jax.tree.map(clip, grads, weights)


CLIPS: Mapping[str, Callable[[Params, Params, float | Array], Params]] = {
  "global_norm": _by_global_norm,
  "value": _by_value,
  "param_norm": _by_param_norm,
  "agc": _by_agc,
}


def _shrink(g: Array, norm: Array, limit: Array | float) -> Array:
  return g * jnp.minimum(1.0, limit / norm).astype(g.dtype)


def _cast_like(tree: Params, like: Params) -> Params:
  return jax.tree.map(lambda x, y: x.astype(y.dtype), tree, like)
