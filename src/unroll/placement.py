"""Where arrays lie: on a mesh with explicit axes, or in a `shard_map`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from unroll.types import is_draw


def placed(run: Callable, given: tuple, results: Callable[[], Any]):
  """`run(*given)`, wherever the arrays lie.

  On a mesh with explicit axes, `run` sees automatic ones. In a `shard_map`, every array
  comes to vary over the axes that any of them varies over, as the state of a loop must.

  Args:
    run: the function; its own new arrays vary as those that it is given, by
      `zeros_like`.
    given: its arguments.
    results: makes the tree of the `PartitionSpec` of what it returns.
  """
  mesh = explicit_mesh(given)
  if mesh is None:
    return run(*varying(given, like=given))
  spread = on_mesh(mesh, results())
  automatic = jax.sharding.auto_axes(run, axes=mesh.explicit_axes, out_sharding=spread)
  return automatic(*given)


def on_mesh(mesh, specs):
  """A tree of `PartitionSpec` as one of `NamedSharding`.

  Outside `set_mesh` a spec alone is refused, or does nothing, as JAX 0.10.2 shows in
  `findings/jax_auto_axes_outside_set_mesh.sh`.
  """
  return jax.tree.map(
    lambda spec: NamedSharding(mesh, spec),
    specs,
    is_leaf=lambda node: isinstance(node, PartitionSpec),
  )


def explicit_mesh(tree) -> Any:
  """The mesh with explicit axes that a leaf lies on; None if there is none."""
  meshes = (jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(tree))
  return next((mesh for mesh in meshes if mesh.explicit_axes), None)


def closes_over_arrays(f: Callable, *args) -> bool:
  """Whether a function reads arrays, perhaps differentiated, that are no arguments."""

  def anywhere(leaf):
    key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return leaf if key else jnp.zeros(leaf.shape, leaf.dtype)

  return bool(jax.closure_convert(f, *jax.tree.map(anywhere, args))[1])


def axis_of(leaf, axis: int) -> Any:
  """The axis of a mesh that an array's axis is spread over, or None."""
  return jax.typeof(leaf).sharding.spec[axis]


def varying(tree, like):
  """The tree, varying over all axes of a `shard_map` that a leaf of `like` varies over.

  A Draw stays: devices draw alike unless their keys differ.
  """
  axes = frozenset().union(*map(_axes, jax.tree.leaves(like)))

  def cast(leaf):
    missing = () if is_draw(leaf) else tuple(sorted(axes - _axes(leaf)))
    return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

  return jax.tree.map(cast, tree, is_leaf=is_draw) if axes else tree


def _axes(leaf) -> frozenset[str]:
  """The axes of a `shard_map` that an array varies over."""
  kind: Any = jax.typeof(leaf)
  if hasattr(kind, "vma"):  # as some versions of JAX call it
    return frozenset(kind.vma)
  return frozenset(kind.manual_axis_type.varying)
