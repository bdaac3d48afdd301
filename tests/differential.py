"""A random program run in two ways: by `scan.unroll`, and as anybody would write it.

The second is a plain scan, in float64 on one device, differentiated by JAX. The two
agree in values and in every gradient, or the program is refused in a sentence that
names `backward="autodiff"`; all else is a `Finding`.
"""

import contextlib
import functools
import re
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import interpreter
from tests.haste import HASTE
from tests.programs import CLOSED_SHAPES, LONG, Program, build
from unroll import scan
from unroll.parameters import matrices, without_gradient
from unroll.types import Lookup, afresh, is_draw, seed

WORDS = {"few words": 2, "many words": 9}
LARGEST = 1e5  # of numbers whose rounding errors say something
# How far a leaf may be off, of its largest number, and that is taken to be at least
# this part of the largest of all.
BOUNDS = {"float64": (1e-8, 1e-3), "float32": (1e-3, 1e-2), "bfloat16": (0.03, 0.1)}


class Finding(NamedTuple):
  """What is wrong with a program: a kind, that many may share, and the details."""

  kind: str
  details: str


class Point(NamedTuple):
  """What a program is differentiated for: real leaves, none of a carry made inside."""

  params: list
  carry: list
  xs: list
  closed: list
  context: list


class Rest(NamedTuple):
  """What else it reads: integers, keys, masks, and what results are multiplied by."""

  params: list
  carry: list
  valid: Any
  reset: Any
  ids: Any
  weights: list


class Arrays(NamedTuple):
  """All that a program reads.

  Attributes:
    point: real leaves.
    rest: other leaves.
    axes: a Point and a Rest of which axis of each leaf is the batch, or None.
    params: the structure of parameters: whether each leaf is real.
    carry: that of the carry.
  """

  point: Point
  rest: Rest
  axes: tuple[Point, Rest]
  params: Any
  carry: Any


def is_real(leaf) -> bool:
  return jnp.issubdtype(leaf.dtype, jnp.floating)


def reals(tree) -> list:
  return [leaf for leaf in jax.tree.leaves(tree) if is_real(leaf)]


def others(tree) -> list:
  return [leaf for leaf in jax.tree.leaves(tree) if not is_real(leaf)]


def joined(like, real, other):
  """The tree of real and of other leaves."""
  real, other = iter(real), iter(other)
  return jax.tree.map(lambda is_real: next(real if is_real else other), like)


def drawn(program: Program) -> Arrays:
  """The arrays of a program, from its number."""
  rng = np.random.default_rng(program.number)
  active = np.float64 if program.dtype == "float64" else np.float32
  length, batch = program.length, program.batch
  networks = (2,) if program.within == "vmap" else ()
  scale = 0.3 if length == LONG else 0.6

  def noise(*shape, scale=1.0):
    return (scale * rng.normal(size=shape)).astype(active)

  def arrays(kinds):
    shapes = [CLOSED_SHAPES[kind] for kind in kinds]
    return [noise(*(batch if n is None else n for n in shape)) for shape in shapes]

  closed = arrays(program.closed)
  pairs = tuple(zip(program.closed, map(jnp.asarray, closed), strict=True))
  cell, width = build(program.cell, program.width, active, pairs, program.context)
  context = arrays(program.context) if cell.context else []
  one = jax.tree.map(
    lambda leaf: noise(*leaf.shape, scale=scale) if is_real(leaf) else leaf,
    cell.init(jax.random.key(0)),
  )
  one = halved(one) if program.dtype == "bfloat16" else one
  params = one
  if networks:
    params = jax.tree.map(
      lambda leaf: (
        np.stack([leaf, leaf[..., ::-1]]) if leaf.ndim else np.stack([leaf, -leaf])
      ),
      one,
    )
  carry = jax.tree.map(
    lambda leaf: noise(*leaf.shape, scale=0.5) if is_real(leaf) else leaf,
    cell.carry(jax.tree.map(jnp.asarray, one), batch),
  )
  if program.mesh != "shard_map":  # where each device would draw for its own rows
    carry = seed(carry, jax.random.key(5))
  valid = None if program.valid == "none" else rng.random((length, batch)) < 0.7
  words = WORDS.get(program.inputs)
  ids, xs = None, noise(length, batch, program.width)
  if words:
    ids = rng.integers(0, words, (length, batch)).astype(np.int32)
    xs = noise(words, program.width)
  if program.valid == "junk" and words:
    ids = np.where(valid, ids, 10**6).astype(np.int32)
  elif program.valid == "junk":
    xs = np.where(valid[..., None], xs, np.nan).astype(active)
  if valid is not None and program.valid != "junk":
    valid = valid.astype(program.valid)
  reset = rng.random((length, batch)) < 0.3 if program.reset else None
  results = [leaf.shape for leaf in reals(carry)] + [(length, batch, width)]
  weights = [noise(*networks, *shape) for shape in results]
  start = [] if program.inside else reals(carry)
  point = Point(reals(params), start, [xs], closed, context)
  rest = Rest(others(params), others(carry), valid, reset, ids, weights)
  lead = len(networks)
  axes = (
    Point(
      [None] * len(point.params),
      [0] * len(point.carry),
      [None if words else 1],
      [0 if CLOSED_SHAPES[kind][0] is None else None for kind in program.closed],
      [
        0 if CLOSED_SHAPES[kind][0] is None else None
        for kind in program.context[: len(context)]
      ],
    ),
    Rest(
      [None] * len(rest.params),
      [0 if leaf.ndim else None for leaf in rest.carry],
      1,
      1,
      1,
      [lead] * (len(weights) - 1) + [lead + 1],
    ),
  )
  structures = (jax.tree.map(is_real, tree) for tree in (params, carry))
  return Arrays(point, rest, axes, *structures)


