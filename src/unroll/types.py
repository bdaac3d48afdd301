"""The words everybody shares: the legend, Cell and its parts, Lookup, Draw, Sums.

Shapes: `T` time, `B` batch, `D` input features, `G` projected features (what
`project` makes of the input, e.g. 4H for an LSTM), `H` hidden units, `V`
vocabulary, `L` layers, `K` chunk length. Sequences are time-major `[T, B, D]`.
`valid [T, B]` is 1 at a real step; `reset [T, B]` is 1 where a sequence starts
afresh *before* that step. Carries and outputs are `[B, …]` of any rank: `[B, H]` of an
LSTM, `[B, height, width, channels]` of a ConvLSTM. Numbers are real: complex ones are
held as two arrays, their real and their imaginary parts. Losses are in nats.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import NamedSharding, PartitionSpec

from unroll.errors import BadInput as BadInput
from unroll.newton import Newton
from unroll.pairs import plus, times

Array = jax.Array
Key = jax.Array  # a typed PRNG key: jax.random.key(seed)
Params = Any  # a plain pytree of named arrays
Carry = Any  # the recurrent state: a NamedTuple of [B, …] arrays
Context = Any  # what is constant over time: any pytree of arrays
Better = Literal["lower", "higher"]  # which of two values of a measure is the better


@struct.dataclass
class Lookup:
  """A sequence `table[ids]`, not looked up yet: an embedding, or one-hot vectors.

  Attributes:
    table: `[V, D]`.
    ids: `[T, B]`, integers below V.
  """

  table: Array
  ids: Array

  @property
  def shape(self) -> tuple[int, ...]:
    """`(T, B, D)`, of the sequence."""
    return (*self.ids.shape, self.table.shape[-1])

  def __len__(self) -> int:
    return len(self.ids)

  def dense(self) -> Array:
    """The sequence itself, spread over devices as the ids are."""
    lies, ids = jax.typeof(self.ids).sharding, self.ids
    if lies.mesh.explicit_axes:
      out = NamedSharding(lies.mesh, PartitionSpec(*lies.spec, None))
      return self.table.at[ids].get(mode="fill", out_sharding=out)
    known = isinstance(ids.size, int)  # or it is symbolic (`jax.export`)
    if lies.mesh.size < 2 or lies.mesh.manual_axes or not known:
      return jnp.take(self.table, ids, axis=0)
    if ids.size >= len(self.table):
      return jnp.take(self.table, ids, axis=0)
    return _taken(self.table, ids)


@jax.custom_jvp
def _taken(table: Array, ids: Array) -> Array:
  """`table [V, D]` at `ids [T, B]`, fewer than V and spread over devices.

  Devices that had a part of the cotangent each would have to add up gradients of the
  whole table. The cotangent is less: each of them gathers all of it.
  """
  return jnp.take(table, ids, axis=0)


@_taken.defjvp
def _taken_jvp(primals, tangents):
  (table, ids), (tangent, _) = primals, tangents
  whole = NamedSharding(jax.typeof(ids).sharding.mesh, PartitionSpec())
  # Behind the barrier they are others than those of the lookup itself, which stay.
  gathered = jax.lax.with_sharding_constraint(jax.lax.optimization_barrier(ids), whole)
  change = jnp.take(tangent, gathered, axis=0)
  return _taken(table, ids), jax.lax.with_sharding_constraint(change, whole)


class Derivative(NamedTuple):
  """A step's backward pass by hand, of a cell that reads no context.

  Its `project` takes every input by itself.

  `scan.unroll` needs none: it differentiates any step, exactly. This one is faster,
  because it says what to keep, and what may be overwritten: `saved[0]` takes the
  place of the projected input in memory, and the gradients that of `saved`.

  Attributes:
    forward: `(params, carry, z [B, …]) -> (carry, y [B, …], saved)`: the step, and what
      its backward pass needs beside both carries: a tuple, its first of z's shape. An
      output that is an array of the carry (`return carry, carry.h, saved`) is not
      stored a second time.
    backward: `(transposed, saved, before, after, d_after, d_y) -> (d_before, d_saved)`:
      from the gradients of the carry after the step and of its output to that of the
      carry before, and gradients in the shapes of `saved`, of which the first is that
      of z. `transposed` are the parameters, their matrices transposed.
    weights: `(params, before, d_saved) -> d_params`, what reached the parameters
      through the steps, all of them at once: `[T, B, ...]`.
  """

  forward: Callable[[Params, Carry, Array], tuple[Carry, Array, tuple[Array, ...]]]
  backward: Callable[..., tuple[Carry, tuple[Array, ...]]]
  weights: Callable[[Params, Carry, tuple[Array, ...]], Params]

  def step(self, params: Params, carry: Carry, z: Array) -> tuple[Carry, Array]:
    """The cell's step: `forward`, without what only a gradient needs."""
    carry, y, _ = self.forward(params, carry, z)
    return carry, y


