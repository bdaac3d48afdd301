"""A conditional random field over the labels of a sequence (Lafferty et al. 2001).

Label paths are scored by emissions `[T, B, N]` at each step and transitions
`[N + 1, N + 1]` from label to label; number N stands for what is before the first step
and after the last, so that row N scores the first label and column N the last. The
recursions over time are cells, for `scan.unroll`: what is not valid is passed over,
wherever it stands, and an empty sequence has one path, of score 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll import scan
from unroll.types import Array, Cell

# Finite, so that no gradient is NaN where every path to a label is forbidden; a path
# that is allowed outweighs it as long as scores stay below 10^8.
FORBIDDEN = -1e9


class Path(NamedTuple):
  """The best paths: labels int32 `[T, B]`, 0 where not valid; their scores `[B]`."""

  labels: Array
  score: Array


class _Scores(NamedTuple):
  """Of each label at the last valid step, and of number N: `[B, N + 1]`."""

  paths: Array


class _Label(NamedTuple):
  """The label of a later step, as a floating number `[B]`."""

  label: Array


def constrained(transitions: Array, allowed: Array) -> Array:
  """Transitions with `FORBIDDEN` for those that are not allowed.

  Args:
    transitions: `[N + 1, N + 1]`.
    allowed: bool, the same shape.
  """
  return jnp.where(allowed, transitions, FORBIDDEN)


def log_likelihood(
  transitions: Array,
  emissions: Array,
  labels: Array,
  valid: Array | None = None,
  backward: scan.Backward = "fast",
) -> Array:
  """log p(labels) of each sequence, `[B]`, in nats.

  Args:
    transitions: `[N + 1, N + 1]`.
    emissions: `[T, B, N]`; what stands where not valid, be it NaN, counts for nothing.
    labels: integers below N, `[T, B]`; any where not valid.
    valid: bool `[T, B]`, true at real steps; holes are fine. None: all are.
    backward: "autodiff" for forward mode, see `scan.unroll`.
  """
  scores = path_score(transitions, emissions, labels, valid)
  return scores - log_partition(transitions, emissions, valid, backward)


def path_score(
  transitions: Array, emissions: Array, labels: Array, valid: Array | None = None
) -> Array:
  """The score of one path of each sequence, `[B]`; arguments as `log_likelihood`."""
  count = emissions.shape[-1]
  (transitions, emissions), labels = _wide(transitions, emissions), jnp.asarray(labels)
  valid = jnp.ones(labels.shape, bool) if valid is None else valid.astype(bool)
  chosen = jnp.take_along_axis(emissions, labels[..., None], axis=-1)[..., 0]
  steps = jnp.where(valid, jnp.arange(len(labels))[:, None], -1)
  last = jax.lax.cummax(steps, axis=0)  # the last valid step up to each
  before = jnp.concatenate([jnp.full_like(last[:1], -1), last[:-1]])
  earlier = jnp.take_along_axis(labels, jnp.maximum(before, 0), axis=0)
  earlier = jnp.where(before < 0, count, earlier)
  final = jnp.take_along_axis(labels, jnp.maximum(last[-1:], 0), axis=0)[0]
  final = jnp.where(last[-1] < 0, count, final)
  end = jnp.where(final == count, 0, transitions[final, count])
  moves = transitions[earlier, labels]
  return jnp.sum(jnp.where(valid, chosen + moves, 0), axis=0) + end


def log_partition(
  transitions: Array,
  emissions: Array,
  valid: Array | None = None,
  backward: scan.Backward = "fast",
) -> Array:
  """The log of the summed exp(score) of all paths, `[B]`: the forward algorithm.

  Arguments as `log_likelihood`.
  """

  def step(params, carry: _Scores, emission: Array, moves: Array):
    paths = carry.paths[..., None] + moves[..., :-1]
    return _scores(jax.nn.logsumexp(paths, axis=1) + emission), emission[:, :0]

  transitions, emissions = _wide(transitions, emissions)
  scores, _ = _unrolled(step, transitions, emissions, valid, backward=backward)
  return jax.nn.logsumexp(scores.paths + _ends(transitions)[None], axis=-1)


def marginals(
  transitions: Array, emissions: Array, valid: Array | None = None
) -> Array:
  """p(label at step t) `[T, B, N]`, 0 where not valid: the forward-backward algorithm.

  It is the gradient of the log partition (Eisner 2016). Arguments as `log_likelihood`.
  """

  def total(emissions: Array) -> Array:
    return jnp.sum(log_partition(transitions, emissions, valid))

  return jax.grad(total)(emissions)


def viterbi(transitions: Array, emissions: Array, valid: Array | None = None) -> Path:
  """The path of the greatest score; of equal ones, the lowest label at the end.

  Arguments as `log_likelihood`.
  """

  def step(params, carry: _Scores, emission: Array, moves: Array):
    paths = carry.paths[..., None] + moves[..., :-1]
    best = jnp.argmax(paths, axis=1).astype(emission.dtype)
    return _scores(jnp.max(paths, axis=1) + emission), best

  transitions, emissions = _wide(transitions, emissions)
  scores, best = _unrolled(step, transitions, emissions, valid)
  ends = scores.paths + _ends(transitions)[None]
  final = jnp.argmax(ends[:, :-1], axis=-1).astype(best.dtype)

  def back(params, carry: _Label, earlier: Array):
    at = carry.label[:, None].astype(jnp.int32)
    label = jnp.take_along_axis(earlier, at, axis=1)[:, 0]
    return _Label(jnp.minimum(label, earlier.shape[-1] - 1)), carry.label

  cell = Cell(
    init=lambda key: (),
    carry=lambda params, batch: _Label(jnp.zeros((batch,), best.dtype)),
    project=lambda params, xs: xs,
    step=back,
  )
  _, labels = scan.unroll(cell, (), _Label(final), best, valid=valid, reverse=True)
  return Path(labels.astype(jnp.int32), jnp.max(ends, axis=-1))


def _unrolled(step, transitions: Array, emissions: Array, valid, **options):
  """The recursion of a step over a sequence.

  The transitions are a context with a batch axis, so that devices that share the batch
  add up their gradients once, and not at every step.
  """
  batch, size, dtype = emissions.shape[1], len(transitions), emissions.dtype
  if emissions.shape[-1] + 1 != size:
    raise ValueError(
      f"transitions {transitions.shape} do not fit emissions {emissions.shape}: of "
      f"{emissions.shape[-1]} labels they are [{emissions.shape[-1] + 1}, "
      f"{emissions.shape[-1] + 1}]"
    )
  start = jnp.append(jnp.full(size - 1, FORBIDDEN, dtype), jnp.zeros(1, dtype))
  start = jnp.broadcast_to(start, (batch, size))
  cell = Cell(
    init=lambda key: (),
    carry=lambda params, batch: _Scores(jnp.zeros((batch, size), dtype)),
    project=lambda params, xs: xs,
    step=step,
    context=True,
  )
  moves = jnp.broadcast_to(transitions, (batch, size, size))
  return scan.unroll(
    cell, (), _Scores(start), emissions, context=moves, valid=valid, **options
  )


def _wide(transitions: Array, emissions: Array) -> tuple[Array, Array]:
  """Both in one type, float32 or wider."""
  with jax.numpy_dtype_promotion("standard"):
    dtype = jnp.result_type(transitions, emissions, jnp.float32)
  return jnp.asarray(transitions, dtype), jnp.asarray(emissions, dtype)


def _scores(labels: Array) -> _Scores:
  """The scores `[B, N]` of all labels; nothing is back before the first step."""
  return _Scores(jnp.pad(labels, ((0, 0), (0, 1)), constant_values=FORBIDDEN))


def _ends(transitions: Array) -> Array:
  """What each label scores as the last one, `[N + 1]`; 0 where there is none."""
  return jnp.append(transitions[:-1, -1], 0)
