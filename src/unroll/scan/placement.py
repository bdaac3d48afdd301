"""Where the arrays of a scan lie: on a mesh with explicit axes, or in a `shard_map`."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from unroll.types import Lookup, is_draw


def placed(run: Callable, params, carry, xs, masks):
  """`run(params, carry, xs, masks) -> (carry, ys)`, wherever the arrays lie.

  On a mesh with explicit axes, `run` sees automatic ones, and the batch of its results
  is spread as that of `xs` or of the carry is. In a `shard_map`, every array comes to
  vary over the axes that any of them varies over, as the state of a loop must.
  """
  given = (params, carry, xs, masks)
  meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(given)]
  mesh = next((mesh for mesh in meshes if mesh.explicit_axes), None)
  if mesh is None:
    return run(*varying(given, like=given))
  ids = xs.ids if isinstance(xs, Lookup) else xs
  batches = [jax.typeof(ids).sharding.spec[1]]
  batches += [
    jax.typeof(leaf).sharding.spec[0] for leaf in jax.tree.leaves(carry) if leaf.ndim
  ]
  batch = next((axis for axis in batches if axis), None)

  rows, columns, whole = (
    NamedSharding(mesh, PartitionSpec(*axes)) for axes in ([batch], [None, batch], [])
  )

  def spread(leaf):
    return jax.tree.map(lambda _: whole, leaf) if is_draw(leaf) else rows

  results = (jax.tree.map(spread, carry, is_leaf=is_draw), columns)
  automatic = jax.sharding.auto_axes(run, axes=mesh.explicit_axes, out_sharding=results)
  return automatic(*given)


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
