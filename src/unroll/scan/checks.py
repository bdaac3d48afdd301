"""Checks of the arguments of `unroll`, by name and shape, before anything is traced."""

import jax
import jax.numpy as jnp

from unroll.parameters import refuse_complex
from unroll.types import Array, Carry, Cell, Context, Lookup, Params, is_draw


def check(
  cell: Cell,
  params: Params,
  carry: Carry,
  xs: Array | Lookup,
  context: Context,
  masks,
  backward: str,
) -> None:
  """Refuses what does not fit together.

  Raises:
    ValueError: if `xs` has no batch axis, a leaf of the carry has another shape than
      the cell's own for that batch, a mask is not `[T, B]`, a number is complex, the
      context is not what the cell takes, or `backward` is unknown.
  """
  if backward not in ("fast", "autodiff", "parallel"):
    raise ValueError(f"backward={backward!r}: choose 'fast', 'autodiff' or 'parallel'")
  check_context(cell.context, context)
  named = {"params": params, "carry": carry, "xs": xs, "context": context}
  for argument, tree in named.items():
    refuse_complex(argument, tree)
  if len(xs.shape) < 2:
    raise ValueError(f"xs has shape {xs.shape}, and no batch axis: give [T, B, …]")
  for name, mask in zip(("valid", "reset"), masks):
    if mask is not None and mask.shape != xs.shape[:2]:
      raise ValueError(f"{name} has shape {mask.shape}, xs [T, B] is {xs.shape[:2]}")
  batch = xs.shape[1]
  if not isinstance(xs, Lookup) and xs.ndim == 2 and not cell.context:
    _check_rank(cell, params, xs)
  own = jax.eval_shape(lambda params: cell.carry(params, batch), params)
  given, expected = (
    jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_draw) for tree in (carry, own)
  )
  if [path for path, _ in given] != [path for path, _ in expected]:
    return  # a cell may take another structure than the one that it makes
  for (path, leaf), (_, like) in zip(given, expected):
    if not is_draw(leaf) and leaf.shape != like.shape:
      raise ValueError(
        f"carry{jax.tree_util.keystr(path)} has shape {leaf.shape}, and this cell "
        f"takes {like.shape} for xs of shape {xs.shape}, which is [T, B, …]"
      )


def _check_rank(cell: Cell, params: Params, xs: Array) -> None:
  """Refuses `[T, D]`: for `[T, B]` a cell works with any other B as well."""
  if not jnp.issubdtype(xs.dtype, jnp.floating):
    return
  steps, batch = xs.shape[0], xs.shape[1] + 1
  another = jax.ShapeDtypeStruct((steps, batch), xs.dtype)

  def run(params, xs):
    params = cell.prepare(params)
    return cell.step(params, cell.carry(params, batch), cell.project(params, xs)[0])

  try:
    jax.eval_shape(run, params, another)
  except (TypeError, ValueError):
    raise ValueError(
      f"xs has shape {xs.shape}: give [T, B, …], with a batch axis of 1 if it is one "
      "sequence"
    ) from None


def check_context(reads: bool, context: Context) -> None:
  """Refuses a context that nothing reads, and the lack of one.

  Raises:
    ValueError: if so.
  """
  if reads and context is None:
    raise ValueError("this cell reads a context, and there is none: give context=…")
  if context is not None and not reads:
    raise ValueError(
      "context=… is given, and this cell reads none: drop it, or give a cell with "
      "context=True, whose step takes it as a fourth argument"
    )


def check_projected(xs: Array, zs: Array) -> None:
  """Refuses a sequence whose projection is no `[T, B, …]`.

  Raises:
    ValueError: if so.
  """
  if zs.shape[:2] != xs.shape[:2]:
    raise ValueError(
      f"xs has shape {xs.shape}, and its projection {zs.shape}: both begin with T and "
      "B where xs is [T, B, …]"
    )