def halved(params):
  """Parameters with their matrices in bfloat16."""
  return jax.tree.map(
    lambda leaf, matrix: leaf.astype(jnp.bfloat16) if matrix else leaf,
    params,
    matrices(params),
  )


def plain(cell, params, carry, xs, *, context, valid, reset, reverse, backward, every):
  """What `scan.unroll` is said to compute, as anybody would write it."""
  del backward
  params = without_gradient(params)
  read = () if context is None else (context,)
  where = jax.typeof(xs.ids if isinstance(xs, Lookup) else xs).sharding
  explicit = bool(where.mesh.explicit_axes)
  if isinstance(xs, Lookup):
    ids = jnp.clip(xs.ids, 0, len(xs.table) - 1)
    lies = {"out_sharding": P(*where.spec, None)} if explicit else {}
    xs = xs.table.at[ids].get(**lies)
  length, batch = xs.shape[:2]
  everywhere = jnp.ones((length, batch), bool)
  valid = everywhere if valid is None else valid.astype(bool)
  reset = ~everywhere if reset is None else reset

  def spread(carry):
    """The carry as the batch of a mesh with explicit axes: JAX leaves that to users."""
    return jax.tree.map(
      lambda leaf: (
        jax.reshard(leaf, P(where.spec[1])) if explicit and leaf.ndim else leaf
      ),
      carry,
    )

  carry, initial = spread(carry), spread(cell.carry(params, batch))

  def choose(mask, new, old):
    def rows(new, old):
      if is_draw(new):  # which has no rows
        return new
      return jnp.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(rows, new, old, is_leaf=is_draw)

  def step(carry, inputs):
    z, valid, reset = inputs
    carry = choose(reset, afresh(initial, carry), carry)
    new, y = cell.step(params, carry, z, *read)
    carry = choose(valid, new, carry)
    return carry, (carry if every else None, jnp.where(valid[:, None], y, 0))

  zs = cell.project(params, jnp.where(valid[..., None], xs, 0))
  rows = (zs, valid, reset)
  carry, (carries, ys) = jax.lax.scan(step, carry, rows, reverse=reverse)
  return carries if every else carry, ys


def outputs(program: Program, unroll: Callable, arrays: Arrays) -> Callable:
  """`(point, rest) -> (real results, integer results)` of a program."""

  def one(params, other, point: Point, rest: Rest):
    closed = tuple(zip(program.closed, point.closed, strict=True))
    active = point.xs[0].dtype
    cell, _ = build(program.cell, program.width, active, closed, program.context)
    context = tuple(point.context) if cell.context else None
    params = joined(arrays.params, params, other)
    xs = point.xs[0] if rest.ids is None else Lookup(point.xs[0], rest.ids)
    batch = xs.shape[1]
    real = reals(cell.carry(params, batch)) if program.inside else point.carry
    carry = joined(arrays.carry, real, rest.carry)
    options = {
      "context": context,
      "reverse": program.reverse,
      "backward": program.backward,
      "every": program.every,
    }

    def run(params, carry, xs, valid, reset):
      after, ys = unroll(cell, params, carry, xs, valid=valid, reset=reset, **options)
      return _counted(program, carry, after, ys) if program.every else (after, ys)

    carry, ys = _within(program, run)(params, carry, xs, rest.valid, rest.reset)
    integers = [
      leaf for leaf in others(carry) if jnp.issubdtype(leaf.dtype, jnp.integer)
    ]
    return [*reals(carry), ys], integers

  def out(point: Point, rest: Rest):
    if program.within != "vmap":
      return one(point.params, rest.params, point, rest)
    return jax.vmap(lambda *of: one(*of, point, rest))(point.params, rest.params)

  return out


