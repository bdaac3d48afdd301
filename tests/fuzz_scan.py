"""A differential fuzz of `scan.unroll`: random programs against plain autodiff.

    python -m tests.fuzz_scan --programs=20000 --seed=0
    python -m tests.fuzz_scan --seed=0 --program=1234

Each program of `programs.py` is run by `scan.unroll`, in its own precision and on its
own mesh, and by a scan written here, in float64 on one device. The two agree in
values and in every gradient, or the program is refused in a sentence that names
`backward="autodiff"`; all else is a finding. Most programs are traced and evaluated in
NumPy (`interpreter.py`); those of a mesh, of bfloat16, and one in `--compiled` others
are compiled.
"""

import argparse
import collections
import contextlib
import functools
import random
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tests import interpreter
from tests.programs import CLOSED_SHAPES, Program, build, programs
from unroll import scan
from unroll.compose import LearnedParams
from unroll.types import Lookup, afresh, is_draw, seed

BLOCK = 500  # programs drawn with one seed
HASTE = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
# Of the largest number of a leaf, and the size of the least leaf that counts.
BOUNDS = {"float64": (1e-8, 1e-3), "float32": (3e-3, 1e-2), "bfloat16": (0.1, 0.1)}
WORDS = {"few words": 2, "many words": 9}


class Finding(NamedTuple):
  """What is wrong with a program: a kind, that many may share, and the details."""

  kind: str
  details: str


# What a program is run on.


def is_real(leaf) -> bool:
  return jnp.issubdtype(leaf.dtype, jnp.floating)


def reals(tree) -> list:
  return [leaf for leaf in jax.tree.leaves(tree) if is_real(leaf)]


def with_reals(tree, leaves):
  left = iter(leaves)
  return jax.tree.map(lambda leaf: next(left) if is_real(leaf) else leaf, tree)


class Point(NamedTuple):
  """What is differentiated for: real leaves; of the carry none if made inside."""

  params: list
  carry: list
  xs: list
  closed: list


class Fixed(NamedTuple):
  """What is not: integers and keys, masks, and what the results are multiplied by."""

  params: list
  carry: list
  valid: Any
  reset: Any
  ids: Any
  weights: list


def drawn(program: Program):
  """The arrays of a program.

  Returns:
    A Point and a Fixed; the same of which axis of each leaf is the batch, or None;
    and the structures of parameters and carry, of shapes.
  """
  rng = np.random.default_rng(program.number)
  active = np.float64 if program.dtype == "float64" else np.float32
  length, batch = program.length, program.batch
  scale = 0.6 if length < 100 else 0.3

  def noise(*shape, scale=1.0):
    return (scale * rng.normal(size=shape)).astype(active)

  closed = [
    noise(*(batch if n is None else n for n in CLOSED_SHAPES[kind]))
    for kind in program.closed
  ]
  cell, _ = build(program.cell, program.width, active, _pairs(program, closed))
  networks = (2,) if program.within == "vmap" else ()
  params = jax.tree.map(
    lambda leaf: (
      noise(*networks, *leaf.shape, scale=scale)
      if is_real(leaf)
      else np.broadcast_to(leaf, (*networks, *leaf.shape))
    ),
    cell.init(jax.random.key(0)),
  )
  params = _halved(params, len(networks)) if program.dtype == "bfloat16" else params
  one = jax.tree.map(lambda leaf: jnp.asarray(leaf[0] if networks else leaf), params)
  carry = jax.tree.map(
    lambda leaf: noise(*leaf.shape, scale=0.5) if is_real(leaf) else leaf,
    cell.carry(one, batch),
  )
  if program.mesh != "shard_map":  # where each device would draw for its own rows
    carry = seed(carry, jax.random.key(5))
  valid = None if program.valid == "none" else rng.random((length, batch)) < 0.7
  words = WORDS.get(program.inputs)
  ids, xs = None, noise(length, batch, program.width)
  if words:
    ids = rng.integers(0, words, (length, batch)).astype(np.int32)
    xs = noise(words, program.width)
  if program.valid == "junk":
    if words:
      ids = np.where(valid, ids, 10**6).astype(np.int32)
    else:
      xs = np.where(valid[..., None], xs, np.nan).astype(active)
  if valid is not None:
    valid = valid.astype(program.valid if program.valid != "junk" else "bool")
  reset = rng.random((length, batch)) < 0.3 if program.reset else None
  weights = jax.eval_shape(
    lambda params, carry: _reference(
      cell, params, carry, jnp.zeros((length, batch, program.width), active)
    ),
    jax.tree.map(lambda p: p.astype(active) if is_real(p) else p, one),
    carry,
  )
  rest = [leaf for leaf in jax.tree.leaves(carry) if not is_real(leaf)]
  fixed_params = [leaf for leaf in jax.tree.leaves(params) if not is_real(leaf)]
  at_rows = [None if leaf.ndim == 0 else 0 for leaf in rest]
  point = Point(reals(params), [] if program.inside else reals(carry), [xs], closed)
  fixed = Fixed(
    fixed_params,
    rest,
    valid,
    reset,
    ids,
    [noise(*networks, *leaf.shape) for leaf in reals(weights)],
  )
  lead = len(networks)
  axes = (
    Point(
      [None] * len(point.params),
      [0] * len(point.carry),
      [None if words else 1],
      [0 if CLOSED_SHAPES[kind][0] is None else None for kind in program.closed],
    ),
    Fixed(
      [None] * len(fixed_params),
      at_rows,
      1,
      1,
      1,
      [lead] * (len(fixed.weights) - 1) + [lead + 1],
    ),
  )
  return point, fixed, axes, (_structure(params), _structure(carry))


