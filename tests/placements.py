"""Gradients of every cell, wherever its arrays lie: a program with two devices.

  python -m tests.placements LAW

It prints an object: for each case that is wrong, how. A process of its own, as the
number of devices is fixed once JAX has looked for them.
"""

import itertools
import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax import export
from jax.sharding import AxisType, NamedSharding, PartitionSpec

sys.path.insert(0, str(Path(__file__).parent))
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

import tables  # noqa: E402
from linear_rows import made  # noqa: E402
from tables import MASKS, reals, with_reals  # noqa: E402
from tables import B as ROWS  # noqa: E402

from unroll import readout, scan  # noqa: E402
from unroll.layers import bidirectional  # noqa: E402
from unroll.newton import named_evaluation  # noqa: E402
from unroll.placement import on_mesh  # noqa: E402
from unroll.types import Carry, Cell, Lookup, is_draw, seed  # noqa: E402

B = 4  # rows that two devices can share
CELLS = {
  **tables.CELLS,
  "dot": tables.USERS["dot"],
  "twice": tables.USERS["twice"],
  **{
    f"{name}, {evaluation}": made(name, evaluation=evaluation)
    for name, evaluation in (
      ("qrnn", "sequential"),
      ("lru", "chunked"),
      ("lru", "associative"),
      ("gated_delta", "chunked"),
    )
  },
  **{
    f"{name}, {evaluation}": tables.CELLS[name]._replace(
      newton=named_evaluation(evaluation)
    )
    for name, evaluation in (("rnn", "newton"), ("gru", "quasi_newton"))
  },
  # As every cell of a user: its backward pass is recorded.
  **{
    f"{name}, recorded": cell._replace(derivative=None)
    for name, cell in tables.CELLS.items()
    if cell.derivative
  },
}
WHOLE, SPREAD = PartitionSpec(), PartitionSpec(None, "batch")


def mesh(kind: AxisType) -> jax.sharding.Mesh:
  return jax.make_mesh((2,), ("batch",), axis_types=(kind,))


def shape(name: str) -> tuple[int, ...]:
  """That of an input of a cell."""
  return tables.SHAPES.get(name.split(",")[0], (tables.D,))


def inputs(name: str) -> np.ndarray:
  """`xs [T, B, …]`, different everywhere."""
  return tables.noise(3, tables.T, B, *shape(name))


def masks() -> dict[str, np.ndarray]:
  """Padding, holes and resets for B rows."""
  valid, reset = MASKS["holes_resets"]
  return {
    "valid": valid[:, np.arange(B) % ROWS],
    "reset": reset[:, np.arange(B) % ROWS],
  }


def start(cell: Cell, params, key: int | None = 5, rows: int = B) -> Carry:
  return seed(cell.carry(params, rows), None if key is None else jax.random.key(key))


def gradients(cell: Cell, backward: str, params, xs, masks, carry=None):
  """Gradients for parameters, inputs and, where it is given, the carry."""

  def loss(params, xs, real):
    # Made inside the loss, a carry says nothing of the mesh.
    own = start(cell, params) if carry is None else with_reals(carry, real)
    return tables.pairing(
      scan.unroll(cell, params, own, xs, **masks, backward=backward)
    )

  return jax.grad(loss, (0, 1, 2))(params, xs, [] if carry is None else reals(carry))


def everywhere(backward: str, everything):
  """`gradients` of all cells: one program."""
  return {
    name: gradients(CELLS[name], backward, *args) for name, args in everything.items()
  }


def given(dtype: str, placed: bool, masked: bool = True):
  """Parameters, inputs, masks or none and perhaps a carry for each cell."""
  found = {}
  for name, cell in CELLS.items():
    params = tables.parameters(cell)
    if dtype == "bfloat16":
      if name in tables.USERS:  # which promote by themselves: strict arithmetic forbids
        continue
      params = tables.halved(params)
    carry = (start(cell, params),) if placed else ()
    found[name] = (params, inputs(name), masks() if masked else {}, *carry)
  return found


