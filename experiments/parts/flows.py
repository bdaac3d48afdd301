"""How gradients flow through a model with recurrent layers: measured on sequences."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from experiments.parts.kinds import ends
from unroll import compose, diagnose, layers, scan
from unroll.architecture import Architecture
from unroll.diagnose import Extremes
from unroll.gradients import ChunkLoss
from unroll.layers import Layer
from unroll.scan.precision import is_real
from unroll.types import Array, Carry, Cell, Lookup, Params

Named = dict[str, dict[str, Any]]  # by layer, and then by state or parameter
FEW = 2  # sequences of which products of whole Jacobians are taken


class Model(NamedTuple):
  """A model whose layers are to be looked into.

  Attributes:
    module: has them as `core`, within the part `recurrent`.
    params: its parameters.
    chosen: the layers.
    loss: of a module like it, the mean of sequences.
  """

  module: Any
  params: Params
  chosen: Architecture
  loss: Callable[[Any], ChunkLoss]

  @property
  def own(self) -> Params:
    """The parameters of its layers."""
    return self.params["params"]["recurrent"]["core"]


class Stretch(NamedTuple):
  """What the layers of a model read of a batch.

  Attributes:
    cells: of the layers.
    cell: all of them as one, for the same parameters.
    inputs: the width of what each layer is fed.
    xs: `[T, B, D]`.
    valid: `[T, B]`, the steps that they take.
    end: `[B]`, the step that the loss of a sequence looks back from.
  """

  cells: list[Cell]
  cell: Cell
  inputs: list[int]
  xs: Array
  valid: NDArray[np.bool_]
  end: NDArray[np.int_]


class Flows(NamedTuple):
  """What was found.

  Attributes:
    norms: of the gradient by layer and state, `[N + 1]` by lag, the mean of sequences.
    exponents: `[B, k]`, of each sequence.
    eigenvalues: by layer and parameter, `[H]` a matrix.
    gates: a `Gate` by layer and state, of those that a gate keeps.
    products: natural logarithms of singular values by lag, the mean of `FEW` sequences.
  """

  norms: Named
  exponents: NDArray
  eigenvalues: Named
  gates: Named
  products: dict[int, Extremes]

  @property
  def radii(self) -> Named:
    """The largest absolute eigenvalues, a number a matrix."""
    return {
      layer: {name: [float(np.abs(m).max()) for m in of] for name, of in each.items()}
      for layer, each in self.eigenvalues.items()
    }


def stretch(model: Model, batch: Any) -> Stretch:
  """What the layers of a model read of a batch, as `kinds` makes them."""
  seen: list[tuple[Array, Array | None]] = []

  @jax.jit
  def read(params: Params, batch: Any):
    watched = model.module.clone(core=_watched(model.module.core, seen))
    carry = layers.initial_carry(model.module, params, batch.weight.shape[1])
    model.loss(watched)(params, carry, batch)
    return seen[0]

  xs, valid = read(model.params, batch)
  steps = np.ones(xs.shape[:2], bool) if valid is None else np.asarray(valid)
  chosen, width = model.chosen, xs.shape[-1]
  cells = chosen.cells(width)
  deep = compose.deep(*cells, wiring=chosen.wiring)
  inputs = chosen.wiring.input_sizes(width, chosen.sizes)
  return Stretch(cells, deep, inputs, xs, steps, ends(batch, steps))


def _watched(core: Layer, seen: list) -> Layer:
  """The layer, which notes what it reads, and which steps are valid."""

  def unroll(params: Params, carry: Carry, xs: Array | Lookup, **options):
    read = xs.dense() if isinstance(xs, Lookup) else xs
    seen.append((read, options.get("valid")))
    return core.unroll(params, carry, xs, **options)

  return core._replace(unroll=unroll)


def measured(
  model: Model,
  batch: Any,
  at: Stretch,
  lags: int,
  settle: int,
  k: int,
  products: tuple[int, ...] = (),
) -> Flows:
  """Gradients by lag, k exponents, gates and spectra of a model.

  Args:
    model: the model.
    batch: sequences, each with a loss of its own.
    at: what its layers read of them.
    lags: N, at most; no more than the longest sequence has.
    settle: steps that the exponents do not count, in which directions settle; half of
      sequences that have no more.
    k: how many exponents.
    products: lags of which the singular values are taken, of Jacobians that end where
      the losses do; those that a sequence has.
  """
  steps, count = at.valid.shape
  carry = at.cell.carry(model.own, count)
  valid = None if at.valid.all() else jnp.asarray(at.valid)
  factors = diagnose.keeping(at.cell, model.own, carry, at.xs, valid)
  exponents = np.zeros((count, 0))
  if k:
    settle = settle if settle < steps else steps // 2
    options: dict[str, Any] = {"settle": settle, "valid": valid}
    exponents = diagnose.lyapunov(at.cell, model.own, carry, at.xs, k, **options)
  spectra = map(diagnose.eigenvalues, at.cells, model.own, at.inputs)
  gates = {name: diagnose.gate(part, at.valid) for name, part in factors.items()}
  return Flows(
    _by_layer(_norms(model, batch, at, lags)),
    np.asarray(exponents),
    {f"layer {number}": found for number, found in enumerate(spectra, 1)},
    _by_layer(gates),
    _products(model, at, products),
  )


def _products(model: Model, at: Stretch, lags: tuple[int, ...]) -> dict[int, Extremes]:
  """Singular values by lag, of Jacobians that end where the losses of sequences do.

  In 64 bits: the smallest of one step is often below the rounding of the largest.
  """
  lags = tuple(sorted({lag for lag in lags if lag <= at.end.max()}))
  if not lags:
    return {}
  (long,) = np.nonzero(at.end >= lags[-1])
  some, steps = long[:FEW], np.arange(len(at.valid))[:, None]
  begin = at.end[some] + 1 - lags[-1]
  xs, carry = at.xs[:, some], at.cell.carry(model.own, len(some))
  valid = jnp.asarray(steps < begin)
  carry, _ = scan.unroll(at.cell, model.own, carry, xs, valid=valid)
  rest = xs[begin + steps[: lags[-1]], np.arange(len(some))]
  with jax.enable_x64(True):
    own, carry, rest = jax.tree.map(_wide, (model.own, carry, rest))
    found = diagnose.singular_values(at.cell, own, carry, rest, lags)
  means = [np.mean(np.asarray(each, np.float64), axis=1).tolist() for each in found]
  return {lag: Extremes(*each) for lag, *each in zip(lags, *means)}


def _norms(model: Model, batch: Any, at: Stretch, lags: int) -> dict[str, NDArray]:
  """The mean norms `[N + 1]` of the gradient of losses, by the lag from their ends."""
  steps, count = at.valid.shape

  @jax.jit
  def norms(params: Params, batch: Any) -> dict[str, Array]:
    carry = at.cell.carry(model.own, count)

    def loss(sinks: Array) -> Array:
      probed = model.module.clone(core=diagnose.probed_layer(at.cell, sinks))
      mean, _ = model.loss(probed)(params, carry, batch)
      return mean * batch.weight.shape[1]

    return diagnose.norms_by_lag(loss, at.cell, model.own, steps, count)

  found = norms(model.params, batch)
  # Row i of a sequence is the lag from the last step of all: its own lag begins later.
  lag = np.arange(min(lags, int(at.end.max())) + 1)[:, None]
  row = np.minimum(steps - 1 - at.end + lag, steps - 1)
  there = lag <= at.end
  return {
    name: np.mean(np.take_along_axis(np.asarray(part), row, 0), axis=1, where=there)
    for name, part in found.items()
  }


def _wide(leaf: Array) -> Array:
  return leaf.astype(jnp.float64) if is_real(leaf) else leaf


def _by_layer(found: Mapping[str, Any]) -> Named:
  """`layers/0/h` under layer 1 and h."""
  layered: Named = {}
  for name, part in found.items():
    _, number, *state = name.split("/")
    layered.setdefault(f"layer {int(number) + 1}", {})["/".join(state)] = part
  return layered
