"""Says what to do where the fast backward pass is asked for forward mode.

JAX would end in a sentence about its own `custom_vjp`. Tangents therefore pass through
a primitive of ours first: reverse mode transposes it away, and only forward mode comes
to evaluate it. Every `custom_vjp` has one before it: forward mode over reverse meets
those that reverse mode, for the carry alone, passes by.
"""

import jax
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_tangent = Primitive("tangent_of_reverse_mode")


@jax.custom_jvp
def reverse_mode_only(tree):
  """The tree itself, which only reverse mode differentiates."""
  return tree


def _reverse_mode_only_jvp(primals, tangents):
  return primals[0], jax.tree.map(_marked, tangents[0])


reverse_mode_only.defjvp(_reverse_mode_only_jvp, symbolic_zeros=True)


def _marked(tangent):
  """The tangent through our primitive; what is not differentiated has none."""
  if isinstance(tangent, SymbolicZero) or tangent.dtype == jax.dtypes.float0:
    return tangent
  return _tangent.bind(tangent)


def _refuse(*_, **__):
  raise TypeError(
    "backward='fast' is differentiated in reverse mode: give backward='autodiff' for "
    "forward mode, to scan.unroll or what calls it"
  )


_tangent.def_abstract_eval(lambda tangent: tangent)
_tangent.def_impl(_refuse)
mlir.register_lowering(_tangent, _refuse)
ad.deflinear2(_tangent, lambda cotangent, _: [cotangent])
batching.defvectorized(_tangent)