def lying(everything, kind: AxisType, spec: PartitionSpec):
  """The same on a mesh: the batch spread or not, all else on each device."""
  place = partial(NamedSharding, mesh(kind))

  def put(args):
    params, xs, masks, *carry = args
    rows = PartitionSpec(*spec[1:])

    def row(leaf):
      return jax.tree.map(
        lambda one: jax.device_put(one, place(WHOLE if is_draw(leaf) else rows)), leaf
      )

    return (
      jax.device_put(params, place(WHOLE)),
      jax.device_put(xs, place(spec)),
      jax.device_put(masks, place(spec)),
      *(jax.tree.map(row, c, is_leaf=is_draw) for c in carry),
    )

  return {name: put(args) for name, args in everything.items()}


def wrong(found, exact, rtol: float) -> dict[str, str]:
  """The cells whose gradients differ, and by how much of the largest number."""
  bad = {}
  for name in exact:
    pairs = zip(jax.tree.leaves(found[name]), jax.tree.leaves(exact[name]), strict=True)
    for x, y in pairs:
      x, y = (np.asarray(a).astype(np.float64) for a in (x, y))
      off = np.max(np.abs(x - y), initial=0) / np.max(np.abs(y), initial=1e-3)
      if not off <= rtol:
        bad[name] = f"off by {off:.2%}"
  return bad


def on_meshes(dtype: str) -> dict[str, str]:
  """Fast gradients on meshes are those of autodiff on one device."""
  rtol = 1e-5 if dtype == "float32" else 0.03
  bad = {}
  # A mask tells a loop of the mesh, and a carry does; without both, it is not told.
  for placed, masked in ((False, False), (False, True), (True, False)):
    everything = given(dtype, placed, masked)
    exact = tables.quick(partial(everywhere, "autodiff"))(everything)
    for kind in (AxisType.Auto, AxisType.Explicit):
      for spec in (WHOLE, SPREAD):
        args = lying(everything, kind, spec)
        found = tables.quick(partial(everywhere, "fast"))(args)
        for name, how in wrong(found, exact, rtol).items():
          bad[f"{name}, {kind}, {spec}, {placed=}, {masked=}"] = how
  return bad


def autodiff_on_explicit_axes() -> dict[str, str]:
  """`backward="autodiff"` works on a mesh with explicit axes, too."""
  everything = given("float32", False)
  exact = tables.quick(partial(everywhere, "autodiff"))(everything)
  args = lying(everything, AxisType.Explicit, SPREAD)
  return wrong(tables.quick(partial(everywhere, "autodiff"))(args), exact, 1e-5)


def attending(memory, product) -> Cell:
  """A cell that closes over `memory [B, H]`, its state a product of the two alone."""
  plain = tables.user(product)

  def step(params, h, z):
    new, y = plain.step(params, h, z)
    return jax.numpy.tanh(memory @ params["h"]), y + new * memory

  return plain._replace(step=step)


def closing_over_arrays() -> dict[str, str]:
  """A step may read arrays, spread or not, of a mesh with explicit axes."""
  params = tables.parameters(tables.USERS["dot"])
  table, memory = tables.noise(4, 5, tables.D), tables.noise(7, B, tables.H)
  ids = np.random.default_rng(6).integers(0, 5, (tables.T, B)).astype(np.int32)
  where, bad = mesh(AxisType.Explicit), {}

  def loss(product, backward, params, memory, xs, masks):
    cell = attending(memory, tables.PRODUCTS[product])
    xs = Lookup(*xs) if isinstance(xs, tuple) else xs
    options = {**masks, "backward": backward}
    return tables.pairing(
      scan.unroll(cell, params, cell.carry(params, B), xs, **options)
    )

  def grads(steps, product, backward, *given):
    # JAX drops what is empty, and with it the mesh, unless that is set.
    with nullcontext() if steps else jax.set_mesh(where):
      taken = jax.grad(partial(loss, product, backward), (0, 1))
      return {"": tables.quick(taken)(*given)}

  for steps, looked_up, spread, product in itertools.product(
    (tables.T, 0), (False, True), (False, True), ("dot", "looped")
  ):
    xs = (table, ids[:steps]) if looked_up else inputs("dot")[:steps]
    # A mask would make every carry lie as the first does.
    some = {n: m[:steps] for n, m in masks().items()} if product == "dot" else {}
    given = params, memory, xs, some
    memory_spec = PartitionSpec("batch") if spread else WHOLE
    specs = WHOLE, memory_spec, (WHOLE, SPREAD) if looked_up else SPREAD, SPREAD
    args = [
      jax.device_put(arg, on_mesh(where, spec))
      for arg, spec in zip(given, specs, strict=True)
    ]
    exact = grads(steps, product, "autodiff", *given)
    for backward in ("fast", "autodiff"):
      for how in wrong(grads(steps, product, backward, *args), exact, 1e-5).values():
        bad[f"{backward}, {product}, {steps=}, {looked_up=}, {spread=}"] = how
  return bad