def _structure(tree):
  return jax.tree.map(is_real, tree)


def _halved(params, lead: int):
  """Matrices in bfloat16; a learned carry stays as it is."""

  def half(node):
    if isinstance(node, LearnedParams):
      return LearnedParams(_halved(node.cell, lead), node.carry)
    matrix = is_real(node) and node.ndim - lead == 2
    return np.asarray(jnp.asarray(node, jnp.bfloat16)) if matrix else node

  return jax.tree.map(half, params, is_leaf=lambda n: isinstance(n, LearnedParams))


def _pairs(program: Program, closed) -> tuple:
  return tuple(zip(program.closed, map(jnp.asarray, closed), strict=True))


# The reference.


def _choose(mask, new, old):
  """Row by row of a carry; a Draw has no rows."""

  def one(n, o):
    return n if is_draw(n) else jnp.where(mask.reshape(-1, *[1] * (n.ndim - 1)), n, o)

  return jax.tree.map(one, new, old, is_leaf=is_draw)


def _reference(cell, params, carry, xs, valid=None, reset=None, reverse=False, **_):
  """What `scan.unroll` is said to compute, as anybody would write it."""
  if isinstance(xs, Lookup):
    xs = xs.table[jnp.clip(xs.ids, 0, len(xs.table) - 1)]
  length, batch = xs.shape[:2]
  everywhere = jnp.ones((length, batch), bool)
  valid = everywhere if valid is None else valid.astype(bool)
  reset = ~everywhere if reset is None else reset
  xs = jnp.where(valid[..., None], xs, 0)
  initial = cell.carry(params, batch)

  def step(carry, inputs):
    z, valid, reset = inputs
    carry = _choose(reset, afresh(initial, carry), carry)
    new, y = cell.step(params, carry, z)
    return _choose(valid, new, carry), jnp.where(valid[:, None], y, 0)

  zs = cell.project(params, xs)
  return jax.lax.scan(step, carry, (zs, valid, reset), reverse=reverse)


# What is asked of a program.


def outputs(program: Program, unroll: Callable, structures) -> Callable:
  """`(point, fixed) -> (real results, integer results)` of a program."""
  params_like, carry_like = structures

  def single(params, fixed_params, point: Point, fixed: Fixed):
    active = point.xs[0].dtype
    closed = tuple(zip(program.closed, point.closed, strict=True))
    cell, _ = build(program.cell, program.width, active, closed)
    params = _filled(params_like, params, fixed_params)
    xs = point.xs[0] if fixed.ids is None else Lookup(point.xs[0], fixed.ids)
    batch = xs.shape[1]
    carried = point.carry
    if program.inside:
      carried = reals(cell.carry(params, batch))
    carry = _filled(carry_like, carried, fixed.carry)
    options = {"reverse": program.reverse, "backward": program.backward}

    def run(params, carry, xs, valid, reset):
      return unroll(cell, params, carry, xs, valid=valid, reset=reset, **options)

    carry, ys = _within(program, run)(params, carry, xs, fixed.valid, fixed.reset)
    leaves = jax.tree.leaves(carry)
    integers = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.integer)]
    return [*reals(carry), ys], integers

  def out(point: Point, fixed: Fixed):
    if program.within != "vmap":
      return single(point.params, fixed.params, point, fixed)
    return jax.vmap(lambda p, f: single(p, f, point, fixed))(point.params, fixed.params)

  return out


