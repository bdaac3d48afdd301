"""What the laws are tested over: cells, masks, and arrays that differ everywhere."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from haste import HASTE
from rows import ROWS, D, H

from unroll import cells as library
from unroll import compose, regularizers, scan
from unroll.compose import Wiring
from unroll.parameters import frozen, matrices
from unroll.types import Array, Carry, Cell, Params, seed

T, B = 6, 3
# The cells of the library that bring a derivative; `gated_rows.py` has the others.
REGISTRY = {name: library.CELLS[name] for name in ROWS if name in library.CELLS}


def user(product: Callable[[Array, Array], Array]) -> Cell:
  """A cell as a user writes one, of a dict and a bare array: h = tanh(x W + h ∘ U)."""

  def init(key):
    w_x, w_h = jax.random.split(key)
    return {
      "x": 0.5 * jax.random.normal(w_x, (D, H), jnp.float32),
      "h": 0.5 * jax.random.normal(w_h, (H, H), jnp.float32),
    }

  def step(params, h, z):
    h = jnp.tanh(z + product(h, params["h"]))
    return h, h

  return Cell(
    init,
    carry=lambda params, batch: jnp.zeros((batch, H), params["x"].dtype),
    project=lambda params, xs: xs @ params["x"],
    step=step,
  )


rnn, gru, lstm = REGISTRY["rnn"], REGISTRY["gru"], REGISTRY["lstm"]

# name -> (layers, wiring): `compose.deep` and `layers.stacked` of the same.
DEEP: dict[str, tuple[tuple[Cell, ...], Wiring]] = {
  "deep": ((gru(D, H), rnn(H, 2), compose.learned_carry(rnn(2, 5))), Wiring()),
  "residual": ((rnn(D, D), rnn(D, D)), Wiring(residual=True)),
  "skip": ((rnn(D, H), lstm(H + D, 2)), Wiring(skip=True)),
  "dropout": (
    (rnn(D, H), rnn(H, H)),
    Wiring(residual=True, dropout=0.4, input_dropout=0.3, output_dropout=0.2),
  ),
  "locked": (
    (rnn(D, H), rnn(H + D, 2)),
    Wiring(skip=True, dropout=0.5, input_dropout=0.3, output_dropout=0.4, locked=True),
  ),
}

# What users do with a matrix beyond `h @ w`; some of it the scan cannot record.
PRODUCTS: dict[str, Callable[[Array, Array], Array]] = {
  "dot": jnp.dot,
  "transposed": lambda h, w: h @ w + h @ w.T,
  "sliced": lambda h, w: jnp.concatenate([h @ w[:, :1], h @ w[:, 1:]], axis=-1),
  "twice": lambda h, w: jnp.tanh(h @ w) @ w,
  "rows": lambda h, w: jnp.stack([h @ row for row in w], axis=-1),
  "vmapped": lambda h, w: jax.vmap(lambda row: row @ w)(h),
  "looped": lambda h, w: jax.lax.fori_loop(0, 2, lambda _, h: jnp.tanh(h @ w), h),
  "remat": lambda h, w: jax.checkpoint(lambda h: jnp.tanh(h) @ w)(h),
  "peephole": lambda h, w: h @ w + h * jnp.broadcast_to(w[0], h.shape).astype(h.dtype),
}

# Cells that are "rnn" but for activation and start. They take its path through the
# scan, and so of the scan's laws only those of derivatives are tried on them.
ACTIVATIONS = {name: ROWS[name].make() for name in ("relu_rnn", "linear_rnn", "irnn")}
CELLS: dict[str, Cell] = {
  **{name: row.make() for name, row in ROWS.items() if name not in ACTIVATIONS},
  "learned_carry": compose.learned_carry(lstm(D, H)),
  "zoneout": regularizers.zoneout(lstm(D, H), (0.5, 0.2)),
  "dropped_state": regularizers.dropped_state(gru(D, H), 0.4, locked=False),
  **{
    name: compose.deep(*cells, wiring=wiring) for name, (cells, wiring) in DEEP.items()
  },
}
USERS: dict[str, Cell] = {name: user(product) for name, product in PRODUCTS.items()}
SHAPES = {name: row.shape for name, row in ROWS.items()}  # of inputs; (D,) of others


def rows(*lines: str) -> np.ndarray:
  """A mask `[T, B]` from a line of T digits a row of the batch."""
  return np.array([[digit == "1" for digit in line] for line in lines]).T


# name -> (valid, reset)
MASKS: dict[str, tuple[np.ndarray | None, np.ndarray | None]] = {
  "none": (None, None),
  "padding": (rows("111111", "111100", "110000"), None),
  "holes": (rows("101101", "000000", "011110"), None),
  "resets": (None, rows("000100", "100001", "000000")),
  "padding_resets": (
    rows("111100", "111111", "100000"),
    rows("001010", "000000", "000001"),
  ),
  "holes_resets": (
    rows("101101", "000000", "110011"),
    rows("010100", "000100", "001000"),
  ),
}
ALWAYS, NEVER = np.ones((T, B), bool), np.zeros((T, B), bool)


def quickly(names, *some: str) -> list:
  """A table's names as parameters of a test, of which all but some are slow ones."""
  missing = set(some) - set(names)
  assert not missing, missing
  return [n if n in some else pytest.param(n, marks=pytest.mark.slow) for n in names]