def scaled(row) -> Cell:
  """A cell that closes over `row [H]`."""
  plain = tables.USERS["twice"]

  def step(params, h, z):
    new, y = plain.step(params, h, z)
    return new * jax.numpy.broadcast_to(row, new.shape), y

  return plain._replace(step=step)


def in_a_shard_map() -> dict[str, str]:
  """With its check of what varies, gradients taken inside and out."""
  cells = {n: c for n, c in CELLS.items() if n not in ("dropout", "locked")}
  everything = {n: a[:3] for n, a in given("float32", False).items() if n in cells}
  # Which closes over an array that is the same on every device.
  cells["closed"] = lambda params: scaled(jax.numpy.sum(params["h"], axis=0))
  everything["closed"] = everything["twice"]
  in_specs = (WHOLE, SPREAD, SPREAD)
  bad = {}

  def loss(cell, backward, params, xs, masks):
    cell = cell if isinstance(cell, Cell) else cell(params)
    carry = start(cell, params, None, xs.shape[1])
    out = scan.unroll(cell, params, carry, xs, **masks, backward=backward)
    return sum(
      jax.numpy.sum(jax.numpy.sin(leaf * (i + 1.0)))
      for i, leaf in enumerate(reals(out))
    )

  def summed(cell, backward):
    return lambda *args: jax.lax.psum(loss(cell, backward, *args), "batch")

  def mapped(f, out):
    return jax.shard_map(f, mesh=mesh(AxisType.Auto), in_specs=in_specs, out_specs=out)

  @tables.quick
  def exact(everything):
    return {
      n: jax.grad(partial(loss, cells[n], "autodiff"))(*a)
      for n, a in everything.items()
    }

  for backward in ("fast", "autodiff"):

    @tables.quick
    def inside(everything, backward=backward):
      return {
        n: mapped(jax.grad(summed(cells[n], backward)), WHOLE)(*a)
        for n, a in everything.items()
      }

    @tables.quick
    def outside(everything, backward=backward):
      return {
        n: jax.grad(mapped(summed(cells[n], backward), WHOLE))(*a)
        for n, a in everything.items()
      }

    for where, run in {"inside": inside, "outside": outside}.items():
      for name, how in wrong(run(everything), exact(everything), 1e-5).items():
        bad[f"{name}, {backward}, {where}"] = how
  return bad


def exported() -> dict[str, str]:
  """Programs for any B, and any T and B: outputs and gradients."""
  everything = {n: a[:2] for n, a in given("float32", False).items()}
  bad = {}

  def run(everything):
    both = {}
    for name, (params, xs) in everything.items():
      cell = CELLS[name]

      def loss(params, xs, cell=cell):
        carry = seed(cell.carry(params, xs.shape[1]), None)
        _, ys = scan.unroll(cell, params, carry, xs)
        return jax.numpy.sum(jax.numpy.sin(ys))

      both[name] = jax.value_and_grad(loss, (0, 1))(params, xs)
    return both

  exact = tables.quick(run)(everything)
  for text in (f"{tables.T}, b", "t, b"):
    dims = export.symbolic_shape(text)

    def like(leaf):
      return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)

    args = {
      n: (jax.tree.map(like, p), jax.ShapeDtypeStruct((*dims, *shape(n)), xs.dtype))
      for n, (p, xs) in everything.items()
    }
    found = export.export(jax.jit(run))(args).call(everything)
    bad |= {f"{name}, {text}": how for name, how in wrong(found, exact, 1e-5).items()}
  return bad


