"""Recurrent programs drawn at random: a cell, how it is run, and what is asked of it.

A `Program` is a plain value that prints as what builds it. Its cell is one of the
registry, with or without its derivative, one that wraps another, or an `Own`: a cell
as users write them, its step a random expression of all that can be done with a
weight matrix.
"""

import functools
import re
from collections import namedtuple
from collections.abc import Iterator
from typing import Any, NamedTuple

import hypothesis.strategies as st
import jax
import jax.numpy as jnp

from unroll import compose
from unroll.cells import CELLS
from unroll.compose import Wiring
from unroll.parameters import Elementwise, Frozen
from unroll.types import Cell

# Those that bring a derivative: of the others, cells of the fuzz itself do more.
REGISTRY = {name: make for name, make in CELLS.items() if make(2, 2).derivative}
H = 4  # the width of every layer
# Where a rounding error in the state is another branch: of the sign of a number.
JUMPS = re.compile(r"relu|irnn|product=(branch|integer)|operation=lookup|within=cond")
# Where rows of the batch meet, which each device of a `shard_map` has for itself.
MIXES = re.compile(r"product=(branch|rank 1)|start as closed")
LONG = 2000  # steps over which a sum in bfloat16 stops growing

Expression = tuple[Any, ...]  # (operation, …), of names, numbers and expressions


class Plain(NamedTuple):
  """A cell of the registry, with the derivative that it brings or without."""

  name: str
  derivative: bool


class Own(NamedTuple):
  """A cell as a user writes one.

  Attributes:
    weights: the kind of each parameter, of `SHAPES`.
    params: how they are held, of `PARAMS`.
    project: what becomes of the input before the loop, of `PROJECTIONS`.
    carry: the kind of each leaf of the carry, of `LEAVES`.
    held: how the carry is held, of `HELD`.
    start: what the initial carry is made of, of `STARTS`.
    step: an expression for each real leaf of the carry.
    output: an expression.
  """

  weights: tuple[str, ...]
  params: str
  project: str
  carry: tuple[str, ...]
  held: str
  start: str
  step: tuple[Expression, ...]
  output: Expression


class Deep(NamedTuple):
  """`compose.deep`."""

  cells: tuple[Any, ...]
  wiring: Wiring


class Learned(NamedTuple):
  """`compose.learned_carry`."""

  cell: Any


class Around(NamedTuple):
  """A user's cell that calls another's step, in a way of `CALLS`, and adds to it."""

  cell: Any
  call: str


class Program(NamedTuple):
  """What is computed; see the constants below for what each may be."""

  cell: Any
  length: int = 1
  batch: int = 1
  width: int = 3  # of the input
  dtype: str = "float64"
  asked: str = "gradient"
  backward: str = "fast"
  wrt: str = "all"
  reads: str = "both"
  inputs: str = "dense"
  valid: str = "none"
  reset: bool = False
  reverse: bool = False
  within: str = "nothing"
  mesh: str = "none"
  inside: bool = False  # whether the carry is made by the program itself
  placed: bool = True  # whether it is put on the mesh, as are the parameters
  closed: tuple[str, ...] = ()
  context: tuple[
    str, ...
  ] = ()  # what steps of users' cells read, as what they close over
  every: bool = False  # whether all carries count
  number: int = 0  # of its noise