def _counted(program: Program, carry, carries, ys):
  """The last of all carries, and outputs to which each carry adds something."""
  sums = [jnp.sum(leaf, range(2, leaf.ndim)) for leaf in reals(carries)]
  ys = ys + jnp.sin(sum(sums))[..., None].astype(ys.dtype)
  if not len(ys):
    return carry, ys
  return jax.tree.map(lambda leaf: leaf[0 if program.reverse else -1], carries), ys


def _within(program: Program, run: Callable) -> Callable:
  """The run, inside of what users put it in."""

  def chunks(params, carry, xs, *masks):
    ys = {}
    parts = [slice(0, program.length // 2), slice(program.length // 2, None)]
    for part in parts[::-1] if program.reverse else parts:
      cut = [None if mask is None else mask[part] for mask in masks]
      some = Lookup(xs.table, xs.ids[part]) if isinstance(xs, Lookup) else xs[part]
      carry, ys[part.start] = run(params, carry, some, *cut)
    return carry, jnp.concatenate([ys[part.start] for part in parts])

  def twice(params, carry, *rest):
    carry, ys = jax.lax.scan(
      lambda carry, _: run(params, carry, *rest), carry, None, length=2
    )
    return carry, ys[0] + jnp.sin(ys[1])

  def branch(params, carry, *rest):
    def doubled(carry):
      carry, ys = run(params, carry, *rest)
      return carry, 2 * ys

    total = sum(jnp.sum(leaf) for leaf in reals(params))
    return jax.lax.cond(total > 0, doubled, lambda c: run(params, c, *rest), carry)

  ways = {
    "jit": jax.jit(run),
    "remat": jax.checkpoint(run),
    "chunks": chunks,
    "scan": twice,
    "cond": branch,
  }
  return ways.get(program.within, run)


def measured(program: Program, out: Callable) -> Callable:
  """`(point, rest) -> {name: arrays}`: what is asked of the program."""
  everything = program.wrt == "all" or (program.wrt == "carry" and program.inside)
  wrt = Point._fields if everything else (program.wrt,)

  def measure(point: Point, rest: Rest):
    chosen = {name: getattr(point, name) for name in wrt}

    def real(chosen):
      return out(point._replace(**chosen), rest)[0]

    def loss(chosen):
      terms = [jnp.sum(o * w) for o, w in zip(real(chosen), rest.weights, strict=True)]
      reads = {"ys": terms[-1:], "carry": terms[:-1]}.get(program.reads, terms)
      return sum(reads)

    def square(chosen, name):
      """The squared length of the gradient for `name`."""
      whole = {name: getattr(point, name), **chosen}
      slopes = jax.grad(lambda leaves: loss({**whole, name: leaves}))(whole[name])
      return sum(jnp.sum(s.astype(rest.weights[0].dtype) ** 2) for s in slopes)

    def tangent(function):
      rng = np.random.default_rng(program.number + 1)
      way = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)).astype(leaf.dtype), chosen
      )
      return jax.jvp(function, (chosen,), (way,))[1]

    if program.asked == "value":
      values, integers = out(point, rest)
      return {"value": values, "integer": integers}
    if program.asked == "gradient":
      values, _ = out(point, rest)
      return {"value": values, "gradient": jax.grad(loss)(chosen)}
    if program.asked == "forward":
      return {"tangent": tangent(real)}
    if program.asked == "forward over reverse":
      return {"second": tangent(jax.grad(loss))}
    name = {"square of dx": "xs", "square of dθ": "params"}[program.asked]
    return {"second": jax.grad(square)(chosen, name)}

  return measure


@functools.cache
def mesh(explicit: bool) -> Mesh:
  """The mesh of two devices."""
  kind = AxisType.Explicit if explicit else AxisType.Auto
  return jax.make_mesh((2,), ("batch",), (kind,), devices=jax.devices()[:2])


def _spec(axis: int | None, lead: int = 0) -> P:
  return P() if axis is None else P(*[None] * (axis + lead), "batch")


def _each(function, tree, axes):
  """`function(field, leaf, axis)` of each leaf of a Point or a Rest."""

  def part(name, leaves, axis):
    if isinstance(leaves, list):
      return [function(name, *both) for both in zip(leaves, axis, strict=True)]
    return None if leaves is None else function(name, leaves, axis)

  return type(tree)(*map(part, tree._fields, tree, axes))