Evaluation = Literal["auto", "sequential", "chunked", "associative"]


class Linear(NamedTuple):
  """A step that is linear in the carry: `s_t = a_t ⊙ s_{t-1} + b_t`, a and b of z.

  `scan.unroll` then needs no loop of steps: it takes a, b and the outputs of all steps
  at once, and may run the recurrence in parallel. The functions therefore work on z
  `[B, …]` of a step, and on `[T, B, …]` of many.

  Attributes:
    terms: for each field of the carry, in their order, `(params, before, z) -> (a, b)`.
      `before` are the fields ahead of it as they were before the step. A field is an
      array or a `Pair`; so are b, of its shape, and a, of fewer axes if it is the same
      at every step.
    read: `(params, before, after, z) -> y`, of the carries around the step.
    evaluation: how the recurrence runs: "sequential" is a loop of T steps; "chunked"
      runs about √T chunks side by side, twice; "associative" is a tree of 2 log₂ T
      levels over the whole sequence. "auto": by size and device.
  """

  terms: tuple[Callable[[Params, tuple, Array], tuple[Any, Any]], ...]
  read: Callable[[Params, Any, Any, Array], Array]
  evaluation: Evaluation = "auto"

  def step(self, params: Params, carry: Any, z: Array) -> tuple[Any, Array]:
    """The cell's step; the carry is a NamedTuple."""
    fields = []
    for number, (field, terms) in enumerate(zip(carry, self.terms, strict=True)):
      a, b = terms(params, carry[:number], z)
      a = jax.tree.map(lambda a, b: jnp.broadcast_to(a, b.shape), a, b)
      fields.append(plus(times(a, field), b))
    after = type(carry)(*fields)
    return after, self.read(params, carry, after, z)


class Chunk(NamedTuple):
  """Many steps of a cell at once: where gates read no state, by products of matrices.

  Attributes:
    steps: `(params, carry, initial, zs [K, B, …], valid, reset) -> (carry, ys)`: what
      `step` gives K times under these masks, each `[K, B]` or None; `initial` is what
      a reset makes of the carry. Where not valid, ys may be any finite numbers.
    size: K; the last chunk is filled up with steps that are not valid.
    evaluation: "sequential" is a loop of single steps; "auto": by size and device.
  """

  steps: Callable[..., tuple[Carry, Array]]
  size: int = 32
  evaluation: Literal["auto", "sequential", "chunked"] = "auto"


class Cell(NamedTuple):
  """A recurrent cell: four pure functions over plain pytrees.

  Attributes:
    init: `key -> params`, a NamedTuple of named arrays. Those of two or more axes are
      matrices: in half precision they are narrower than what they multiply, so a step
      multiplies by `x @ w`, `linear.einsum` or `linear.convolution`. Other uses are
      declared by `parameters.Elementwise` and `parameters.Frozen`.
    carry: `(params, batch size) -> carry`, the initial recurrent state `[B, …]`.
    project: `(params, xs [T, B, …]) -> zs [T, B, …]`: the products that do not depend
      on the carry, for every step at once. Add biases in `step`, where XLA fuses the
      addition. If a cell combines x with the carry before any product, return xs.
    step: `(params, carry, z [B, …]) -> (carry, y [B, …])`: one step in time; with
      `context`, `(params, carry, z, context) -> (carry, y)`.
    derivative: the step's backward pass by hand, where there is one.
    context: whether the step reads what is constant over time, as the memory that a
      decoder attends to: a pytree of arrays, which `scan.unroll` is given.
    linear: the step, where it is linear in the carry: `step` is then `linear.step`.
    prepare: `params -> params`, what is made of them once a sequence, as an orthogonal
      matrix of a skew one: `project`, `step`, `derivative` and `linear` get these,
      `carry` gets either.
    newton: how all steps of a nonlinear cell are found at once; None: one by one.
  """

  init: Callable[[Key], Params]
  carry: Callable[[Params, int], Carry]
  project: Callable[[Params, Array], Array]
  step: Callable[..., tuple[Carry, Array]]
  derivative: Derivative | None = None
  context: bool = False
  linear: Linear | None = None
  prepare: Callable[[Params], Params] = lambda params: params
  chunk: Chunk | None = None
  newton: Newton | None = None


