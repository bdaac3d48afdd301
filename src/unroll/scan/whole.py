"""A scan kept whole: in a program that is traced for others, one operation.

Who writes a program for another runtime has scans of its own there. Within `kept()`,
`scan.unroll` leaves one equation `unroll` in the jaxpr, with the cell in its parameters.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import jax
from jax.extend.core import Primitive

from unroll.types import Lookup

_asked: ContextVar[bool] = ContextVar("scans are kept whole", default=False)

# Its operands are the leaves of (params, carry, xs, context, valid, reset).
unroll_p = Primitive("unroll")
unroll_p.multiple_results = True
unroll_p.def_abstract_eval(lambda *_, results, **__: list(results))


@contextlib.contextmanager
def kept() -> Iterator[None]:
  """Within it, what is traced keeps its scans whole; such a program cannot be run."""
  token = _asked.set(True)
  try:
    yield
  finally:
    _asked.reset(token)


def asked() -> bool:
  """Whether scans are kept whole."""
  return _asked.get()


def keep(unroll, cell, params, carry, xs, **options) -> Any:
  """One equation in place of `unroll`, which tells the shapes of its results."""
  xs = xs.dense() if isinstance(xs, Lookup) else xs
  masks = {name: options.pop(name) for name in ("context", "valid", "reset")}

  def run(params, carry, xs, context, valid, reset):
    read = {"context": context, "valid": valid, "reset": reset}
    return unroll(cell, params, carry, xs, **read, **options)

  given = (params, carry, xs, *masks.values())
  token = _asked.set(False)
  try:
    results = jax.eval_shape(run, *given)
  finally:
    _asked.reset(token)
  leaves, tree = jax.tree.flatten(results)
  shapes = tuple(jax.core.ShapedArray(leaf.shape, leaf.dtype) for leaf in leaves)
  operands, structure = jax.tree.flatten(given)
  found = unroll_p.bind(
    *operands, cell=cell, structure=structure, results=shapes, **options
  )
  return jax.tree.unflatten(tree, found)
