"""Says what to do where the fast backward pass is asked for forward mode.

JAX would end in a sentence about its own `custom_vjp`. Tangents therefore pass through
a primitive of ours first: reverse mode transposes it away, and only forward mode comes
to evaluate it. Every `custom_vjp` has one before it: forward mode over reverse meets
those that reverse mode, for the carry alone, passes by.
"""

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import jax
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_tangent = Primitive("tangent_of_reverse_mode")


def _fast() -> NoReturn:
  raise TypeError(
    "backward='fast' is differentiated in reverse mode: give backward='autodiff' for "
    "forward mode, to scan.unroll or what calls it"
  )


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def reverse_mode_only(tree: Any, refuse: Callable[[], NoReturn] = _fast) -> Any:
  """The tree itself, which only reverse mode differentiates.

  Args:
    tree: any pytree of arrays.
    refuse: raises what forward mode ends in; by default what "fast" ends in.
  """
  return tree


def _reverse_mode_only_jvp(refuse, primals, tangents):
  marked = functools.partial(_marked, refuse=refuse)
  return primals[0], jax.tree.map(marked, tangents[0])


reverse_mode_only.defjvp(_reverse_mode_only_jvp, symbolic_zeros=True)


def _marked(tangent, refuse):
  """The tangent through our primitive; what is not differentiated has none."""
  if isinstance(tangent, SymbolicZero) or tangent.dtype == jax.dtypes.float0:
    return tangent
  return _tangent.bind(tangent, refuse=refuse)


def _evaluated(*_, refuse):
  refuse()


_tangent.def_abstract_eval(lambda tangent, **_: tangent)
_tangent.def_impl(_evaluated)
mlir.register_lowering(_tangent, _evaluated)
ad.deflinear2(_tangent, lambda cotangent, _, **__: [cotangent])
batching.defvectorized(_tangent)
