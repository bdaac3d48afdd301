"""How gradients flow through a model with recurrent layers: measured on sequences."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from experiments.parts.kinds import ends
from unroll import compose, diagnose, layers
from unroll.architecture import Architecture
from unroll.diagnose import Decay
from unroll.gradients import ChunkLoss
from unroll.layers import Layer
from unroll.types import Array, Carry, Cell, Lookup, Params

Named = dict[str, dict[str, Any]]  # by layer, and then by state or parameter


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
    radii: by layer and parameter, a number a matrix.
  """

  norms: Named
  exponents: NDArray
  radii: Named


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
  model: Model, batch: Any, at: Stretch, lags: int, settle: int, k: int
) -> Flows:
  """Gradients by lag, k exponents and the spectra of a model.

  Args:
    model: the model.
    batch: sequences, each with a loss of its own.
    at: what its layers read of them.
    lags: N, at most; no more than the longest sequence has.
    settle: steps that the exponents do not count, in which directions settle; half of
      sequences that have no more.
    k: how many exponents.
  """
  steps, count = at.valid.shape
  carry = at.cell.carry(model.own, count)
  exponents = np.zeros((count, 0))
  if k:
    settle = settle if settle < steps else steps // 2
    valid = None if at.valid.all() else jnp.asarray(at.valid)
    options: dict[str, Any] = {"settle": settle, "valid": valid}
    exponents = diagnose.lyapunov(at.cell, model.own, carry, at.xs, k, **options)
  spectra = map(diagnose.spectral_radii, at.cells, model.own, at.inputs)
  return Flows(
    _by_layer(_norms(model, batch, at, lags)),
    np.asarray(exponents),
    {f"layer {number}": found for number, found in enumerate(spectra, 1)},
  )


def _norms(model: Model, batch: Any, at: Stretch, lags: int) -> dict[str, NDArray]:
  """The mean norms `[N + 1]` of the gradient of losses, by the lag from their ends."""
  steps, count = at.valid.shape

  @jax.jit
  def norms(params: Params, batch: Any) -> dict[str, Array]:
    carry = at.cell.carry(model.own, count)

    def loss(changes: Array) -> Array:
      probed = model.module.clone(core=diagnose.probed_layer(at.cell, changes))
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


def _by_layer(found: Mapping[str, NDArray]) -> Named:
  """`layers/0/h` under layer 1 and h."""
  layered: Named = {}
  for name, norms in found.items():
    _, number, *state = name.split("/")
    layered.setdefault(f"layer {int(number) + 1}", {})["/".join(state)] = norms
  return layered


def decays(norms: Named) -> dict[str, dict[str, Decay]]:
  """How fast each of the norms fades."""
  return {
    layer: {state: diagnose.decay(values) for state, values in states.items()}
    for layer, states in norms.items()
  }


def mean_exponents(found: Flows) -> list[float]:
  """The exponents `[k]`, the mean of the sequences that are long enough."""
  return np.nanmean(found.exponents, axis=0).tolist()


def tell(found: Flows) -> Iterable[str]:
  """The lines of a table."""
  fades, lags = decays(found.norms), len(next(iter(_first(found.norms)))) - 1
  shown = [lag for lag in (0, 1, 10, 100, 1000) if lag < lags] + [lags]
  heads = "".join(f"{f'lag {lag}':>10}" for lag in shown)
  yield f"{'|dL/dcarry|':14}{heads}{'a step':>10}{'half-life':>11}{'memory':>9}"
  for layer, states in found.norms.items():
    for state, norms in states.items():
      rate, half, memory = fades[layer][state]
      values = "".join(f"{norms[lag]:10.2e}" for lag in shown)
      reach = f"> {lags}" if memory is None else str(memory)
      yield f"{f'{layer} {state}':14}{values}{rate:10.4f}{half:11.1f}{reach:>9}"
  if found.exponents.size:
    values = " ".join(f"{value:.4f}" for value in mean_exponents(found))
    yield f"Lyapunov exponents, nats a step: {values}"
  for layer, radii in found.radii.items():
    for name, each in radii.items():
      values = " ".join(f"{value:.3f}" for value in each)
      yield f"spectral radius, {layer} {name}: {values}"


def _first(norms: Named) -> Iterable[NDArray]:
  return next(iter(norms.values())).values()