def noise(number: int, *shape: int, dtype=np.float32) -> np.ndarray:
  """Standard normal numbers, different for every `number`."""
  return np.random.default_rng(number).normal(size=shape).astype(dtype)


def shaken(tree, number: int, scale: float, dtype=np.float32):
  """A tree with noise on each of its real leaves, so that none is zero or symmetric."""
  leaves, treedef = jax.tree.flatten(tree)
  for i, leaf in enumerate(leaves):
    if is_real(leaf):
      added = scale * noise(1000 * number + i, *leaf.shape, dtype=dtype)
      leaves[i] = leaf.astype(dtype) + added
  return jax.tree.unflatten(treedef, leaves)


def parameters(cell: Cell, dtype=np.float32, number: int = 1) -> Params:
  """Parameters of a cell, biases too away from zero."""
  return shaken(cell.init(jax.random.key(number)), number, 0.2, dtype)


def initial(cell: Cell, params: Params, batch: int = B, key: int | None = 5) -> Carry:
  """A carry away from zero; a cell that draws has a key."""
  carry = cell.carry(params, batch)
  dtype = jax.tree.leaves(params)[0].dtype
  return seed(shaken(carry, 2, 0.5, dtype), key if key is None else jax.random.key(key))


def inputs(name: str = "", dtype=np.float32, length: int = T) -> np.ndarray:
  """`xs [length, B, …]` for a cell of the tables, by default `[T, B, D]`."""
  return noise(3, length, B, *SHAPES.get(name, (D,)), dtype=dtype)


def way(params: Params, *rest):
  """A direction, different in every leaf, in which what is frozen stays."""

  def noises(tree):
    return jax.tree.map(lambda leaf: noise(9, *leaf.shape, dtype=leaf.dtype), tree)

  moved = jax.tree.map(
    lambda leaf, held: jnp.zeros_like(leaf) if held else leaf,
    noises(params),
    frozen(params),
  )
  return moved, *noises(rest)


def halved(params: Params) -> Params:
  """Matrices in bfloat16, as a layer casts them."""
  return jax.tree.map(
    lambda leaf, matrix: leaf.astype("bfloat16") if matrix else leaf,
    params,
    matrices(params),
  )


def trailing(mask, leaf):
  """`mask [T, B]` with as many axes as `leaf [T, B, …]`."""
  return mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))


def is_real(leaf) -> bool:
  return jnp.issubdtype(leaf.dtype, jnp.floating)


def reals(tree) -> list[Array]:
  """The leaves that a gradient is taken for: neither keys nor step counts."""
  return [leaf for leaf in jax.tree.leaves(tree) if is_real(leaf)]


def with_reals(tree, leaves):
  """The tree with other real leaves."""
  left = iter(leaves)
  return jax.tree.map(lambda leaf: next(left) if is_real(leaf) else leaf, tree)


def pairing(tree) -> Array:
  """⟨tree, noise⟩: a scalar whose gradient is a cotangent different everywhere."""
  terms = [
    jnp.sum(leaf * noise(50 + i, *leaf.shape, dtype=leaf.dtype))
    for i, leaf in enumerate(reals(tree))
  ]
  return sum(terms[1:], terms[0])


def close(a, b, rtol: float, atol: float | None = None) -> None:
  """Asserts equal trees, up to `rtol` of the largest number of each leaf."""
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
    if is_real(x):
      size = rtol * np.max(np.abs(y), initial=1e-3) if atol is None else atol
      np.testing.assert_allclose(x, y, rtol=0, atol=size)
    else:
      assert jnp.array_equal(x, y)


def same(a, b) -> None:
  """Asserts equal trees, bit for bit."""
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
    assert jnp.array_equal(x, y)


# A cell is a tuple of functions: as a static argument it lets tests share programs.
quick = partial(jax.jit, compiler_options=HASTE)
jit = partial(quick, static_argnames=("cell", "reverse", "backward"))

unroll = jit(scan.unroll)


def paired(params, real, xs, cell, carry, scores=None, **options) -> Array:
  """⟨(carry, ys), noise⟩ of an unroll; with `scores [T, B]`, ⟨scores · ys, noise⟩."""
  carry, ys = scan.unroll(cell, params, with_reals(carry, real), xs, **options)
  if scores is None:
    return pairing((carry, ys))
  return pairing(ys * jnp.broadcast_to(trailing(scores, ys), ys.shape).astype(ys.dtype))


@jit
def gradients(cell: Cell, params, carry, xs, scores=None, **options):
  """Gradients of `paired` for params, the real leaves of the carry, and xs."""
  take = jax.grad(paired, argnums=(0, 1, 2))
  return take(params, reals(carry), xs, cell, carry, scores, **options)
