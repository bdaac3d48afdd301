"""Beam search: the likeliest continuations of B sentences in one compiled loop.

A sentence has K hypotheses side by side, rows `b * K … b * K + K - 1` of one batch.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from unroll.generate import permitted, placed
from unroll.largest import largest
from unroll.types import Array, BadInput, Carry, Context, Params, is_draw

# (params, context, carry, tokens [R]) -> (carry, logits [R, V], weights [R, S] | None),
# a step of R = B * K rows; the weights are how much each read of S places.
Step = Callable[..., tuple[Carry, Array, Array | None]]

# A source place that was never read counts as read by so much: its log is finite.
UNREAD = 1e-10


@struct.dataclass
class Found:
  """The hypotheses that `search` found, those of the highest score first.

  A sentence may have fewer than were asked for, as of two tokens there are few strings:
  what is missing has no tokens, and -inf as log-probability and score.

  Attributes:
    tokens: `[best, B, length]` int32; past its count a hypothesis is filled with stop.
    count: `[best, B]` int32, tokens of each; the stop token, if it came, is the last.
    log_prob: `[best, B]` float32, the sum of the tokens' log-probabilities, in nats.
    score: `[best, B]` float32, what they are ranked by.
  """

  tokens: Array
  count: Array
  log_prob: Array
  score: Array


def search(
  step: Step,
  params: Params,
  context: Context,
  carry: Carry,
  first: Array | np.ndarray,
  *,
  beams: int,
  length: int,
  stop: int,
  length_penalty: float = 0.0,
  coverage_penalty: float = 0.0,
  best: int = 1,
  forbid: Sequence[int] = (),
  shortest: int = 1,
  limits: Array | np.ndarray | None = None,
  valid: Array | np.ndarray | None = None,
) -> Found:
  """Looks for the likeliest continuations of B sentences with K hypotheses each.

  As in Sutskever et al. (2014, "Sequence to Sequence Learning with Neural Networks"), a
  hypothesis that takes the stop token leaves the beam, and the beam goes on with one
  less: the likeliest continuations by log-probability fill what is left of it. At the
  length limit those that go on count too. All K are ranked by the score of Wu et al.
  (2016, "Google's Neural Machine Translation System"),

    log_prob / ((5 + count) / 6)^length_penalty
      + coverage_penalty * Σ_i log(min(Σ_t weight_ti, 1)),

  in which penalties rank hypotheses and do not steer the beam. A sentence ends, without
  a change of its result, once no live hypothesis can reach its best ones. Of equals the
  first counts: the likelier parent, then the smaller token. One beam is greedy.

  A sentence's result does not depend on the others. Where a live hypothesis has logits
  without a finite log-sum-exp, as with NaN, all numbers of its sentence are NaN.
  Compiled once for each `step` (hand over the same function again), shape, `beams`,
  `length`, `best`, `stop` and `forbid`, with and without a coverage penalty.

  Args:
    step: the model, `(params, context, carry, tokens [R]) -> (carry, logits [R, V],
      weights [R, S] or None)`, of rows that do not read one another.
    params: its parameters.
    context: arrays `[B, …]` that every step reads, as the memory of an encoder; None
      for none. Repeated K times, and never reordered.
    carry: its state, arrays `[B, …]`; a `Draw` belongs to all rows and is left alone.
    first: `[B]` integers, the token that each sentence starts with; not in the result.
    beams: K.
    length: the most tokens of a hypothesis, the stop token among them.
    stop: the token that ends a hypothesis.
    length_penalty: 0 ranks by log-probability; more favours longer ones; 0.6 to 1 is
      common.
    coverage_penalty: 0 or more; how much it costs to leave source places unread.
    best: hypotheses to return, up to K.
    forbid: tokens that are never taken. The others' probabilities stay as they are.
    shortest: the least count of a hypothesis that stops.
    limits: `[B]` integers, the most tokens of each sentence, where it is fewer than
      `length`; a sentence of limit 0 costs nothing and has no tokens.
    valid: `[B, S]` bool, the source places that the coverage penalty counts, which are
      those that are not padding; None: all. A place counts as read by at least 1e-10.

  Returns:
    What was `Found`.

  Raises:
    BadInput: an argument is out of its range, or there is a coverage penalty and the
      step has no weights.
  """
  for name, value in (("beams", beams), ("length", length), ("best", best)):
    if not 1 <= value < 2**31:
      raise BadInput(f"{name} is {value}; give a whole number of at least 1.")
  if best > beams:
    raise BadInput(f"best is {best}, more than beams={beams} can find; raise beams.")
  if not math.isfinite(length_penalty):
    raise BadInput(f"length_penalty is {length_penalty}; give a finite number.")
  if not 0 <= coverage_penalty < math.inf:
    raise BadInput(f"coverage_penalty is {coverage_penalty}; give 0 or more, finite.")
  first = placed(first)
  if first.ndim != 1 or not jnp.issubdtype(first.dtype, jnp.integer):
    raise BadInput(
      f"first is {first.dtype}{list(first.shape)}; give integer token ids [B], one for "
      "each sentence."
    )
  limits = placed(np.full(len(first), length) if limits is None else limits)
  if limits.shape != first.shape:
    raise BadInput(
      f"limits is of shape {list(limits.shape)} and first of {list(first.shape)}; give "
      "a limit for each sentence."
    )
  return _search(
    step,
    params,
    context,
    carry,
    first.astype(jnp.int32),
    limits.astype(jnp.int32),
    None if valid is None or not coverage_penalty else placed(valid),
    placed(np.float32(length_penalty)),
    placed(np.float32(coverage_penalty)),
    placed(np.int32(shortest)),
    beams=beams,
    length=length,
    stop=int(stop),
    best=best,
    forbid=tuple(int(i) for i in forbid),
    covers=coverage_penalty > 0,
  )


class _Hypotheses(NamedTuple):
  """What each of `[B, K]` hypotheses has; one that never was has log_prob -inf."""

  tokens: Array  # [B, K, length]
  drawn: Array  # [B, K], the tokens it has
  log_prob: Array  # [B, K]
  coverage: Array | None  # [B, K, S], the weights of its steps, summed
  ended: Array  # [B, K] bool, whether the stop token came


class _Loop(NamedTuple):
  t: Array  # scalar, steps taken
  carry: Carry
  last: Array  # [B, K], the token to read next
  kept: _Hypotheses
  over: Array  # [B] bool, sentences that have their result


@partial(
  jax.jit,
  static_argnums=0,
  static_argnames=("beams", "length", "stop", "best", "forbid", "covers"),
)
def _search(
  step: Step,
  params: Params,
  context: Context,
  carry: Carry,
  first: Array,
  limits: Array,
  valid: Array | None,
  length_penalty: Array,
  coverage_penalty: Array,
  shortest: Array,
  *,
  beams: int,
  length: int,
  stop: int,
  best: int,
  forbid: tuple[int, ...],
  covers: bool,
) -> Found:
  batch, limits = len(first), jnp.clip(limits, 0, length)
  own = jnp.arange(beams, dtype=jnp.int32)
  context = jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), context)
  carry = _each(lambda leaf: jnp.repeat(leaf, beams, axis=0), carry)
  one = jnp.repeat(first, beams)
  _, logits, weights = jax.eval_shape(step, params, context, carry, one)
  vocabulary = logits.shape[-1]
  allowed, width = permitted(vocabulary, forbid), min(beams, vocabulary)
  if not 0 <= stop < vocabulary:
    raise BadInput(f"stop is {stop}; give an id from 0 to {vocabulary - 1}.")
  if covers and weights is None:
    raise BadInput(
      "coverage_penalty needs to know what a step reads of its source, and this model "
      "reads none; give coverage_penalty=0."
    )

  def sentences(rows: Array) -> Array:
    return rows.reshape(batch, beams, *rows.shape[1:])

  def penalty(count: Array) -> Array:
    return ((5 + count.astype(jnp.float32)) / 6) ** length_penalty

  def score(kept: _Hypotheses) -> Array:
    found = kept.log_prob / penalty(kept.drawn)
    if kept.coverage is None:
      return found
    read = jnp.log(jnp.clip(kept.coverage, UNREAD, 1))
    read = read if valid is None else jnp.where(valid[:, None], read, 0)
    return found + coverage_penalty * jnp.sum(read, axis=-1)

  def take(s: _Loop) -> _Loop:
    carry, logits, weights = step(params, context, s.carry, s.last.reshape(-1))
    logits, kept, over = logits.astype(jnp.float32), s.kept, s.over[:, None]
    live = ~kept.ended & ~over & (kept.log_prob > -jnp.inf)
    top = jnp.max(logits, axis=-1, keepdims=True)
    total = sentences(jnp.log(jnp.sum(jnp.exp(logits - top), axis=-1, keepdims=True)))
    broken = jnp.any(live & ~jnp.isfinite(total[..., 0]), axis=-1, keepdims=True)

    # By their logits, as differences of them may be lost in log-probabilities.
    early = (jnp.arange(vocabulary) == stop) & (s.t + 1 < shortest)
    logits = jnp.where(allowed & ~early, logits, -jnp.inf)
    value, token = map(sentences, largest(logits, width))
    value = kept.log_prob[..., None] + (value - sentences(top) - total)
    value = jnp.where(live[..., None], value, -jnp.inf).reshape(batch, beams * width)
    value, place = jax.lax.top_k(value, beams)
    token = jnp.take_along_axis(token.reshape(batch, beams * width), place, axis=1)

    # What has ended stays where it is; the best candidates fill the other places.
    stays = kept.ended | over
    rank = jnp.maximum(jnp.cumsum(~stays, axis=1) - 1, 0)
    value, token, place = (
      jnp.take_along_axis(x, rank, axis=1) for x in (value, token, place)
    )
    parent = jnp.where(stays, own, place // width)
    if kept.coverage is not None and weights is not None:
      more = jnp.where(stays[..., None], 0, sentences(weights).astype(jnp.float32))
      kept = kept._replace(coverage=kept.coverage + more)
    kept = jax.tree.map(lambda leaf: _gathered(leaf, parent), kept)
    there = ~stays & (value > -jnp.inf)
    kept = kept._replace(
      tokens=kept.tokens.at[:, :, s.t].set(jnp.where(there, token, stop)),
      drawn=kept.drawn + there.astype(jnp.int32),
      log_prob=jnp.where(broken, jnp.nan, jnp.where(stays, kept.log_prob, value)),
      ended=kept.ended | (there & (token == stop)),
    )

    # A live hypothesis only loses probability; its penalty is largest at either end.
    live = ~kept.ended & (kept.log_prob > -jnp.inf)
    reach = kept.log_prob / jnp.maximum(penalty(s.t + 1), penalty(limits))[:, None]
    reach = jnp.max(jnp.where(live, reach, -jnp.inf), axis=1)
    ended = jnp.sort(jnp.where(kept.ended, score(kept), -jnp.inf), axis=1)
    over = s.over | ~jnp.any(live, axis=1) | (s.t + 1 >= limits)
    return _Loop(
      t=s.t + 1,
      carry=_each(
        lambda leaf: _gathered(sentences(leaf), parent).reshape(leaf.shape), carry
      ),
      last=jnp.where(there, token, stop),
      kept=kept,
      over=over | (reach < ended[:, beams - best]),
    )

  kept = _Hypotheses(
    tokens=jnp.full((batch, beams, length), stop, jnp.int32),
    drawn=jnp.zeros((batch, beams), jnp.int32),
    # One hypothesis at first: K equal ones would stay equal.
    log_prob=jnp.full((batch, beams), -jnp.inf, jnp.float32).at[:, 0].set(0),
    coverage=sentences(jnp.zeros(weights.shape, jnp.float32)) if covers else None,
    ended=jnp.zeros((batch, beams), bool),
  )
  end = jax.lax.while_loop(
    lambda s: ~jnp.all(s.over),
    take,
    _Loop(
      t=jnp.zeros((), jnp.int32),
      carry=carry,
      last=one.reshape(batch, beams),
      kept=kept,
      over=limits < 1,
    ),
  )
  none, kept = end.kept.log_prob == -jnp.inf, end.kept
  ranked = jnp.where(none, -jnp.inf, score(kept))
  found = Found(
    tokens=jnp.where(none[..., None], stop, kept.tokens),
    count=jnp.where(none, 0, kept.drawn),
    log_prob=kept.log_prob,
    score=ranked,
  )
  order = jax.lax.top_k(ranked, best)[1]
  return jax.tree.map(lambda leaf: jnp.swapaxes(_gathered(leaf, order), 0, 1), found)


def _each(change: Callable[[Array], Array], carry: Carry) -> Carry:
  """A carry whose rows are changed; the draws belong to all of them and stay."""
  return jax.tree.map(
    lambda leaf: leaf if is_draw(leaf) else change(leaf), carry, is_leaf=is_draw
  )


def _gathered(leaf: Array, parent: Array) -> Array:
  """`leaf [B, K, …]` at `parent [B, N]` of each sentence, `[B, N, …]`."""
  return jax.vmap(lambda own, at: own[at])(leaf, parent)