def _filled(like, real, rest):
  real, rest = iter(real), iter(rest)
  return jax.tree.map(lambda is_real: next(real) if is_real else next(rest), like)


def _within(program: Program, run: Callable) -> Callable:
  """The run inside of what users put it in."""

  def chunks(params, carry, xs, valid, reset):
    half = program.length // 2
    parts = [slice(0, half), slice(half, None)]
    ys = {}
    for part in parts[::-1] if program.reverse else parts:
      cut = [None if m is None else m[part] for m in (valid, reset)]
      some = Lookup(xs.table, xs.ids[part]) if isinstance(xs, Lookup) else xs[part]
      carry, ys[part.start] = run(params, carry, some, *cut)
    return carry, jnp.concatenate([ys[0], ys[half]])

  def scanned(params, carry, xs, valid, reset):
    def again(carry, _):
      return run(params, carry, xs, valid, reset)

    carry, ys = jax.lax.scan(again, carry, None, length=2)
    return carry, ys[0] + jnp.sin(ys[1])

  def branch(params, carry, xs, valid, reset):
    def sides(carry):
      carry, ys = run(params, carry, xs, valid, reset)
      return carry, 2 * ys

    total = sum(jnp.sum(leaf) for leaf in reals(carry))
    both = (sides, lambda carry: run(params, carry, xs, valid, reset))
    return jax.lax.cond(total > 0, *both, carry)

  return {
    "jit": jax.jit(run),
    "remat": jax.checkpoint(run),
    "chunks": chunks,
    "scan": scanned,
    "cond": branch,
  }.get(program.within, run)


def measured(program: Program, out: Callable) -> Callable:
  """`(point, fixed) -> {name: array}`: what two ways to run a program agree on."""
  wrt = program.wrt
  if wrt == "all" or (wrt == "carry" and program.inside):
    wrt = Point._fields
  else:
    wrt = (wrt,)

  def measure(point: Point, fixed: Fixed):
    chosen = {name: getattr(point, name) for name in wrt}

    def real(chosen):
      return out(point._replace(**chosen), fixed)[0]

    def loss(chosen):
      terms = [jnp.sum(o * w) for o, w in zip(real(chosen), fixed.weights)]
      if program.reads == "ys":
        return terms[-1]
      return sum(terms[:-1] if program.reads == "carry" else terms)

    def squared(name):
      def square(chosen):
        whole = {**chosen} if name in chosen else {**chosen, name: getattr(point, name)}
        slopes = jax.grad(lambda value: loss({**whole, name: value}))(whole[name])
        return sum(jnp.sum(s.astype(fixed.weights[-1].dtype) ** 2) for s in slopes)

      return square

    def way():
      rows = np.random.default_rng(7)
      return jax.tree.map(
        lambda leaf: jnp.asarray(rows.normal(size=leaf.shape)).astype(leaf.dtype),
        chosen,
      )

    results = {}
    if program.asked == "value":
      real_out, integers = out(point, fixed)
      results["integers"] = integers
      results["value"] = real_out
    elif program.asked == "gradient":
      results["value"], results["gradient"] = jax.value_and_grad(loss)(chosen)
    elif program.asked == "square of dx":
      results["second"] = jax.grad(squared("xs"))(chosen)
    elif program.asked == "square of dθ":
      results["second"] = jax.grad(squared("params"))(chosen)
    elif program.asked == "forward":
      results["forward"] = jax.jvp(real, (chosen,), (way(),))[1]
    else:
      results["forward"] = jax.jvp(jax.grad(loss), (chosen,), (way(),))[1]
    return results

  return measure


# Where it runs.


@functools.cache
def mesh(explicit: bool) -> Mesh:
  """The mesh of two devices."""
  kind = AxisType.Explicit if explicit else AxisType.Auto
  return jax.make_mesh((2,), ("batch",), (kind,), devices=jax.devices()[:2])