def _placed(program: Program, tree, axes):
  """A Point or a Rest on the mesh."""
  where = mesh("explicit" in program.mesh)

  def put(name, leaf, axis):
    if name in ("params", "carry") and not program.placed:
      return leaf
    spec = P() if "replicated" in program.mesh else _spec(axis)
    return jax.device_put(leaf, NamedSharding(where, spec))

  return _each(put, tree, axes)


def _mapped(program: Program, out: Callable, arrays: Arrays) -> Callable:
  """A program inside of `shard_map`, each device with rows of its own."""
  trees = (arrays.point, arrays.rest)
  in_specs = tuple(
    _each(lambda name, leaf, axis: _spec(axis), *both)
    for both in zip(trees, arrays.axes, strict=True)
  )
  lead = int(program.within == "vmap")
  results = len(arrays.rest.weights)
  out_specs = [_spec(0, lead)] * (results - 1) + [_spec(1, lead)]
  inner = jax.shard_map(
    lambda *args: out(*args)[0],
    mesh=mesh(False),
    in_specs=in_specs,
    out_specs=out_specs,
  )
  return lambda point, rest: (inner(point, rest), [])


def computed(program: Program, unroll: Callable, arrays: Arrays, compiled: bool):
  """What is asked of a program, as NumPy arrays."""
  out = outputs(program, unroll, arrays)
  if program.mesh == "shard_map":
    out = _mapped(program, out, arrays)
  measure = measured(program, out)
  if not compiled:
    return interpreter.run(measure, arrays.point, arrays.rest)
  context: Any = contextlib.nullcontext()
  point, rest = arrays.point, arrays.rest
  if program.mesh != "none":
    point, rest = (
      _placed(program, *both) for both in zip((point, rest), arrays.axes, strict=True)
    )
    if "explicit" in program.mesh:
      context = jax.set_mesh(mesh(True))
  with context:
    results = jax.jit(measure, compiler_options=HASTE)(point, rest)
  return jax.tree.map(np.asarray, results)


