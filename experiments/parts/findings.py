"""What is told of how gradients flow: the lines of a table, and an object for JSON."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from experiments.parts.flows import Flows, Named
from unroll import diagnose
from unroll.diagnose import Decay, Extremes


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
  yield from _tell_gates(found.gates)
  if found.products:
    heads = "".join(f"{f'lag {lag}':>10}" for lag in found.products)
    yield f"{'singular value':14}{heads}"
    for name in Extremes._fields:
      logs = [getattr(each, name) for each in found.products.values()]
      yield f"{name:14}" + "".join(f"{power_of(log):>10}" for log in logs)
  for layer, radii in found.radii.items():
    for name, each in radii.items():
      values = " ".join(f"{value:.3f}" for value in each)
      yield f"spectral radius, {layer} {name}: {values}"


def _tell_gates(gates: Named) -> Iterable[str]:
  if not gates:
    return
  heads = ("< 0.1", "> 0.9", "least", "quartile", "median", "quartile", "most")
  yield f"{'kept by a gate':14}" + "".join(f"{head:>10}" for head in heads) + " steps"
  for layer, states in gates.items():
    for state, (closed, wide, scales) in states.items():
      shares = "".join(f"{share:>10.1%}" for share in (closed, wide))
      yield f"{f'{layer} {state}':14}{shares}" + "".join(f"{s:10.2f}" for s in scales)


def power_of(log: float) -> str:
  """exp(log), `2.4e-232`, also where no float holds it."""
  if not np.isfinite(log):
    return "0" if log < 0 else str(log)
  exponent, part = divmod(log / np.log(10), 1)
  shown, _, more = f"{10**part:.1e}".partition("e")
  return f"{shown}e{int(exponent) + int(more):+03d}"


def _first(norms: Named) -> Iterable[NDArray]:
  return next(iter(norms.values())).values()


def summary(found: Flows) -> dict:
  """All that was found, in dicts, lists and numbers."""
  fades = decays(found.norms)
  states = {
    layer: {
      state: {"norms": values.tolist(), **fades[layer][state]._asdict()}
      for state, values in each.items()
    }
    for layer, each in found.norms.items()
  }
  return {
    "layers": states,
    "exponents": mean_exponents(found),
    "gates": {
      layer: {state: gate._asdict() for state, gate in each.items()}
      for layer, each in found.gates.items()
    },
    "log_singular_values": {
      lag: extremes._asdict() for lag, extremes in found.products.items()
    },
    "spectral_radii": found.radii,
    "eigenvalues": {
      layer: {
        name: [np.stack([of.real, of.imag], axis=1).tolist() for of in matrices]
        for name, matrices in each.items()
      }
      for layer, each in found.eigenvalues.items()
    },
  }