def _spec(axis, lead: int = 0) -> P:
  return P() if axis is None else P(*[None] * (axis + lead), "batch")


def _put(program: Program, tree, axes):
  """Places a Point or a Fixed on the mesh."""
  where = mesh("explicit" in program.mesh)
  whole = "replicated" in program.mesh

  def put(leaf, axis):
    return jax.device_put(leaf, NamedSharding(where, P() if whole else _spec(axis)))

  def place(name, leaves, axis):
    if leaves is None or (name in ("params", "carry") and not program.placed):
      return leaves
    return (
      [put(*both) for both in zip(leaves, axis)]
      if isinstance(leaves, list)
      else put(leaves, axis)
    )

  return type(tree)(*map(place, tree._fields, tree, axes))


def _sharded(program: Program, out: Callable, axes) -> Callable:
  """A program inside of `shard_map`, each device with its own rows."""

  def specs(tree, axes):
    return type(tree)(
      *(
        None
        if part is None
        else [_spec(a) for a in axis]
        if isinstance(part, list)
        else _spec(axis)
        for part, axis in zip(tree, axes)
      )
    )

  def mapped(point: Point, fixed: Fixed):
    in_specs = (specs(point, axes[0]), specs(fixed, axes[1]))
    lead = int(program.within == "vmap")
    out_specs = [_spec(0, lead)] * (len(fixed.weights) - 1) + [_spec(1, lead)]
    inner = jax.shard_map(
      lambda *args: out(*args)[0],
      mesh=mesh(False),
      in_specs=in_specs,
      out_specs=out_specs,
    )
    return inner(point, fixed), []

  return mapped


def computed(program: Program, unroll: Callable, arrays, compiled: bool):
  """The results of a program, as NumPy arrays."""
  point, fixed, axes, structures = arrays
  out = outputs(program, unroll, structures)
  on_mesh = program.mesh != "none"
  if program.mesh == "shard_map":
    out = _sharded(program, out, axes)
  measure = measured(program, out)
  if not (compiled or on_mesh):
    return interpreter.run(measure, point, fixed)
  context: Any = contextlib.nullcontext()
  if on_mesh:
    point, fixed = _put(program, point, axes[0]), _put(program, fixed, axes[1])
    if program.mesh.startswith("explicit"):
      context = jax.set_mesh(mesh(True))
  with context:
    results = jax.jit(measure, compiler_options=HASTE)(point, fixed)
  return jax.tree.map(np.asarray, results)


# The verdict.


def check(program: Program, compiled: bool = False) -> Finding | str:
  """A Finding, or what else became of a program: right, refused or void."""
  compiled = compiled or program.mesh != "none" or program.dtype == "bfloat16"
  promotion = "standard" if program.dtype == "bfloat16" else "strict"
  with jax.enable_x64(True), jax.numpy_dtype_promotion(promotion):
    try:
      arrays = drawn(program)
      double = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64) if is_real(leaf) else leaf, arrays[:2]
      )
      one_device = program._replace(mesh="none", dtype="float64")
      exact = computed(one_device, _reference, (*double, *arrays[2:]), program.length > 100)
    except Exception as error:
      return f"void: {type(error).__name__} {error}"
    if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(exact)):
      return "void: not finite"
    if max(np.max(np.abs(leaf), initial=0) for leaf in jax.tree.leaves(exact)) > 1e5:
      return "void: explodes"
    try:
      found = computed(program, scan.unroll, arrays, compiled)
    except Exception as error:
      return _raised(program, arrays, compiled, error)
    return _compared(program, found, exact)


def _raised(program, arrays, compiled, error) -> Finding | str:
  sentence = str(error)
  if (
    isinstance(error, ValueError | TypeError)
    and re.search(r"backward=.autodiff", sentence)
    and program.backward == "fast"
    and "\n" not in sentence.strip()
  ):
    return "refused"
  try:
    computed(program, _reference, arrays, compiled)
  except Exception:
    return "void: plain autodiff raises, too"
  frames = traceback.extract_tb(error.__traceback__)
  ours = [f for f in frames if "/src/unroll/" in f.filename]
  where = ""
  if ours:
    where = f" at {ours[-1].filename.split('/src/')[-1]}:{ours[-1].name}"
  first = sentence.strip().splitlines()[0] if sentence.strip() else ""
  kind = re.sub(r"\d+", "#", f"{type(error).__name__}: {first[:90]}")
  return Finding(f"raises {kind}{where}", sentence)


