"""A jaxpr as nodes of ONNX: what is known is computed now, the rest by the table."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from unroll.exporting import arrays, elementwise, windows
from unroll.exporting.elementwise import Rule
from unroll.exporting.graph import Graph, Value
from unroll.types import BadInput

# The table of primitives: what each equation is as nodes. Others are refused.
RULES: dict[str, Rule] = {**elementwise.RULES, **arrays.RULES, **windows.RULES}
# What calls another jaxpr, and the parameter that holds it.
CALLS = {
  **{"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr"},
  **{"core_call": "call_jaxpr", "checkpoint": "jaxpr", "remat2": "jaxpr"},
  **{"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"},
}


def traced(function: Callable[..., Any], *shapes: Any) -> tuple[ClosedJaxpr, Any]:
  """The jaxpr of a function, and the structure of what it returns."""
  structures = []

  def run(*given):
    out = function(*given)
    leaves, structure = jax.tree.flatten(out)
    structures.append(structure)
    return leaves

  return jax.make_jaxpr(run)(*shapes), structures[-1]


def translated(
  graph: Graph, jaxpr: ClosedJaxpr | Jaxpr, operands: list, unrolled: Any
) -> list:
  """Adds a jaxpr to a graph.

  Args:
    graph: the graph.
    jaxpr: with the constants that it closes over, if any.
    operands: what it reads: a `Value`, or an array that is known.
    unrolled: the rule of a scan that was kept whole.

  Returns:
    Its results, likewise; of a `Value` an axis may be stored as 1.

  Raises:
    BadInput: a primitive has no export.
  """
  inner: Any = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
  constants = jaxpr.consts if isinstance(jaxpr, ClosedJaxpr) else ()
  known: dict[Any, Any] = dict(zip(inner.constvars, constants))
  known |= dict(zip(inner.invars, operands))

  def read(atom: Any) -> Any:
    if isinstance(atom, Literal):
      return np.asarray(atom.val, jax.typeof(atom.val).dtype)
    return known[atom]

  for eqn in _needed(inner):
    given, name = [read(atom) for atom in eqn.invars], eqn.primitive.name
    if name in CALLS:
      found = translated(graph, eqn.params[CALLS[name]], given, unrolled)
    elif name == "unroll":
      found = unrolled(graph, eqn, given)
    elif _is_known(eqn, given):
      found = _computed(eqn, given)
    elif name in RULES:
      found = RULES[name](graph, eqn, given)
    else:
      raise BadInput(f"the operation {name} of this model has no export to ONNX")
    known |= dict(zip(eqn.outvars, found))
  return [read(atom) for atom in inner.outvars]


def _needed(jaxpr: Jaxpr) -> list:
  """The equations that the results depend on."""
  wanted = {var for var in jaxpr.outvars if not isinstance(var, Literal)}
  kept = []
  for eqn in reversed(jaxpr.eqns):
    if wanted.intersection(eqn.outvars):
      kept.append(eqn)
      wanted.update(var for var in eqn.invars if not isinstance(var, Literal))
  return kept[::-1]


def _is_known(eqn: Any, given: list) -> bool:
  """Whether an equation can be computed now: nothing in it is free."""
  if eqn.primitive.name == "dim_as_value" or any(isinstance(x, Value) for x in given):
    return False
  shapes = [np.shape(one) == atom.aval.shape for atom, one in zip(eqn.invars, given)]
  sizes = [size for var in eqn.outvars for size in getattr(var.aval, "shape", ())]
  return all(shapes) and all(isinstance(size, int) for size in sizes)


def _computed(eqn: Any, given: list) -> list:
  found = eqn.primitive.bind(*given, **eqn.params)
  return list(found) if eqn.primitive.multiple_results else [found]