def check(
  program: Program, compiled: bool = False, unroll: Callable = scan.unroll
) -> Finding | str:
  """Runs a program in both ways.

  Args:
    program: the program.
    compiled: whether `unroll` is compiled, as it is on a mesh and in bfloat16, or
      evaluated in NumPy.
    unroll: what is examined.

  Returns:
    A Finding; or "right", "refused: …", or "void: …" for what says nothing.
  """
  half = program.dtype == "bfloat16"
  compiled = compiled or half or program.mesh != "none"
  promotion = "standard" if half else "strict"
  with jax.enable_x64(True), jax.numpy_dtype_promotion(promotion):
    arrays = drawn(program)
    double, on_one = _in_type(arrays, np.float64), program._replace(mesh="none")
    try:
      exact = computed(on_one, plain, double, program.length == LONG)
    except Exception as error:  # a fault of what is here, to be mended first
      return Finding(f"the fuzz itself raises {type(error).__name__}", str(error))
    leaves = jax.tree.leaves(exact)
    if program.mesh == "shard_map":
      exact.pop("integer", None)
    if not all(np.max(np.abs(leaf), initial=0) < LARGEST for leaf in leaves):
      return "void: grows without bound"
    try:
      found = computed(program, unroll, arrays, compiled)
    except Exception as error:
      return _raised(program, arrays, compiled, error)
    if program.mesh == "shard_map":
      found.pop("integer", None)
    verdict = _compared(program, found, exact)
    if isinstance(verdict, Finding) and program.dtype != "float64":
      rounded = computed(on_one, plain, _in_type(arrays, np.float32), compiled)
      if isinstance(_compared(on_one, rounded, exact), Finding):
        return "void: plain JAX rounds as far off in float32"
    if isinstance(verdict, Finding) and program.dtype == "bfloat16":
      # Values are examined in the other types; of few steps, rounding is the same in
      # both backward passes, and of many the sums are what is examined.
      if verdict.kind.startswith("wrong value"):
        return "void: rounded values lie far off"
      if program.length != LONG and program.backward == "fast":
        slow = program._replace(backward="autodiff")
        slow_found = computed(slow, unroll, arrays, compiled)
        if isinstance(_compared(slow, slow_found, exact), Finding):
          return "void: autodiff rounds as far off"
      moved = computed(on_one, plain, _moved(double), program.length == LONG)
      if isinstance(_compared(on_one, moved, exact), Finding):
        return "void: inputs that are rounded move it as far"
      if program.length == LONG and program.asked == "gradient":
        fewer = on_one._replace(length=LONG // 2)
        if _cancels(
          exact, computed(fewer, plain, _in_type(drawn(fewer), np.float64), True)
        ):
          return "void: what is left of a sum that cancels"
  return verdict


def _in_type(arrays: Arrays, dtype: Any) -> Arrays:
  """Arrays whose real numbers have a type."""

  def cast(leaf):
    return np.asarray(leaf, dtype) if is_real(leaf) else leaf

  return Arrays(*jax.tree.map(cast, (arrays.point, arrays.rest)), *arrays[2:])


def _cancels(exact, fewer) -> bool:
  """Whether a gradient is a tenth of what it was after half of the steps, or less."""
  both = zip(*(jax.tree.leaves(of["gradient"]["params"]) for of in (exact, fewer)))
  return any(np.max(np.abs(a)) < 0.1 * np.max(np.abs(b)) for a, b in both if a.size)


def _moved(arrays: Arrays) -> Arrays:
  """Arrays whose inputs are other ones by what bfloat16 rounds off."""
  draw = np.random.default_rng(0)

  def off(leaf):
    return leaf * (1 + 2**-9 * draw.normal(size=leaf.shape)) if is_real(leaf) else leaf

  xs = jax.tree.map(off, arrays.point.xs)
  return arrays._replace(point=arrays.point._replace(xs=xs))


def _raised(program: Program, arrays, compiled, error) -> Finding | str:
  sentence = str(error).strip()
  named = re.search(r"backward=.autodiff", sentence) and "\n" not in sentence
  if program.backward == "fast" and named and isinstance(error, ValueError | TypeError):
    return f"refused: {program.asked}"
  with contextlib.suppress(Exception):
    # The same program, on the same mesh and in the same precision, by plain JAX.
    computed(program, plain, arrays, compiled)
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{f.filename}:{f.name}" for f in frames if "/unroll/" in f.filename]
    if not ours and "explicit" in program.mesh and sentence.startswith("Context mesh"):
      # Within a loop of the caller, JAX 0.10.2 makes the zero gradient of what lies on
      # automatic axes where axes are explicit. It raises: no number is wrong.
      return "void: JAX loses the mesh of a zero"
    if program.mesh == "shard_map" and program.within == "scan" and not ours:
      # Ours varies over the devices as xs do; a state that reads no xs need not.
      return "void: the caller's carry does not vary"
    where = f" at unroll/{ours[-1].split('/unroll/')[-1]}" if ours else ""
    first = re.sub(r"\d+", "#", sentence.split("\n")[0][:90])
    return Finding(f"raises {type(error).__name__}: {first}{where}", sentence)
  return "void: plain JAX raises, too"


def _compared(program: Program, found, exact) -> Finding | str:
  bound, part = BOUNDS[program.dtype]
  if program.asked not in ("value", "gradient"):
    bound *= 3  # products of derivatives, each rounded
  wrong = []
  for name in sorted(exact, reverse=True):  # values first
    if jax.tree.structure(found[name]) != jax.tree.structure(exact[name]):
      return Finding(f"another structure of {name}", str(found[name]))
    pairs = [
      (name + jax.tree_util.keystr(path), *(np.asarray(x, np.float64) for x in both))
      for (path, *both) in (
        (path, a, b)
        for (path, a), b in zip(
          jax.tree_util.tree_leaves_with_path(found[name]),
          jax.tree.leaves(exact[name]),
          strict=True,
        )
      )
    ]
    largest = max((np.max(np.abs(b), initial=0) for _, _, b in pairs), default=0)
    # In double precision what is tiny everywhere must be right, too.
    least = part * max(largest, 1e-3)
    for where, a, b in pairs:
      if a.shape != b.shape:
        return Finding(f"another shape of {name}", f"{where} {a.shape}, not {b.shape}")
      size = max(np.max(np.abs(b), initial=0), least)
      error = np.max(np.abs(a - b), initial=0) / size
      if not error <= bound:  # nan is not, either
        wrong.append(f"{where} {list(b.shape)} by {100 * error:.2g} %")
  if not wrong:
    return "right"
  sort = re.split(r"\W", wrong[0])[0]
  where = (
    program.mesh.split()[0].replace("sharded", "mesh").replace("replicated", "mesh")
  )
  where = "one device" if where == "none" else where
  return Finding(
    f"wrong {sort}, {program.backward}, {where}, {program.dtype}", "; ".join(wrong)
  )