def _compared(program: Program, found, exact) -> Finding | str:
  bound, floor = BOUNDS[program.dtype]
  wrong, worst = [], 0.0
  for name in exact:
    leaves = jax.tree.leaves(exact[name])
    if jax.tree.structure(found[name]) != jax.tree.structure(exact[name]):
      return Finding(f"another structure of {name}", str(found[name]))
    least = max((np.max(np.abs(b), initial=0) for b in leaves), default=0)
    least = floor * max(least, 1.0 if program.dtype == "float64" else 1e-2)
    paths = jax.tree_util.tree_leaves_with_path(found[name])
    for (path, a), b in zip(paths, leaves):
      a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
      if a.shape != b.shape:
        return Finding(f"another shape of {name}", f"{a.shape}, not {b.shape}")
      error = np.max(np.abs(a - b), initial=0) / max(
        np.max(np.abs(b), initial=0), least
      )
      if not error <= bound:
        where = name + jax.tree_util.keystr(path)
        wrong.append(f"{where} {list(b.shape)} by {100 * error:.2g} %")
        worst = max(worst, error)
  if not wrong:
    return "right"
  sort = wrong[0].split()[0].split("[")[0]
  where = program.mesh.split()[0] if program.mesh != "none" else "one device"
  if program.mesh in ("sharded", "replicated"):
    where = "mesh"
  kind = f"wrong {sort}, {program.backward}, {where}, {program.dtype}"
  return Finding(kind, "; ".join(wrong))


# Many of them.


def block(seed: int, number: int, size: int = BLOCK) -> list[Program]:
  """The programs of a block: the same for a seed and a number."""
  found: dict[str, Program] = {}
  with contextlib.suppress(hypothesis.errors.NoSuchExample):
    hypothesis.find(
      programs(),
      lambda program: found.update({repr(program): program}),  # looks for none
      settings=_settings(size),
      random=random.Random(f"{seed} {number}"),
    )
  return list(found.values())


def _settings(size: int) -> hypothesis.settings:
  return hypothesis.settings(
    max_examples=size,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
  )


def minimised(
  seed: int, number: int, program: Program, kind: str, compiled: bool, tries: int = 200
) -> Program:
  """The simplest program that hypothesis finds with the same kind of finding."""
  known: dict[str, bool] = {}
  own = repr(program)
  met = False

  def fails(candidate: Program) -> bool:
    nonlocal met
    name = repr(candidate)
    met = met or name == own
    if not met:
      return False  # on the way to the program itself
    if name not in known:
      if len(known) >= tries:
        return False
      verdict = check(candidate, compiled)
      known[name] = isinstance(verdict, Finding) and verdict.kind == kind
    return known[name]

  try:
    return hypothesis.find(
      programs(),
      fails,
      settings=_settings(BLOCK),
      random=random.Random(f"{seed} {number}"),
    )
  except (hypothesis.errors.NoSuchExample, hypothesis.errors.Flaky):
    return program


def features(program: Program) -> Iterator[str]:
  """The names of what stands in a program."""
  for field in Program._fields:
    if field not in ("cell", "number", "closed"):
      yield f"{field}={getattr(program, field)}"
  yield from (f"closed={kind}" for kind in program.closed)
  yield from _inside(program.cell)


def _inside(spec) -> Iterator[str]:
  name = type(spec).__name__
  if isinstance(spec, tuple) and hasattr(spec, "_fields"):
    if name == "Plain":
      yield f"registry={spec.name}{'' if spec.derivative else ' without derivative'}"
      return
    yield f"cell={name}"
    if name == "Own":
      for field in ("params", "project", "held", "start"):
        yield (
          f"{field} held={getattr(spec, field)}"
          if field == "params"
          else (f"{field}={getattr(spec, field)}")
        )
      yield from (f"leaf={kind}" for kind in spec.carry)
      yield from (f"weight={kind}" for kind in spec.weights)
      for e in (*spec.step, spec.output):
        yield from _operations(e)
      return
    if name == "Around":
      yield f"call={spec.call}"
    if name == "Wiring":
      yield from (f"wiring={f}" for f in spec._fields if getattr(spec, f))
    for value in spec:
      yield from _inside(value)
  elif isinstance(spec, tuple):
    for value in spec:
      yield from _inside(value)


