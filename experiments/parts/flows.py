"""How gradients flow through a language model: measured on windows of a text."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from unroll import compose, diagnose, layers
from unroll.architecture import Architecture
from unroll.data.batches import Batch
from unroll.diagnose import Decay
from unroll.models.language import LanguageModel
from unroll.types import Array, Cell, Params

Named = dict[str, dict[str, Any]]  # by layer, and then by state or parameter


class Windows(NamedTuple):
  """Sequences at places of a text, evenly apart, each with a step to look at.

  Attributes:
    before: `[W, B]`, tokens that bring the state to where the text is.
    inputs: `[N + 1, B]`, those after them, to the last step.
    targets: `[N + 1, B]`, the tokens that follow each.
  """

  before: NDArray[np.int32]
  inputs: NDArray[np.int32]
  targets: NDArray[np.int32]


def windows(tokens: NDArray[np.int32], count: int, before: int, lags: int) -> Windows:
  """Windows `[before + lags + 2]` of tokens, which are at least as many."""
  length = before + lags + 2
  starts = np.linspace(0, tokens.size - length, count).astype(int)
  found = tokens[starts[None] + np.arange(length)[:, None]]
  return Windows(found[:before], found[before:-1], found[before + 1 :])


class Flows(NamedTuple):
  """What was found.

  Attributes:
    norms: of the gradient by layer and state, `[N + 1]` by lag, the mean of windows.
    exponents: `[B, k]`, of each window.
    radii: by layer and parameter, a number a matrix.
  """

  norms: Named
  exponents: NDArray
  radii: Named


def stack_of(model: LanguageModel, chosen: Architecture) -> tuple[list[Cell], Cell]:
  """The cells of a model's layers, and all of them as one, for the same parameters."""
  cells = chosen.cells(model.embedding or model.vocabulary)
  return cells, compose.deep(*cells, wiring=chosen.wiring)


def measured(
  model: LanguageModel, params: Params, chosen: Architecture, at: Windows, k: int
) -> Flows:
  """Gradients by lag, k exponents and the spectra of a model.

  The exponents count the steps after `before`, in which their directions settle.
  """
  cells, cell = stack_of(model, chosen)
  own = params["params"]["recurrent"]["core"]
  carry = cell.carry(own, at.inputs.shape[1])
  whole = jnp.asarray(np.concatenate([at.before, at.inputs]))
  exponents = np.zeros((len(carry.layers), 0))
  if k:
    xs: Any = model.apply(params, whole, method=lambda model, ids: model.embed(ids))
    exponents = diagnose.lyapunov(cell, own, carry, xs, k, settle=len(at.before))
  inputs = chosen.wiring.input_sizes(model.embedding or model.vocabulary, chosen.sizes)
  spectra = map(diagnose.spectral_radii, cells, own, inputs)
  return Flows(
    _by_layer(_norms(model, params, cell, at)),
    np.asarray(exponents),
    {f"layer {number}": found for number, found in enumerate(spectra, 1)},
  )


def _norms(
  model: LanguageModel, params: Params, cell: Cell, at: Windows
) -> dict[str, NDArray]:
  """The mean norms `[N + 1]` of the gradient of the loss at the last step."""
  steps, count = at.inputs.shape
  alone = model.clone(core=layers.recurrent(cell))
  reset = np.zeros(at.inputs.shape, bool)
  batch = Batch(at.inputs, at.targets, np.ones(reset.shape, np.float32), reset, None)

  @jax.jit
  def norms(params: Params) -> dict[str, Array]:
    own = params["params"]["recurrent"]["core"]
    carry: Any = cell.carry(own, count)
    if len(at.before):
      carry, _ = alone.apply(params, at.before, carry)

    def loss(changes: Array) -> Array:
      probed = model.clone(core=diagnose.probed_layer(cell, changes))
      found: Any = probed.apply(params, batch, carry, method="log_probs")
      return -jnp.sum(found[2][-1])

    return diagnose.norms_by_lag(loss, cell, own, steps, count)

  found = norms(params)
  return {name: np.mean(np.asarray(part), axis=1) for name, part in found.items()}


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
    values = " ".join(f"{value:.4f}" for value in found.exponents.mean(axis=0))
    yield f"Lyapunov exponents, nats a step: {values}"
  for layer, radii in found.radii.items():
    for name, each in radii.items():
      values = " ".join(f"{value:.3f}" for value in each)
      yield f"spectral radius, {layer} {name}: {values}"


def _first(norms: Named) -> Iterable[NDArray]:
  return next(iter(norms.values())).values()
