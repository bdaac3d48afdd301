"""Rematerialisation: a sequence in segments, recomputed for the backward pass.

Backpropagation keeps what every step computed. Here a segment keeps the carry that it
starts from, and is run again when the gradient comes by: with segments of √T steps
O(√T) is kept, with segments within segments O(log T) (Chen et al. 2016, "Training
deep nets with sublinear memory cost"; Gruslys et al. 2016, "Memory-efficient
backpropagation through time"). Gradients are the same but for the order of sums.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll import specs
from unroll.types import BadInput, Carry

# Segments within each of `recursive()`: a third of the passes that halving takes, for
# 4/3 of its carries.
MOST = 8
# The least rows (steps times B) of a segment, about, unless the plan fixes its length:
# a segment transposes its weights and adds up their gradients, which costs as much as
# some hundred rows.
ROWS = 512
# Of `recursive:DEPTH`: 2^32 steps have been cut into single ones by then.
DEEPEST = 32


class Plan(NamedTuple):
  """How a sequence is cut into segments.

  Attributes:
    name: the spec that `named_plan` reads.
    lengths: `(T, B) -> lengths` of segments, of segments within those, and so on; a
      last one may be shorter. None are given where everything is kept.
  """

  name: str
  lengths: Callable[[int, int], tuple[int, ...]]


# Everything is kept, nothing computed twice.
NONE = Plan("none", lambda length, batch: ())


def every(k: int) -> Plan:
  """Segments of `k` steps: O(T/k) carries and one segment; one forward pass more.

  Raises:
    ValueError: if k is below 1.
  """
  if k < 1:
    raise ValueError(f"every(k={k}): must be at least 1")
  return Plan(f"every:{k}", lambda length, batch: (k,))


def sqrt() -> Plan:
  """Segments of about √T steps, or `ROWS`/B if more: O(√T), one forward pass more."""
  return Plan("sqrt", lambda length, batch: _evenly(length, 1, ROWS / batch))


def recursive(depth: int | None = None) -> Plan:
  """Segments within segments: O(T^(1/(depth + 1))) for `depth` forward passes more.

  Args:
    depth: how often segments are cut, at least 1; None: until about 8 go into each,
      which is O(log T) of both, and no further than to `ROWS`/B steps.

  Raises:
    ValueError: if depth is below 1.
  """
  if depth is not None and depth < 1:
    raise ValueError(f"recursive(depth={depth}): must be at least 1")
  if depth is not None:
    return Plan(f"recursive:{depth}", lambda length, batch: _evenly(length, depth))
  return Plan(
    "recursive",
    lambda length, batch: _evenly(length, deepest(length), ROWS / batch),
  )


def _evenly(length: int, depth: int, least: float = 0) -> tuple[int, ...]:
  """The lengths of `depth` cuts into equally many parts, none far below `least`."""
  lengths = [length]
  for cuts in range(depth, 0, -1):
    if least > lengths[-1] / 2:
      break
    ideal = max(lengths[-1] ** (cuts / (cuts + 1)), least)
    lengths.append(_near(lengths[-1], ideal))
  return tuple(lengths[1:])


def deepest(length: int) -> int:
  """The depth of `recursive()` for a sequence of `length` steps."""
  depth = 0
  while MOST ** (depth + 1) < length:
    depth += 1
  return depth


def _near(length: int, ideal: float) -> int:
  """A divisor of `length` close to the ideal, so that all segments have one length."""
  divisors = [
    k for k in range(math.ceil(ideal / 2), int(2 * ideal) + 1) if length % k == 0
  ]
  # A power of two can at least be cut again without a rest.
  nearest = 2 ** round(math.log2(ideal))
  return min(divisors, key=lambda k: abs(math.log(k / ideal)), default=nearest)


def named_plan(spec: str) -> Plan:
  """Reads `none`, `sqrt`, `every:K`, `recursive` or `recursive:DEPTH`.

  Raises:
    BadInput: for anything else, or a number below 1.
  """
  match specs.split(spec, int):
    case "none", ():
      return NONE
    case "sqrt", ():
      return sqrt()
    case "every", (length,) if length >= 1:
      return every(length)
    case "recursive", ():
      return recursive()
    case "recursive", (depth,) if 1 <= depth <= DEEPEST:
      return recursive(depth)
  raise BadInput(
    f"remat={spec}: choose none, sqrt, every:K with a length of at least 1, "
    f"recursive or recursive:DEPTH with a depth from 1 to {DEEPEST}, or auto"
  )


def segmented(
  run: Callable[[Carry, Any], tuple[Carry, Any]],
  carry: Carry,
  inputs: Any,
  plan: Plan,
  *,
  reverse: bool = False,
) -> tuple[Carry, Any]:
  """`run(carry, inputs)`, segment by segment, keeping only the carries between them.

  Args:
    run: `(carry, inputs [T, ...]) -> (carry, outputs [T, ...])`, equal to itself over
      the parts of a sequence in turn. It may close over parameters.
    carry: what it starts from; a sum over steps belongs in it.
    inputs: a pytree of arrays `[T, B, ...]`, kept as they are.
    plan: how they are cut.
    reverse: whether `run` goes from the last step to the first.

  Returns:
    The carry after all steps, and the outputs in the order of the inputs.
  """
  length, *batch = jax.tree.leaves(inputs)[0].shape
  lengths = plan.lengths(length, batch[0] if batch else 1)
  return _nested(run, carry, inputs, lengths, reverse)


def _nested(run, carry, inputs, lengths, reverse):
  if lengths:  # or T may be symbolic (`jax.export`)
    total = len(jax.tree.leaves(inputs)[0])
    lengths = [k for k in lengths if k < total]
  if not lengths:
    return run(carry, inputs)
  k, *inner = lengths

  def segment(carry, inputs):
    return _nested(run, carry, inputs, inner, reverse)

  # What k leaves over is run last, which in reverse is first in time.
  cut = total % k if reverse else total - total % k
  before, after = _cut(inputs, cut)
  many, rest = (after, before) if reverse else (before, after)
  many = jax.tree.map(lambda leaf: leaf.reshape(-1, k, *leaf.shape[1:]), many)
  # Inside a loop XLA cannot merge the second computation with the first.
  recomputed = jax.checkpoint(segment, prevent_cse=False)
  carry, outputs = jax.lax.scan(recomputed, carry, many, reverse=reverse)
  outputs = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), outputs)
  if total % k:
    carry, last = jax.checkpoint(segment)(carry, rest)
    both = (last, outputs) if reverse else (outputs, last)
    outputs = jax.tree.map(lambda *parts: jnp.concatenate(parts), *both)
  return carry, outputs


def _cut(tree, step):
  """The steps before `step`, and those from it on."""
  return (
    jax.tree.map(lambda leaf: leaf[:step], tree),
    jax.tree.map(lambda leaf: leaf[step:], tree),
  )