class Sums(NamedTuple):
  """A quantity summed over what counts, and how much counted: both float32.

  They are scalars, or arrays of one shape, such as `[K]` for the error at each of K
  forecast steps. Sums of parts add up to the sum of the whole, however it was cut.
  """

  total: Array
  count: Array  # type: ignore[assignment]

  def __add__(self, other: "Sums") -> "Sums":  # type: ignore[override]
    return Sums(self.total + other.total, self.count + other.count)

  def mean(self) -> Array:
    """total / count; 0 where nothing counted."""
    return self.total / jnp.maximum(self.count, 1)

  @classmethod
  def zero(cls) -> "Sums":
    """Nothing counted yet."""
    return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))


def added(a: Mapping[str, Sums], b: Mapping[str, Sums]) -> dict[str, Sums]:
  """Adds sums name by name; a name that only one of them has is taken as it is."""
  return {**a, **{n: a[n] + part if n in a else part for n, part in b.items()}}


class Draw(NamedTuple):
  """The randomness of a cell that draws (dropout, zoneout), kept in its carry.

  It belongs to the whole batch: resets and invalid steps leave it alone.

  Attributes:
    key: the PRNG key of this unroll; `None` makes the cell deterministic.
    t: steps taken since the key was given, int32 scalar. Masks are a function of
      `(key, t)`, so they are the same drawn step by step or for all T at once.
  """

  key: Key | None
  t: Array


def is_draw(node: Any) -> bool:
  """Whether a node of a carry is a Draw: the `is_leaf` of maps that treat it apart."""
  return isinstance(node, Draw)


class Noted(NamedTuple):
  """What a carry notes of its inputs, `[B, …]`, as the time: no state of a unit.

  It is held and starts afresh as a state is, but zoneout leaves it alone.
  """

  value: Array


def seed(carry: Carry, key: Key | None) -> Carry:
  """Gives every `Draw` in a carry a key of its own; `None` takes the keys out.

  Args:
    carry: any carry.
    key: a PRNG key, consumed; or None for a deterministic carry.

  Returns:
    The carry with its draws at `t = 0`; the same structure for every key.
  """
  leaves, treedef = jax.tree.flatten(carry, is_leaf=is_draw)
  for i, leaf in enumerate(leaves):
    if is_draw(leaf):
      own = None if key is None else jax.random.fold_in(key, i)
      leaves[i] = Draw(own, jnp.zeros((), jnp.int32))
  return jax.tree.unflatten(treedef, leaves)


def afresh(initial: Carry, carry: Carry) -> Carry:
  """The initial carry, with the draws of another."""
  return jax.tree.map(
    lambda i, c: c if is_draw(i) else i, initial, carry, is_leaf=is_draw
  )


def keyed(carry: Carry, own: Carry) -> Carry:
  """A carry with the keys of its draws replaced by those of another, None included."""
  return jax.tree.map(
    lambda mine, other: mine._replace(key=other.key) if is_draw(mine) else mine,
    carry,
    own,
    is_leaf=is_draw,
  )


def lend(carry: Carry, key: Key) -> Carry:
  """A carry whose draws without a key have one each; they go on counting steps."""
  return jax.tree.map(
    lambda mine, new: (
      mine if not is_draw(mine) or mine.key is not None else mine._replace(key=new.key)
    ),
    carry,
    seed(carry, key),
    is_leaf=is_draw,
  )


def needs_key(run: Callable[[Carry], Any], carry: Carry) -> bool:
  """Whether a function of a carry draws, and the carry has not every key for it."""
  nodes = jax.tree.leaves(carry, is_leaf=is_draw)
  lacks = any(node.key is None for node in nodes if is_draw(node))
  return lacks and draws(run, seed(carry, jax.random.key(0)))


def draws(run: Callable[..., Any], *args: Any) -> bool:
  """Whether a function draws random numbers; it is traced, not run."""
  program = str(jax.make_jaxpr(run)(*args))
  return "random_bits" in program or "random_gamma" in program
