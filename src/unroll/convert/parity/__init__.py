"""How far layers of ours and the same of another framework are from each other.

On random input with sequences of several lengths: outputs, final states, and gradients
of the parameters and of the input.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from numpy.typing import NDArray

from unroll import layers, names
from unroll.cells.named import named_cell
from unroll.convert import stacks
from unroll.convert.framework import Framework
from unroll.convert.stacks import Stack
from unroll.convert.tables import OURS, form_of

Named = Mapping[str, NDArray[Any]]


class Trial(NamedTuple):
  """What both compute: the sum of outputs and final states, by weights.

  Attributes:
    xs: `[T, B, D]`.
    lengths: of the sequences, `[B]`, none below 1.
    outputs: the weights of the outputs `[T, B, W]`, 0 beyond a sequence's end.
    states: those of the final states `[B, …]`, of each layer and direction in turn,
      in the order of our carry: c, h of an LSTM.
  """

  xs: NDArray[Any]
  lengths: NDArray[Any]
  outputs: NDArray[Any]
  states: list[NDArray[Any]]

  @property
  def valid(self) -> NDArray[np.bool_]:
    """`[T, B]`, which steps are of a sequence."""
    return np.arange(len(self.xs))[:, None] < self.lengths[None]


class Measured(NamedTuple):
  """What came out.

  Attributes:
    outputs: `[T, B, W]`.
    states: see `Trial.states`.
    gradients: of the parameters, by name.
    inputs: the gradient of xs.
  """

  outputs: NDArray[Any]
  states: list[NDArray[Any]]
  gradients: Named
  inputs: NDArray[Any]


Run = Callable[[Named, Stack, Trial], Measured]


def layer_of(stack: Stack) -> layers.Layer:
  """The layers as one."""
  make, given = named_cell(stack.spec)
  parts: list[Any] = [
    make(*both, **given) for both in zip(stack.reads, stack.hidden, strict=True)
  ]
  if stack.directions == 2:
    parts = [layers.bidirectional(cell, cell) for cell in parts]
  return layers.stacked(*parts)


def trial(stack: Stack, seed: int = 0, steps: int = 7) -> Trial:
  """A random trial of B = 3 sequences, of T steps, of more than half of T, and of 1."""
  draw = np.random.default_rng(seed)
  lengths = np.array([steps, steps // 2 + 1, 1])

  def noise(*shape: int) -> NDArray[Any]:
    return draw.normal(size=shape).astype(np.float32)

  layer, params = layer_of(stack), _ours(stack)
  carry = jax.eval_shape(lambda: layer.carry(params, len(lengths)))
  states = [noise(*leaf.shape) for leaf in jax.tree.leaves(carry.layers)]
  width = stack.directions * stack.hidden[-1]
  xs, outputs = (noise(steps, len(lengths), w) for w in (stack.inputs, width))
  made = Trial(xs, lengths, outputs, states)
  return made._replace(outputs=outputs * made.valid[..., None].astype(np.float32))


def difference(
  there: Framework, stack: Stack, run: Run, seed: int = 0
) -> dict[str, float]:
  """The largest differences between ours and theirs.

  Those of gradients are divided by the largest gradient of the array where it is above
  1: they are sums over all steps.

  Args:
    there: the framework.
    stack: the layers.
    run: what computes a trial with the arrays of the framework.
    seed: of the trial.

  Returns:
    Of outputs, states and gradients.
  """
  given = trial(stack, seed)
  arrays = stacks.written(there, stack)
  ours, theirs = _measured(stack, given), run(arrays, stack, given)
  outputs = theirs.outputs * given.valid[..., None]
  states = zip(ours.states, theirs.states, strict=True)
  gradients = [_apart(ours.inputs, theirs.inputs)]
  expected = _gradients(there, stack, ours.gradients)
  gradients += [_apart(d, theirs.gradients[name]) for name, d in expected.items()]
  return {
    "outputs": float(np.abs(ours.outputs - outputs).max()),
    "states": max(float(np.abs(a - b).max()) for a, b in states),
    "gradients": max(gradients),
  }


def _apart(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
  return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))


def _ours(stack: Stack) -> Any:
  """The parameters of the layers as their own pytree."""
  like = jax.eval_shape(layer_of(stack).init, jax.random.key(0))
  held = {str(number): own for number, own in enumerate(stack.params())}
  return names.rebuilt(held, like, ("layers",))


def _measured(stack: Stack, given: Trial) -> Measured:
  layer, params = layer_of(stack), _ours(stack)

  def total(params, xs):
    carry = layer.carry(params, xs.shape[1])
    after, ys = layer.unroll(params, carry, xs, valid=jnp.asarray(given.valid))
    states = jax.tree.leaves(after.layers)
    pairs = zip([ys, *states], [given.outputs, *given.states], strict=True)
    return sum(jnp.sum(one * weight) for one, weight in pairs), (ys, states)

  made = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
  (d_params, d_xs), (ys, states) = jax.device_get(made(params, jnp.asarray(given.xs)))
  gradients = {
    "/".join(n): np.asarray(leaf) for n, leaf in names.by_name(d_params).items()
  }
  return Measured(ys, list(states), gradients, d_xs)


def _gradients(there: Framework, stack: Stack, ours: Named) -> Named:
  """Our gradients under the names of a framework; those of two biases are alike."""
  form, own, found = form_of(there, stack.cell), OURS[stack.cell], {}
  for number, layer in enumerate(stack.layers):
    for side in range(len(layer)):
      prefix = f"{number}/{side}/" if len(layer) > 1 else f"{number}/"
      blocks = own.blocks({slot.name: ours[prefix + slot.name] for slot in own.slots})
      blocks |= {("b_h", gate): b for (role, gate), b in blocks.items() if role == "b"}
      for gate in form.negated:
        blocks |= {key: -block for key, block in blocks.items() if key[1] == gate}
      called = stacks.called(there, stack, number, side)
      for slot in form.slots:
        if {key for keys in slot.rows for key in keys} <= blocks.keys():
          found[called.format(slot.name)] = slot.joined(blocks)
  return found


def by_jax(forward: Callable[..., Any], arrays: Named, given: Trial) -> Measured:
  """A trial by a function of JAX.

  Args:
    forward: (arrays, xs) -> outputs and final states.
    arrays: by name.
    given: the trial.
  """

  def total(arrays, xs):
    ys, states = forward(arrays, xs)
    ys = ys * jnp.asarray(given.valid)[..., None].astype(ys.dtype)
    pairs = zip([ys, *states], [given.outputs, *given.states], strict=True)
    return sum(jnp.sum(one * weight) for one, weight in pairs), (ys, states)

  run = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
  held = {name: jnp.asarray(array) for name, array in arrays.items()}
  (gradients, d_xs), (ys, states) = run(held, jnp.asarray(given.xs))
  return Measured(*jax.device_get((ys, list(states), gradients, d_xs)))


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
  """Arrays whose names have slashes in nested dicts."""
  paths = {tuple(name.split("/")): array for name, array in arrays.items()}
  return traverse_util.unflatten_dict(paths)


def run_of(there: Framework) -> Run | None:
  """What computes a trial by a framework; None where it is not installed."""
  module = {"linen": "flax", "nnx": "flax"}.get(there.name, there.name)
  try:
    found = importlib.import_module(f"unroll.convert.parity.{module}")
  except ImportError:
    return None
  return getattr(found, "nnx_run" if there.name == "nnx" else "run")