def readouts() -> dict[str, str]:
  """The loss in slices, on meshes, in a `shard_map`, and exported."""
  readout.ROWS, readout.BYTES = 4, 64  # so that there are slices
  ys, kernel = tables.noise(1, tables.T, B, tables.H), tables.noise(2, tables.H, 7)
  bias, weight = tables.noise(3, 7), np.abs(tables.noise(4, tables.T, B))
  targets = np.random.default_rng(5).integers(0, 7, (tables.T, B)).astype(np.int32)
  given = (ys, kernel, bias, targets, weight)
  specs = (SPREAD, WHOLE, WHOLE, SPREAD, SPREAD)

  def loss(*given, backward="fast", over=()):
    sums = readout.cross_entropy(*given, backward=backward)
    if over:
      sums = jax.tree.map(lambda part: jax.lax.psum(part, over), sums)
    return sums.mean()

  def gradient(f):
    return tables.quick(jax.grad(f, (0, 1, 2)))

  exact = {"readout": gradient(partial(loss, backward="autodiff"))(*given)}
  found = {}
  for kind in (AxisType.Auto, AxisType.Explicit):
    place = partial(NamedSharding, mesh(kind))
    for name, lie in {"spread": specs, "whole": (WHOLE,) * 5}.items():
      args = (jax.device_put(x, place(spec)) for x, spec in zip(given, lie))
      found[f"{kind}, {name}"] = gradient(loss)(*args)
  mapped = jax.shard_map(
    partial(loss, over="batch"),
    mesh=mesh(AxisType.Auto),
    in_specs=specs,
    out_specs=WHOLE,
  )
  found["shard_map"] = gradient(mapped)(*given)
  steps, rows = export.symbolic_shape("t, b")
  shapes = [
    jax.ShapeDtypeStruct((steps, rows, *x.shape[2:]) if spec else x.shape, x.dtype)
    for x, spec in zip(given, specs)
  ]
  program = export.export(jax.jit(jax.grad(loss, (0, 1, 2))))(*shapes)
  found["export"] = program.call(*given)
  return {
    where: how
    for where, grads in found.items()
    for how in wrong({"readout": grads}, exact, 1e-5).values()
  }


def looked_up() -> dict[str, str]:
  """No gradient of a large table is added up by devices, nor made for each way."""
  rows, cell = 300, tables.CELLS["lstm"]
  layer = bidirectional(cell, cell)
  params = layer.init(jax.random.key(1))
  ids = np.random.default_rng(6).integers(0, rows, (tables.T, B)).astype(np.int32)
  given = (tables.noise(8, rows, tables.D), params, ids, masks()["valid"])

  def loss(backward, table, params, ids, valid):
    carry = layer.carry(params, B)
    options = {"valid": valid, "backward": backward}
    return tables.pairing(layer.unroll(params, carry, Lookup(table, ids), **options))

  exact = {"lookup": tables.quick(jax.grad(partial(loss, "autodiff"), (0, 1)))(*given)}
  specs, bad = (WHOLE, WHOLE, SPREAD, SPREAD), {}
  for kind in (AxisType.Auto, AxisType.Explicit):
    args = [
      jax.device_put(arg, on_mesh(mesh(kind), spec)) for arg, spec in zip(given, specs)
    ]
    program = jax.jit(jax.grad(partial(loss, "fast"), (0, 1)))
    for how in wrong({"lookup": program(*args)}, exact, 1e-5).values():
      bad[f"{kind}"] = how
    lines = program.lower(*args).compile().as_text().splitlines()
    made = [line for line in lines if f"f32[{rows},{tables.D}]" in line]
    if kind == AxisType.Auto and any("all-reduce(" in line for line in made):
      bad["added up"] = "an all-reduce of the table"
    if sum(" scatter(" in line for line in made) != 1:
      bad[f"{kind}, made"] = "not once"
  return bad


LAWS = {
  "lookup": looked_up,
  "readout": readouts,
  "meshes_float32": partial(on_meshes, "float32"),
  "meshes_bfloat16": partial(on_meshes, "bfloat16"),
  "explicit_autodiff": autodiff_on_explicit_axes,
  "explicit_closing": closing_over_arrays,
  "shard_map": in_a_shard_map,
  "export": exported,
}

if __name__ == "__main__":
  print(json.dumps(LAWS[sys.argv[1]]()))
