"""How a parameter is used: as a matrix, elementwise, or as it is, without training.

Rules about parameters ask here: which of them `scan` takes for factors of a product,
`layers.Recurrent` casts to half precision, and `optim` decays or leaves alone. A cell
says what the shape of a parameter does not: it puts an array into `Elementwise` or
`Frozen`, which are nodes of its pytree, and reads it as `.value`. The node is part of
the array's name, `w_h/(frozen)`, and so is found again among nested dicts, as Flax
holds them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import serialization

from unroll.types import Array, Params


class _Marked:
  """A node of a pytree with one child, whose name says how it is used."""

  mark: str

  def __init__(self, value: Any):
    self.value = value

  def __repr__(self) -> str:
    return f"{type(self).__name__}({self.value!r})"

  def __init_subclass__(cls, mark: str):
    cls.mark = mark
    key = jax.tree_util.DictKey(mark)
    jax.tree_util.register_pytree_with_keys(
      cls,
      lambda node: (((key, node.value),), None),
      lambda _, children: cls(*children),
      lambda node: ((node.value,), None),
    )
    serialization.register_serialization_state(
      cls,
      lambda node: {mark: serialization.to_state_dict(node.value)},
      lambda node, state: cls(serialization.from_state_dict(node.value, state[mark])),
    )


class Elementwise(_Marked, mark="(elementwise)"):
  """Arrays of two or more axes that no input is multiplied by, as peepholes `[3, H]`.

  They are neither cast to half precision nor decayed, and the scan hands them to the
  step as plain arrays.

  Attributes:
    value: an array, or a pytree of them.
  """


class Frozen(_Marked, mark="(frozen)"):
  """Arrays that are not trained, as the reservoir of an echo state network.

  The scan gives them no gradient; an optimiser of `optim` neither changes nor decays
  them, keeps no state and no moving average of them, and leaves them out of norms.
  They are saved in checkpoints as all parameters are.

  Attributes:
    value: an array, or a pytree of them.
  """


def is_matrix(path: tuple, leaf: Array) -> bool:
  """Whether a parameter is a factor of products: `x @ w`, of each head, a convolution.

  It is if it has two or more axes and is not within an `Elementwise`.

  Args:
    path: of the leaf in its pytree, as of `jax.tree_util.tree_map_with_path`.
    leaf: the array, or its shape and type.
  """
  real = jnp.issubdtype(leaf.dtype, jnp.floating)
  return leaf.ndim >= 2 and real and not _within(path, Elementwise)


def matrices(params: Params) -> Params:
  """For each parameter, whether it `is_matrix`."""
  return jax.tree_util.tree_map_with_path(is_matrix, params)


def frozen(params: Params) -> Params:
  """For each parameter, whether it is within a `Frozen`: a mask as optax takes it."""
  return jax.tree_util.tree_map_with_path(lambda path, _: _within(path, Frozen), params)


def trained(params: Params) -> Params:
  """The same pytree, or one of its structure, with None for what is frozen."""
  return jax.tree.map(lambda leaf, held: None if held else leaf, params, frozen(params))


def completed(part: Params, params: Params) -> Params:
  """Trained parameters, completed by the frozen parameters of another pytree."""
  return jax.tree.map(
    lambda leaf, new, held: leaf if held else new,
    params,
    part,
    frozen(params),
  )


def without_gradient(params: Params) -> Params:
  """The parameters, with no gradient for those that are frozen."""
  return jax.tree.map(
    lambda leaf, held: jax.lax.stop_gradient(leaf) if held else leaf,
    params,
    frozen(params),
  )


def refuse_complex(name: str, tree: Any) -> None:
  """Refuses complex numbers, whose gradients and norms would be wrong in silence.

  Args:
    name: of the argument, for the sentence.
    tree: a pytree of arrays.

  Raises:
    ValueError: if a leaf is complex.
  """
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
      raise ValueError(
        f"{name}{jax.tree_util.keystr(path)} is {leaf.dtype}: complex numbers are held "
        "as two arrays, their real and their imaginary parts"
      )


def _within(path: tuple, kind: type[_Marked]) -> bool:
  return any(getattr(key, "key", None) == kind.mark for key in path)