def _operations(e) -> Iterator[str]:
  yield f"product={e[1]}" if e[0] == "product" else f"operation={e[0]}"
  yield from (f for part in e[1:] if isinstance(part, tuple) for f in _operations(part))


class Report(NamedTuple):
  """What a run of many programs found."""

  count: int
  verdicts: collections.Counter
  coverage: collections.Counter
  findings: dict[str, list[tuple[int, Program, str, bool]]]


def fuzz(
  count: int,
  seed: int,
  *,
  compiled: float = 0.1,
  wanted: Callable[[Program], bool] = lambda program: True,
  say: Callable[[str], None] | None = None,
  minutes: float = float("inf"),
) -> Report:
  """Checks the first `count` programs of a seed."""
  report = Report(0, collections.Counter(), collections.Counter(), {})
  begin = last = time.monotonic()
  done = 0
  for index, program in numbered(seed, count):
    if not wanted(program):
      continue
    compile_it = index % max(round(1 / compiled), 1) == 0 if compiled else False
    verdict = check(program, compile_it)
    done += 1
    report.coverage.update(set(features(program)))
    if isinstance(verdict, Finding):
      report.verdicts["finding"] += 1
      some = report.findings.setdefault(verdict.kind, [])
      some.append((index, program, verdict.details, compile_it))
    else:
      report.verdicts[verdict[:100]] += 1
    now = time.monotonic()
    if say and now - last > 30:
      last = now
      say(f"{done} programs, {now - begin:.0f} s, {dict(report.verdicts)}")
      sys.stdout.flush()
    if now - begin > 60 * minutes:
      break
    if done % 500 == 0:
      jax.clear_caches()
  return report._replace(count=done)


def numbered(seed: int, count: int) -> Iterator[tuple[int, Program]]:
  """The programs of a seed, each with its number."""
  for number in range(-(-count // BLOCK)):
    for i, program in enumerate(block(seed, number)):
      if number * BLOCK + i < count:
        yield number * BLOCK + i, program


def main() -> int:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--programs", type=int, default=20000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--program", type=int, help="check this one alone, and shrink it")
  parser.add_argument("--compiled", type=float, default=0.1, help="share compiled")
  parser.add_argument("--minutes", type=float, default=float("inf"))
  parser.add_argument("--only", help="a regular expression of features")
  parser.add_argument("--shrink", type=int, default=0, help="tries for each kind")
  args = parser.parse_args()
  jax.config.update("jax_num_cpu_devices", 2)
  jax.config.update("jax_numpy_rank_promotion", "raise")
  if args.program is not None:
    return _one(args)
  begin = time.monotonic()

  def wanted(program: Program) -> bool:
    return not args.only or any(re.search(args.only, f) for f in features(program))

  report = fuzz(
    args.programs,
    args.seed,
    compiled=args.compiled,
    wanted=wanted,
    say=print,
    minutes=args.minutes,
  )
  seconds = time.monotonic() - begin
  print(f"\n{report.count} programs of seed {args.seed} in {seconds:.0f} s")
  print("\ncoverage, programs that have it:")
  for feature, number in sorted(report.coverage.items()):
    print(f"  {number:6} {feature}")
  print("\nverdicts:")
  for verdict, number in report.verdicts.most_common():
    print(f"  {number:6} {verdict}")
  for kind, found in sorted(report.findings.items(), key=lambda item: -len(item[1])):
    print(f"\n{len(found)} × {kind}")
    index, program, details, compiled = min(found, key=lambda f: len(repr(f[1])))
    if args.shrink:
      program = minimised(
        args.seed, index // BLOCK, program, kind, compiled, args.shrink
      )
      verdict = check(program, compiled)
      details = verdict.details if isinstance(verdict, Finding) else details
    print(f"  --seed={args.seed} --program={index}\n  {program}\n  {details[:600]}")
  return 1 if report.findings else 0


def _one(args) -> int:
  number, i = divmod(args.program, BLOCK)
  program = block(args.seed, number)[i]
  compiled = args.program % max(round(1 / args.compiled), 1) == 0
  verdict = check(program, compiled)
  print(program, verdict, sep="\n")
  if isinstance(verdict, Finding):
    small = minimised(
      args.seed, number, program, verdict.kind, compiled, args.shrink or 200
    )
    print("simplest:", small, check(small, compiled), sep="\n")
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
