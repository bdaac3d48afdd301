"""Attention: what a recurrent cell reads of a memory at every step.

  sizes = Sizes(input=64, hidden=128, values=256, keys=128)
  cell = attending(cells.gru(64, 128), sizes)
  carry, ys = scan.unroll(cell, params, carry, xs, context=memory)

The weights of the places of a memory are a softmax of scores of a query, which is a
state of the cell:

- `additive`: v · tanh(q W + k) (Bahdanau, Cho & Bengio 2015; Luong et al. 2015 call it
  concat).
- `dot`: q · k, where keys are as wide as the query. Keys that are the values are
  Luong's dot; keys that are a product of them, his general.
- `scaled_dot`: the same over the root of its width (Vaswani et al. 2017).
- `mean`: every place alike. Of a memory with one place, as the last state of an
  encoder, that is a context at every step (Cho et al. 2014).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll import start
from unroll.linear import add_bias
from unroll.types import Array, BadInput, Carry, Cell, Key, Params

SCORES = ("additive", "dot", "scaled_dot", "mean")


class Memory(NamedTuple):
  """What is read: S places.

  Attributes:
    values: `[B, S, M]`, finite at every place.
    keys: `[B, S, A]`, what queries are compared with.
    valid: bool `[B, S]`, the places that there are.
  """

  values: Array
  keys: Array
  valid: Array


class Sizes(NamedTuple):
  """The widths around an attending cell.

  Attributes:
    input: D, of the cell's input.
    hidden: H, of the cell's output.
    values: M, of the memory.
    keys: A, of the memory's keys.
  """

  input: int
  hidden: int
  values: int
  keys: int


class AttendingParams(NamedTuple):
  """Parameters of an attending cell; None where the form has no use for them."""

  cell: Params
  query: Any  # [H, A]
  score: Any  # [A]
  covered: Any  # [A], what coverage adds to the keys
  centre: Any  # [H, A], local attention: where to look
  place: Any  # [A]
  read: Any  # [M or H, G], beside the cell's projected input
  output: Array  # [H + M, H]
  bias: Array  # [H]


class AttendingCarry(NamedTuple):
  """The state of an attending cell.

  Attributes:
    cell: the cell's own carry.
    last: `[B, H]`: the cell's output of the step before, or, where it looks after its
      step, that of the attending cell.
    coverage: `[B, places]`, the weights that each place had so far; no columns where
      nothing reads it.
  """

  cell: Carry
  last: Array
  coverage: Array


@dataclass(frozen=True)
class Form:
  """How a cell attends.

  Attributes:
    score: one of `SCORES`.
    look: "before": with the state before the step, and the cell reads what was found
      (Bahdanau et al. 2015). "after": with its output of the step (Luong et al. 2015).
    feeding: looking after, the cell reads at the next step what it gave out (input
      feeding, Luong et al. 2015).
    window: D of local attention (Luong et al. 2015): the query says which place to look
      at, and no place more than D away counts. 0: none.
    coverage: the places of the largest memory, whose scores know how much each was read
      so far (Tu et al. 2016; See, Liu & Manning 2017). 0: they do not.
  """

  score: str = "additive"
  look: str = "before"
  feeding: bool = False
  window: int = 0
  coverage: int = 0

  def check(self) -> "Form":
    """Returns itself. Raises BadInput for a form that there is not."""
    if self.score not in SCORES:
      raise BadInput(f"attention={self.score}: choose one of {', '.join(SCORES)}")
    if self.look not in ("before", "after"):
      raise BadInput(f"look={self.look}: choose before or after")
    if self.feeding and self.look == "before":
      raise BadInput(
        "`feeding` with look=before: the cell reads what it finds as it is: drop it, "
        "or give look=after"
      )
    if self.coverage and self.score != "additive":
      raise BadInput(
        f"`coverage` is added to keys, and attention={self.score} adds none"
      )
    if self.score == "mean" and self.window:
      raise BadInput(f"window={self.window} needs scores, and attention=mean has none")
    return self


def attending(
  cell: Cell, sizes: Sizes, form: Form = Form(), *, weights: bool = False
) -> Cell:
  """A cell that reads a memory, `context=Memory(…)`, at every step.

  Its output is tanh([y, r] W + b), of the cell's output y and of what was read r: the
  attentional state of Luong et al. (2015).

  Args:
    cell: the cell, which may be `compose.deep`. What it reads is added to its projected
      input by a matrix of its own; of a cell whose projection is a product that is the
      cell with both side by side as its input.
    sizes: around it.
    form: how it attends.
    weights: the weights of the places stand behind the output: `[B, H + S]`.

  Raises:
    BadInput: there is no such form.
  """
  form = form.check()
  additive = form.score == "additive"
  if form.score.endswith("dot") and sizes.keys != sizes.hidden:
    raise BadInput(
      f"attention={form.score} compares keys of width {sizes.keys} with states of "
      f"width {sizes.hidden}: make keys as wide, by a product"
    )

  def init(key: Key) -> AttendingParams:
    keys = jax.random.split(key, 8)
    own = cell.init(keys[0])
    hidden, wide = sizes.hidden, sizes.keys
    one = jax.ShapeDtypeStruct((1, 1, sizes.input), jnp.float32)
    shapes = jax.eval_shape(lambda own, x: cell.project(cell.prepare(own), x), own, one)
    fed = sizes.values if form.look == "before" else hidden
    reads = form.look == "before" or form.feeding
    drawn = lambda n, *shape: start.glorot(keys[n], shape, jnp.float32)  # noqa: E731
    vector = lambda n: start.uniform(keys[n], (wide,))  # noqa: E731
    return AttendingParams(
      cell=own,
      query=drawn(1, hidden, wide) if additive else None,
      score=vector(2) if additive else None,
      covered=jnp.zeros(wide, jnp.float32) if form.coverage else None,
      centre=drawn(3, hidden, wide) if form.window else None,
      place=vector(4) if form.window else None,
      read=drawn(5, fed, math.prod(shapes.shape[2:])) if reads else None,
      output=drawn(6, hidden + sizes.values, hidden),
      bias=jnp.zeros(hidden, jnp.float32),
    )

  def carry(params: AttendingParams, batch: int) -> AttendingCarry:
    like = params.bias.dtype
    return AttendingCarry(
      cell.carry(params.cell, batch),
      jnp.zeros((batch, sizes.hidden), like),
      jnp.zeros((batch, form.coverage), like),
    )

  def step(params: AttendingParams, carry: AttendingCarry, z: Array, memory: Memory):
    def look(query: Array) -> tuple[Array, Array]:
      return attend(form, params, query, memory, carry.coverage)

    if form.look == "before":
      read, found = look(carry.last)
      z = z + (read @ params.read).reshape(z.shape)
      inner, y = cell.step(params.cell, carry.cell, z)
    else:
      if form.feeding:
        z = z + (carry.last @ params.read).reshape(z.shape)
      inner, y = cell.step(params.cell, carry.cell, z)
      read, found = look(y)
    both = jnp.concatenate([y, read], axis=-1)
    out = jnp.tanh(add_bias(both @ params.output, params.bias))
    coverage = carry.coverage
    if form.coverage:
      rest = coverage.shape[1] - found.shape[1]
      coverage = coverage + jnp.pad(found, [(0, 0), (0, rest)])
    last = y if form.look == "before" else out
    shown = jnp.concatenate([out, found], axis=-1) if weights else out
    return AttendingCarry(inner, last, coverage), shown

  return Cell(
    init,
    carry,
    lambda params, xs: cell.project(params.cell, xs),
    step,
    context=True,
    prepare=lambda params: params._replace(cell=cell.prepare(params.cell)),
  )


def attend(
  form: Form, params: Any, query: Array, memory: Memory, coverage: Array
) -> tuple[Array, Array]:
  """Reads a memory once.

  Args:
    form: how.
    params: `AttendingParams`.
    query: `[B, H]`.
    memory: of S places.
    coverage: `[B, S or more]`, for a form that reads it.

  Returns:
    What was read, `[B, M]`, and the weights of the places, `[B, S]`. They add up to 1,
    or less in local attention; where there is no place both are 0.
  """
  values, keys, valid = memory
  if form.score == "mean":
    scores = jnp.zeros(valid.shape, values.dtype)
  elif form.score == "additive":
    hidden = keys + (query @ params.query)[:, None]
    if form.coverage:
      more = coverage[:, : keys.shape[1], None] * params.covered[None, None]
      hidden = hidden + more
    scores = jnp.tanh(hidden) @ params.score
  else:
    scores = jnp.sum(keys * query[:, None], axis=-1)
    if form.score == "scaled_dot":
      scores = scores / math.sqrt(keys.shape[-1])
  if form.window:
    near, nearness = _near(form.window, params, query, valid)
    weights = softmax(scores, valid & near) * nearness
  else:
    weights = softmax(scores, valid)
  return jnp.sum(weights[..., None] * values, axis=1), weights


def softmax(scores: Array, valid: Array) -> Array:
  """Softmax over the last axis of what is valid; 0 elsewhere, be it of nothing."""
  top = jnp.max(jnp.where(valid, scores, -jnp.inf), axis=-1, keepdims=True)
  top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))
  # Scores that do not count are made equal to the largest ahead of exp, which they
  # could make infinite, and its gradient NaN.
  share = jnp.where(valid, jnp.exp(jnp.where(valid, scores - top, 0)), 0)
  total = jnp.sum(share, axis=-1, keepdims=True)
  return share / jnp.where(total > 0, total, 1)


def _near(window: int, params: Any, query: Array, valid: Array):
  """The places within the window, and how near each is to the middle.

  The middle is S sigmoid(v · tanh(q W)), S the valid places (local-p); nearness is a
  Gaussian with a deviation of half the window.
  """
  length = jnp.sum(valid, axis=-1).astype(query.dtype)
  middle = length * jax.nn.sigmoid(jnp.tanh(query @ params.centre) @ params.place)
  places = jnp.arange(valid.shape[1], dtype=query.dtype)
  distance = places[None] - middle[:, None]
  nearness = jnp.exp(-2 * jnp.square(distance / window))
  return jnp.abs(distance) <= window, nearness
