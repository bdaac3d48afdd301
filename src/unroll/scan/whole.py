"""A scan kept whole: in a program that is traced for others, one operation.

Who writes a program for another runtime has scans of its own there. Within `kept()`,
`scan.unroll` leaves one equation `unroll` in the jaxpr, with the cell among its
parameters.
"""

from typing import Any

import jax
from jax.extend.core import Primitive

from unroll.types import Lookup

# A program that JAX has traced without it is not taken for one with it.
_whole = jax.make_user_context(False)

# Its operands are the leaves of (params, carry, xs, context, valid, reset).
unroll_p = Primitive("unroll")
unroll_p.multiple_results = True
unroll_p.def_abstract_eval(lambda *_, results, **__: list(results))


def kept() -> Any:
  """A context in which what is traced keeps its scans whole; it cannot be run."""
  return _whole(True)


def asked() -> bool:
  """Whether scans are kept whole."""
  return _whole.value


def keep(unroll, cell, params, carry, xs, **options) -> Any:
  """One equation in place of `unroll`, which tells the shapes of its results."""
  xs = xs.dense() if isinstance(xs, Lookup) else xs
  masks = {name: options.pop(name) for name in ("context", "valid", "reset")}

  def run(params, carry, xs, context, valid, reset):
    read = {"context": context, "valid": valid, "reset": reset}
    return unroll(cell, params, carry, xs, **read, **options)

  given = (params, carry, xs, *masks.values())
  with _whole(False):
    results = jax.eval_shape(run, *given)
  leaves, tree = jax.tree.flatten(results)
  shapes = tuple(jax.core.ShapedArray(leaf.shape, leaf.dtype) for leaf in leaves)
  operands, structure = jax.tree.flatten(given)
  found = unroll_p.bind(
    *operands, cell=cell, structure=structure, results=shapes, **options
  )
  return jax.tree.unflatten(tree, found)