SHAPES = {
  "square": (H, H),
  "wide": (H, 2 * H),
  "small": (H // 2, H // 2),
  "heads": (2, H // 2, H // 2),
  "peephole": (3, H),
  "elementwise": (3, H),
  "frozen": (H, H),
  "row": (H,),
  "scalar": (),
}
PARAMS = ("dict", "tuple", "list", "named", "nested")  # and "bare" of a single one
PROJECTIONS = ("matmul", "dot", "einsum", "twice", "shared", "step", "none")
LEAVES = ("rows", "heads", "vector", "count", "draw")
HELD = ("tuple", "dict", "named", "nested")  # and "bare" of a single leaf
STARTS = ("zeros", "weight", "closed")
CALLS = ("once", "remat", "jit", "twice", "loop")
CLOSED = ("matrix", "row", "memory")
ASKED = (
  "value",
  "gradient",
  "square of dx",
  "square of dθ",
  "forward",
  "forward over reverse",
)
WITHIN = ("nothing", "jit", "remat", "vmap", "chunks", "scan", "cond")
MESHES = (
  "none",
  "sharded",
  "replicated",
  "explicit sharded",
  "explicit replicated",
  "shard_map",
)


def _like(w, x):
  return w.astype(x.dtype) if w.dtype != x.dtype else w


def _halves(x):
  return x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]


def _heads(x):
  return x.reshape(*x.shape[:-1], 2, x.shape[-1] // 2)


def _flat(x):
  return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _columns(x, w):
  return jnp.concatenate([x @ w[:, :1], x @ w[:, 1:]], axis=-1)


def _iterated(x, w):
  parts = [x[..., i : i + 1] * _like(row, x)[None] for i, row in enumerate(w)]
  return functools.reduce(jnp.add, parts)


def _normalised(x, w):
  w = _like(w, x)
  return x @ (w / jnp.sqrt(1 + jnp.sum(w * w, axis=0, keepdims=True)))


def _scanned(x, w):
  def body(x, _):
    return jnp.tanh(x @ w), jnp.sin(x)

  x, xs = jax.lax.scan(body, x, None, length=2)
  return x + xs[1]


def _gelu(x):
  return x * jnp.tanh(x)


# (how, kind of weight) -> (x [B, H], w) -> [B, H]
PRODUCTS = {
  ("matmul", "square"): lambda x, w: x @ w,
  ("dot", "square"): lambda x, w: jnp.dot(x, _like(w, x)),
  ("einsum", "square"): lambda x, w: jnp.einsum("bi,ij->bj", x, _like(w, x)),
  ("jnp.matmul", "square"): lambda x, w: jnp.matmul(x, _like(w, x)),
  ("dot_general", "square"): lambda x, w: jax.lax.dot_general(
    x, _like(w, x)[...], (((1,), (0,)), ((), ()))
  ),
  ("transposed", "square"): lambda x, w: x @ _like(w, x).T,
  ("both ways", "square"): lambda x, w: x @ w + x @ _like(w, x).T,
  ("columns", "square"): lambda x, w: _columns(x, _like(w, x)),
  ("rows", "square"): lambda x, w: (
    x[:, :1] @ _like(w, x)[:1] + x[:, 1:] @ _like(w, x)[1:]
  ),
  ("stacked", "square"): lambda x, w: sum(
    _halves(x @ jnp.concatenate([_like(w, x)[...], _like(w, x) * 2], axis=1))
  ),
  ("each row", "square"): lambda x, w: jnp.stack([x @ r for r in _like(w, x)], axis=-1),
  ("iterated", "square"): _iterated,
  ("again", "square"): lambda x, w: jnp.tanh(x @ w) @ w,
  ("twice", "square"): lambda x, w: x @ w + jnp.sin(x) @ w,
  ("vmapped", "square"): lambda x, w: jax.vmap(lambda row: row @ w)(x),
  ("vmapped weights", "square"): lambda x, w: jax.vmap(
    lambda column: x @ column, in_axes=1, out_axes=1
  )(_like(w, x)[...]),
  ("looped", "square"): lambda x, w: jax.lax.fori_loop(
    0, 2, lambda _, x: jnp.tanh(x @ w), x
  ),
  ("scanned", "square"): _scanned,
  ("remat", "square"): lambda x, w: jax.checkpoint(lambda x: jnp.tanh(x) @ w)(x),
  ("remat of both", "square"): lambda x, w: jax.checkpoint(
    lambda x, w: jnp.tanh(x) @ w
  )(x, _like(w, x)[...]),
  ("jitted", "square"): lambda x, w: jax.jit(lambda x: jnp.tanh(x) @ w)(x),
  ("branch", "square"): lambda x, w: jax.lax.cond(
    jnp.sum(x) > 0, lambda x: x @ w, lambda x: x, x
  ),
  ("from the left", "square"): lambda x, w: (_like(w, x).T @ x.T).T,
  ("negative", "square"): lambda x, w: x @ -_like(w, x)[...],
  ("scaled", "square"): lambda x, w: x @ (_like(w, x) * 0.5),
  ("sum", "square"): lambda x, w: x @ (_like(w, x) + _like(w, x).T),
  ("normalised", "square"): _normalised,
  ("power", "square"): lambda x, w: x @ (_like(w, x) @ _like(w, x)[...]),
  ("rank 3", "square"): lambda x, w: (x[:, None] @ w)[:, 0],
  ("rank 1", "square"): lambda x, w: x + jnp.broadcast_to(x[0] @ w, x.shape),
  ("of ones", "square"): lambda x, w: x * (jnp.ones_like(x) @ w),
  ("bilinear", "square"): lambda x, w: x * jnp.sum((x @ w) * x, -1, keepdims=True),
  ("integer", "square"): lambda x, w: x * ((x > 0).astype(x.dtype) @ w),
  ("gated", "wide"): lambda x, w: (
    lambda halves: jax.nn.sigmoid(halves[0]) * halves[1]
  )(_halves(x @ w)),
  ("split", "wide"): lambda x, w: (
    x @ _like(w, x)[:, :H] * jnp.sin(x @ _like(w, x)[:, H:])
  ),
  ("back", "wide"): lambda x, w: jnp.tanh(x @ w) @ _like(w, x).T,
  ("shared by heads", "small"): lambda x, w: _flat(_heads(x) @ w),
  ("block", "small"): lambda x, w: jnp.concatenate(
    [part @ w for part in _halves(x)], axis=-1
  ),
  ("vmapped heads", "small"): lambda x, w: _flat(
    jax.vmap(lambda x: x @ w, 1, 1)(_heads(x))
  ),
  ("per head", "heads"): lambda x, w: _flat(
    jnp.einsum("bhi,hij->bhj", _heads(x), _like(w, x))
  ),
  ("zipped heads", "heads"): lambda x, w: jnp.concatenate(
    [part @ head for part, head in zip(_halves(x), _like(w, x))], axis=-1
  ),
  ("vmapped over heads", "heads"): lambda x, w: _flat(
    jax.vmap(lambda x, w: x @ w, (1, 0), 1)(_heads(x), _like(w, x))
  ),
  ("peephole 0", "peephole"): lambda x, w: x * _like(w, x)[0][None],
  ("peephole 2", "peephole"): lambda x, w: x * _like(w[2], x)[None],
  ("all peepholes", "peephole"): lambda x, w: jnp.sum(
    x[:, None] * _like(w, x)[None], axis=1
  ),
  ("inner", "peephole"): lambda x, w: x * jnp.sum(x @ _like(w, x).T, -1, keepdims=True),
  ("bias", "row"): lambda x, w: x + _like(w, x)[None],
  ("scale", "row"): lambda x, w: x * _like(w, x)[None],
  ("score", "row"): lambda x, w: x * jnp.tanh(x @ _like(w, x))[:, None],
  ("outer", "row"): lambda x, w: x @ jnp.outer(_like(w, x), _like(w, x)),
  ("scale", "scalar"): lambda x, w: x * _like(w, x),
  ("shift", "scalar"): lambda x, w: x + _like(w, x),
}
# Declared parameters are used as others of their shape.
for _declared, _alike in (("elementwise", "peephole"), ("frozen", "square")):
  PRODUCTS |= {
    (how, _declared): PRODUCTS[how, kind] for how, kind in PRODUCTS if kind == _alike
  }
DECLARED = {"elementwise": Elementwise, "frozen": Frozen}
UNARY = {
  "tanh": jnp.tanh,
  "sin": jnp.sin,
  "sigmoid": jax.nn.sigmoid,
  "half": lambda x: 0.5 * x,
  "swish": _gelu,
  "reversed": lambda x: x[:, ::-1],
  "normed": lambda x: x / jnp.sqrt(1 + jnp.mean(x * x, axis=-1, keepdims=True)),
}
BINARY = {
  "+": jnp.add,
  "*": jnp.multiply,
  "gate": lambda a, b: jax.nn.sigmoid(a) * b,
  "mix": lambda a, b: 0.3 * a + 0.7 * b,
}


def _attended(x, memory):
  """`x [B, H]` asks `memory [B, 3, H]`."""
  scores = jax.nn.softmax(jnp.einsum("bh,bmh->bm", x, memory), axis=-1)
  return jnp.einsum("bm,bmh->bh", scores, memory)


CLOSED_SHAPES = {"matrix": (H, H), "row": (H,), "memory": (None, 3, H)}  # None: B
CLOSED_USES = {
  "matrix": lambda x, w: x @ w,
  "row": lambda x, w: x * w[None],
  "memory": _attended,
}


@functools.cache
def _named(count: int):
  return namedtuple(f"Weights{count}", [f"w{i}" for i in range(count)])


# Where pickling or equality by class matter, each class must be one and the same.
def _hold(how: str, leaves: list) -> Any:
  if how == "bare":
    (leaf,) = leaves
    return leaf
  if how == "dict":
    return {f"w{i}": leaf for i, leaf in enumerate(leaves)}
  if how == "list":
    return list(leaves)
  if how == "named":
    return _named(len(leaves))(*leaves)
  if how == "nested":
    return {"a": leaves[0], "b": (tuple(leaves[1:]),)}
  return tuple(leaves)


def _held(how: str, tree: Any) -> list:
  if how == "bare":
    return [tree]
  if how == "dict":
    return [tree[f"w{i}"] for i in range(len(tree))]
  if how == "nested":
    return [tree["a"], *tree["b"][0]]
  return list(tree)


@functools.cache
def _of_registry(name: str, derivative: bool, width: int) -> Cell:
  """Parameters are shaken anyhow, so that they may start from zeros, at no cost."""
  cell = REGISTRY[name](width, H)
  shapes = jax.eval_shape(cell.init, jax.random.key(0))
  return cell._replace(
    init=lambda key: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
    derivative=cell.derivative if derivative else None,
  )


def build(
  spec, width: int, dtype, closed: tuple, reads: tuple[str, ...] = ()
) -> tuple[Cell, int]:
  """The cell of a description, and the width of its output.

  Args:
    spec: the description.
    width: of the input.
    dtype: of activations.
    closed: (kind, array) of all that its steps may close over.
    reads: the kind of each array of the context, for cells of users.
  """
  if isinstance(spec, Plain):
    return _of_registry(spec.name, spec.derivative, width), H
  if isinstance(spec, Learned):
    cell, out = build(spec.cell, width, dtype, closed, reads)
    return compose.learned_carry(cell), out
  if isinstance(spec, Deep):
    widths = [H] * len(spec.cells)
    cells = [
      build(cell, fed, dtype, closed, reads)[0]
      for cell, fed in zip(spec.cells, spec.wiring.input_sizes(width, widths))
    ]
    return compose.deep(*cells, wiring=spec.wiring), spec.wiring.output_size(widths)
  if isinstance(spec, Around):
    cell, out = build(spec.cell, width, dtype, closed, reads)
    return _around(cell, out, spec.call), out
  return _own(spec, width, dtype, closed, reads), H


def _around(cell: Cell, width: int, call: str) -> Cell:
  def inner(params, carry, *read):
    if call == "remat":
      return jax.checkpoint(cell.step)(params, carry, *read)
    if call == "jit":
      return jax.jit(cell.step)(params, carry, *read)
    if call == "loop":
      first, y = cell.step(params, carry, *read)
      return jax.lax.fori_loop(
        0, 2, lambda _, o: cell.step(params, o[0], *read), (first, y)
      )
    if call == "twice":
      carry, _ = cell.step(params, carry, *read)
    return cell.step(params, carry, *read)

  def step(params, carry, *read):
    carry, y = inner(params["inner"], carry, *read)
    return carry, y + jnp.tanh(y @ params["mix"])

  return Cell(
    lambda key: {
      "inner": cell.init(key),
      "mix": jnp.zeros((width, width), jnp.float32),
    },
    lambda params, batch: cell.carry(params["inner"], batch),
    lambda params, xs: cell.project(params["inner"], xs),
    step,
    context=cell.context,
  )


def _own(spec: Own, width: int, dtype, closed: tuple, reads: tuple[str, ...]) -> Cell:
  own_x = spec.project in ("matmul", "dot", "einsum", "twice", "step")
  shapes = [SHAPES[kind] for kind in spec.weights] + [(width, H)] * own_x
  declared = [DECLARED.get(kind) for kind in spec.weights] + [None] * own_x

  def init(key):
    weights = [jnp.zeros(shape, jnp.float32) for shape in shapes]
    nodes = [node(w) if node else w for node, w in zip(declared, weights, strict=True)]
    return _hold(spec.params, nodes)

  def read(params):
    nodes = _held(spec.params, params)
    return [
      node.value if kind else node for kind, node in zip(declared, nodes, strict=True)
    ]

  def carry(params, batch):
    weights = read(params)
    row = None
    if spec.start == "weight":
      row = jnp.resize(_like(weights[0], jnp.zeros((), dtype)) * 1, (H,))
    if spec.start == "closed":
      row = jnp.resize(closed[0][1], (H,)) if closed else None
    leaves = []
    for kind in spec.carry:
      full = jnp.zeros((batch, H), dtype) if row is None else jnp.tile(row, (batch, 1))
      leaves.append(
        {
          "rows": lambda full=full: full,
          "heads": lambda full=full: _heads(full),
          "vector": lambda full=full: full[:, 0],
          "count": lambda: jnp.zeros((batch,), jnp.int32),
          "draw": compose.no_draw,
        }[kind]()
      )
    return _hold(spec.held, leaves)

  def project(params, xs):
    weights = read(params)
    w_x = weights[-1]
    if spec.project == "matmul":
      return xs @ w_x
    if spec.project == "dot":
      return jnp.dot(xs, _like(w_x, xs))
    if spec.project == "einsum":
      return jnp.einsum("tbd,dh->tbh", xs, _like(w_x, xs))
    if spec.project == "twice":
      return xs @ w_x + jnp.sin(xs) @ w_x
    if spec.project == "shared":
      wide = jnp.concatenate([xs, xs], axis=-1)[..., :H]
      return wide @ weights[0] if spec.weights[0] == "square" else wide
    return xs

  def step(params, carry, z, *context):
    weights, leaves = read(params), _held(spec.held, carry)
    arrays = (*closed, *zip(reads, *context, strict=True)) if reads else closed
    if spec.project == "step":
      z = z @ weights[-1]
    elif spec.project == "none":
      z = jnp.concatenate([z, z], axis=-1)[..., :H]
    seen = _Seen(weights, spec.weights, spec.carry, leaves, z, arrays)
    new, steps = [], iter(spec.step)
    for kind, leaf in zip(spec.carry, leaves):
      if kind == "count":
        new.append(leaf + 1)
      elif kind == "draw":
        new.append(leaf._replace(t=leaf.t + 1))
      else:
        value = jnp.tanh(seen.value(next(steps)))
        if kind == "heads":
          value = _heads(value)
        new.append(jnp.sum(value, axis=-1) if kind == "vector" else value)
    return _hold(spec.held, new), seen.value(spec.output)

  return Cell(init, carry, project, step, context=bool(reads))


class _Seen(NamedTuple):
  """What a step's expressions are made of."""

  weights: list
  kinds: tuple[str, ...]
  carried: tuple[str, ...]
  leaves: list
  z: Any
  closed: tuple

  def value(self, e: Expression):
    operation, *rest = e
    if operation == "z":
      return self.z
    if operation == "carry":
      return self._carry(rest[0] % len(self.leaves))
    if operation == "product":
      how, index, of = rest
      return PRODUCTS[how, self.kinds[index]](self.value(of), self.weights[index])
    if operation == "closed":
      value = self.value(rest[1])
      if not self.closed:
        return value
      kind, array = self.closed[rest[0] % len(self.closed)]
      return CLOSED_USES[kind](value, array)
    if operation == "lookup":
      return self._lookup(rest[0], self.value(rest[1]))
    if operation in UNARY:
      return UNARY[operation](self.value(rest[0]))
    return BINARY[operation](*map(self.value, rest))

  def _carry(self, index):
    kind, leaf = self.carried[index], self.leaves[index]
    if kind == "heads":
      return _flat(leaf)
    if kind == "vector":
      return jnp.tile(leaf[:, None], (1, H))
    if kind == "count":
      steps = 1 / (1 + leaf.astype(self.z.dtype))
      return steps[:, None] * self.z
    if kind == "draw":
      if leaf.key is None:
        return self.z
      factors = compose.mask(leaf, self.z.shape, 0.4, 3, locked=False)
      return self.z * factors.astype(self.z.dtype)
    return leaf

  def _lookup(self, index, x):
    """Rows of a matrix, chosen by a count of the carry or by the state."""
    counts = [leaf for kind, leaf in zip(self.carried, self.leaves) if kind == "count"]
    rows = counts[0] % H if counts else (x[:, 0] > 0).astype(jnp.int32)
    w = self.weights[index]
    return x * _like(w[rows], x)


# The strategies.

_few = st.integers(0, 2)


@st.composite
def expressions(draw, kinds: tuple[str, ...], depth: int = 3) -> Expression:
  """A value `[B, H]` of a step whose weights are of these kinds."""
  which = draw(
    st.sampled_from(
      ("z", "carry", "carry")
      if depth == 0
      else ("product",) * 5
      + ("carry", "carry", "z", "unary", "binary", "binary", "closed", "lookup")
    )
  )
  if which == "z":
    return ("z",)
  if which == "carry":
    return ("carry", draw(_few))
  deeper = expressions(kinds, depth - 1)
  if which == "product":
    index = draw(st.integers(0, len(kinds) - 1))
    ways = [how for how, kind in PRODUCTS if kind == kinds[index]]
    ways = ways[:1] * 4 + ways  # the plain product most of all
    return ("product", draw(st.sampled_from(ways)), index, draw(deeper))
  if which == "lookup":
    squares = [i for i, kind in enumerate(kinds) if kind == "square"]
    if squares:
      return ("lookup", draw(st.sampled_from(squares)), draw(deeper))
  if which == "closed":
    return ("closed", draw(_few), draw(deeper))
  if which == "binary":
    return (draw(st.sampled_from(list(BINARY))), draw(deeper), draw(deeper))
  return (draw(st.sampled_from(list(UNARY))), draw(deeper))


@st.composite
def owns(draw) -> Own:
  """A cell as a user writes one."""
  kinds = draw(
    st.lists(st.sampled_from(["square"] * 4 + [*SHAPES]), min_size=1, max_size=4)
  )
  kinds = tuple(kinds)
  project = draw(st.sampled_from(PROJECTIONS))
  single = len(kinds) == 1 and project in ("shared", "none")
  carry = draw(st.lists(st.sampled_from(("rows", *LEAVES)), max_size=2))
  carry = ("rows", *carry)
  real = sum(kind in ("rows", "heads", "vector") for kind in carry)
  return Own(
    kinds,
    draw(st.sampled_from(("bare", *PARAMS) if single else PARAMS)),
    project,
    carry,
    draw(st.sampled_from(("bare", "bare", *HELD) if len(carry) == 1 else HELD)),
    draw(st.sampled_from(STARTS)),
    tuple(draw(expressions(kinds)) for _ in range(real)),
    draw(st.just(("carry", 0)) | expressions(kinds, 1)),
  )


registry = st.builds(Plain, st.sampled_from(list(REGISTRY)), st.booleans())
wirings = st.builds(
  Wiring,
  residual=st.booleans(),
  skip=st.booleans(),
  dropout=st.sampled_from([0.0, 0.0, 0.5]),
  input_dropout=st.sampled_from([0.0, 0.0, 0.3]),
  output_dropout=st.sampled_from([0.0, 0.0, 0.4]),
  locked=st.booleans(),
)


@st.composite
def cells(draw, depth: int = 2):
  """A cell's description."""
  which = draw(
    st.sampled_from(
      ("own", "registry")
      if depth == 0
      else ("own",) * 5 + ("registry", "registry", "deep", "learned", "around")
    )
  )
  if which == "own":
    return draw(owns())
  if which == "registry":
    return draw(registry)
  if which == "learned":
    return Learned(draw(cells(depth - 1)))
  if which == "around":
    return Around(draw(cells(depth - 1)), draw(st.sampled_from(CALLS)))
  layers = draw(st.lists(cells(0), min_size=1, max_size=2))
  return Deep(tuple(layers), draw(wirings))


@st.composite
def programs(draw) -> Program:
  """A program."""

  def one_of(*values):
    return draw(st.sampled_from(values))

  mesh = one_of(*["none"] * 18, *MESHES)
  dtype = one_of(*["float64"] * 12, "float32", "float32", "bfloat16", "bfloat16")
  long = dtype == "bfloat16" and one_of(False, False, True)
  asked = one_of(*["gradient"] * 5, *ASKED, "square of dx", "square of dθ")
  program = Program(
    cell=draw(cells()),
    length=LONG if long else one_of(3, 2, 7, 1, 0, 3, 2),
    batch=one_of(2, 4) if "sharded" in mesh or mesh == "shard_map" else one_of(2, 1, 4),
    width=one_of(3, 4),
    dtype=dtype,
    asked="gradient" if long else asked,
    backward=one_of(*["fast"] * 7, "autodiff"),
    wrt=one_of("all", "all", "all", "params", "xs", "carry"),
    reads=one_of("both", "both", "ys", "carry"),
    inputs=one_of(*["dense"] * 6, "few words", "many words"),
    valid=one_of("none", "none", "bool", "float32", "int32", "junk"),
    reset=draw(st.booleans()),
    reverse=draw(st.booleans()),
    within="nothing" if long else one_of(*["nothing"] * 6, *WITHIN),
    mesh=mesh,
    inside=draw(st.booleans()),
    placed=draw(st.booleans()),
    closed=tuple(draw(st.lists(st.sampled_from(CLOSED), max_size=2))),
    context=tuple(draw(st.lists(st.sampled_from(CLOSED), max_size=2))),
    every=one_of(False, False, False, True),
    number=draw(st.integers(0, 999)),
  )
  if dtype == "bfloat16" and any(map(JUMPS.search, features(program))):
    program = program._replace(dtype="float32", length=min(program.length, 7))
  if mesh == "shard_map" and any(map(MIXES.search, features(program))):
    program = program._replace(mesh="sharded")
  return program


# What is covered.


def features(program: Program) -> Iterator[str]:
  """The names of what a program has, some of them more than once."""
  for field, value in zip(program._fields, program, strict=True):
    if field in ("closed", "context"):
      yield from (f"{field}={kind}" for kind in value)
    elif field == "cell":
      yield from _parts(value)
    elif field != "number":
      yield f"{field}={value}"


def _parts(spec) -> Iterator[str]:
  if isinstance(spec, Plain):
    yield f"cell={spec.name}{'' if spec.derivative else ' without derivative'}"
    return
  yield f"cell={type(spec).__name__}"
  if isinstance(spec, Own):
    for field in ("params", "project", "held", "start"):
      yield f"{field} as {getattr(spec, field)}"
    yield from (f"leaf={kind}" for kind in spec.carry)
    yield from (f"weight={kind}" for kind in spec.weights)
    for expression in (*spec.step, spec.output):
      yield from _operations(expression)
  elif isinstance(spec, Deep):
    yield from (
      f"wiring={name}" for name in spec.wiring._fields if getattr(spec.wiring, name)
    )
    for cell in spec.cells:
      yield from _parts(cell)
  else:
    if isinstance(spec, Around):
      yield f"call={spec.call}"
    yield from _parts(spec.cell)


def _operations(expression: Expression) -> Iterator[str]:
  operation, *rest = expression
  yield f"product={rest[0]}" if operation == "product" else f"operation={operation}"
  for part in rest:
    if isinstance(part, tuple):
      yield from _operations(part)
