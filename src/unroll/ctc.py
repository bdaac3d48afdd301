"""Connectionist temporal classification (Graves et al. 2006): labels without times.

A network gives logits of C classes at each of T steps; one class is the blank. A path,
a class a step, stands for the labels that remain when equal neighbours are merged and
blanks are then left out. A labelling is as likely as all its paths together.

The states of a labelling of L labels are the labels with a blank before, between and
after them, S = 2 L + 1. From step to step a path stays in its state, goes to the next,
or passes over a blank between two different labels. Both recursions over time, from the
left and from the right, are one cell, for `scan.unroll`. Labels are found on the host:
there they may differ in length, as the prefixes of a beam do.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll import scan
from unroll.reverse_mode import reverse_mode_only
from unroll.types import Array, Cell

# The log of a probability of 0; finite, so that no gradient is NaN.
NEVER = -1e30


class _States(NamedTuple):
  """The log probability of the paths to each state, `[B, S]`."""

  paths: Array


class _Lattice(NamedTuple):
  """Which paths there are.

  Attributes:
    passes: bool `[B, S]`, whether a state is reached from the one before the last.
    last: bool `[B, S]`, the blank after the last label.
    valid: bool `[T, B]`.
  """

  passes: Array
  last: Array
  valid: Array


def log_likelihood(
  logits: Array,
  labels: Array,
  valid: Array | None = None,
  label_valid: Array | None = None,
  *,
  blank: int = 0,
  backward: scan.Backward = "fast",
) -> Array:
  """log p(labels) of each sequence, `[B]`, in nats.

  Labels that no path stands for, as there are too few steps for them and the blanks
  between equal neighbours, have -inf, and a gradient of 0. Without steps only the empty
  labelling is possible, which is then certain.

  Args:
    logits: `[T, B, C]`, of any scale; what stands where not valid, be it NaN, counts
      for nothing.
    labels: integers below C, none of them the blank, `[L, B]`; any where not valid.
    valid: bool `[T, B]`, true at real steps; holes are fine. None: all are.
    label_valid: bool `[L, B]`, true at labels, which come first. None: all are.
    blank: the class of the blank.
    backward: "fast" is the forward-backward algorithm, in reverse mode; "autodiff" for
      forward mode, see `scan.unroll`.

  Raises:
    ValueError: the shapes do not fit one another.
  """
  logits, labels = jnp.asarray(logits), jnp.asarray(labels, jnp.int32)
  _check(logits, labels, valid, label_valid)
  valid = jnp.ones(logits.shape[:2], bool) if valid is None else valid.astype(bool)
  if label_valid is None:
    label_valid = jnp.ones(labels.shape, bool)
  classes, lattice = _lattice(labels, label_valid.astype(bool), valid, blank)
  with jax.numpy_dtype_promotion("standard"):
    logits = logits.astype(jnp.result_type(logits, jnp.float32))
  scores = jax.nn.log_softmax(jnp.where(valid[..., None], logits, 0), axis=-1)
  where = jnp.broadcast_to(classes, (len(scores), *classes.shape))
  emissions = jnp.maximum(jnp.take_along_axis(scores, where, axis=-1), NEVER)
  if backward == "fast":
    total = _total(reverse_mode_only(emissions), lattice)
  else:
    total = _ended(_states(emissions, lattice, backward)[0], lattice)
  return jnp.where(total > NEVER / 2, total, -jnp.inf)


def _check(logits: Array, labels: Array, valid, label_valid) -> None:
  fits = logits.ndim == 3 and labels.ndim == 2 and logits.shape[1] == labels.shape[1]
  if not fits:
    raise ValueError(
      f"logits {logits.shape} and labels {labels.shape} must be [T, B, C] and [L, B]"
    )
  for name, mask, of in (
    ("valid", valid, logits.shape[:2]),
    ("label_valid", label_valid, labels.shape),
  ):
    if mask is not None and mask.shape != of:
      raise ValueError(f"{name} {mask.shape} must be {of}")


def _lattice(labels: Array, label_valid: Array, valid: Array, blank: int):
  """The class of each state, `[B, S]`, and which paths there are."""
  labels, count = labels.T, jnp.sum(label_valid, axis=0)
  batch, size = labels.shape
  labels = jnp.where(label_valid.T, labels, blank)
  blanks = jnp.full_like(labels, blank)
  classes = jnp.stack([blanks, labels], axis=-1).reshape(batch, 2 * size)
  classes = jnp.pad(classes, ((0, 0), (0, 1)), constant_values=blank)
  two_before = jnp.pad(classes, ((0, 0), (2, 0)), constant_values=blank)[:, :-2]
  passes = (classes != blank) & (classes != two_before)
  last = jnp.arange(2 * size + 1)[None] == 2 * count[:, None]
  return classes, _Lattice(passes, last, valid)


def _step(params, carry: _States, emission: Array, passes: Array):
  """One step of all paths to each state."""
  stay = carry.paths
  before, further = (
    jnp.pad(stay, ((0, 0), (by, 0)), constant_values=NEVER)[:, : stay.shape[1]]
    for by in (1, 2)
  )
  further = jnp.where(passes, further, NEVER)
  most = jnp.maximum(jnp.maximum(stay, before), further)
  paths = most + emission
  paths += jnp.log(sum(jnp.exp(each - most) for each in (stay, before, further)))
  return _States(paths), paths


def _unrolled(start: Array, emissions: Array, passes: Array, valid: Array, **options):
  """The recursion over time of paths that start in one state, and its steps."""
  cell = Cell(
    init=lambda key: (),
    carry=lambda params, batch: _States(jnp.zeros((batch, start.shape[1]))),
    project=lambda params, xs: xs,
    step=_step,
    context=True,
  )
  paths = jnp.where(start, 0, NEVER).astype(emissions.dtype)
  carry, ys = scan.unroll(
    cell, (), _States(paths), emissions, context=passes, valid=valid, **options
  )
  return carry.paths, ys


def _states(emissions: Array, lattice: _Lattice, backward: scan.Backward = "fast"):
  """The paths from the left: after the last step `[B, S]`, and after each."""
  # A path that starts in the first blank, before the first step, goes to that or to
  # the first label.
  start = jnp.zeros_like(lattice.last).at[:, 0].set(True)
  return _unrolled(start, emissions, lattice.passes, lattice.valid, backward=backward)


def _ended(paths: Array, lattice: _Lattice) -> Array:
  """The paths that end in the last label or after it, `[B]`."""
  ends = lattice.last | jnp.roll(lattice.last, -1, axis=1).at[:, -1].set(False)
  return jax.nn.logsumexp(jnp.where(ends, paths, NEVER), axis=1)


@jax.custom_vjp
def _total(emissions: Array, lattice: _Lattice) -> Array:
  """The log of the summed probability of all paths, `[B]`."""
  return _ended(_states(emissions, lattice)[0], lattice)


def _total_forward(emissions: Array, lattice: _Lattice):
  final, paths = _states(emissions, lattice)
  return _ended(final, lattice), (emissions, lattice, paths)


def _total_backward(kept, gradient: Array):
  """Each emission's is the probability, of all paths, of those through its state."""
  emissions, lattice, paths = kept
  # From the right, the states in reverse are those of the labels in reverse.
  passes = jnp.pad(lattice.passes, ((0, 0), (0, 2)))[:, 2:]
  _, rest = _unrolled(
    lattice.last[:, ::-1],
    emissions[..., ::-1],
    passes[:, ::-1],
    lattice.valid,
    reverse=True,
  )
  through = paths + rest[..., ::-1] - emissions
  counts = lattice.valid[..., None]
  # Shares of each step's own sum, which rounds less than the total of all steps does.
  share = jax.nn.softmax(jnp.where(counts, through, 0), axis=-1)
  share = jnp.where(counts, share, 0)
  return share * gradient[None, :, None], None


_total.defvjp(_total_forward, _total_backward)


class Found(NamedTuple):
  """A labelling, and the log of its probability, as far as it was summed."""

  labels: tuple[int, ...]
  score: float


def greedy(
  logits: ArrayLike, valid: ArrayLike | None = None, *, blank: int = 0
) -> list[tuple[int, ...]]:
  """The labels of the best path of each sequence, which need not be the likeliest ones.

  Args:
    logits: `[T, B, C]`.
    valid: bool `[T, B]`; None: all steps are.
    blank: the class of the blank.
  """
  found = []
  for scores in _rows(logits, valid):
    path = scores.argmax(axis=-1)
    new = np.append(True, path[1:] != path[:-1])[: len(path)]
    found.append(tuple(path[new & (path != blank)].tolist()))
  return found


def prefix_beam(
  logits: ArrayLike, valid: ArrayLike | None = None, beams: int = 10, *, blank: int = 0
) -> list[Found]:
  """The likeliest labels of each sequence, by a search over prefixes.

  At each step the `beams` likeliest prefixes are kept, each with all of its paths that
  kept prefixes lead to (Hannun et al. 2014). With as many beams as there are prefixes
  the search is exact.

  Args:
    logits: `[T, B, C]`.
    valid: bool `[T, B]`; None: all steps are.
    beams: how many prefixes are kept.
    blank: the class of the blank.
  """
  return [_searched(scores, beams, blank) for scores in _rows(logits, valid)]


def _rows(logits: ArrayLike, valid: ArrayLike | None) -> list[NDArray]:
  """The log probabilities `[T_i, C]` of the real steps of each sequence."""
  logits = np.asarray(logits)
  logits = logits.astype(np.promote_types(logits.dtype, np.float32))
  kept = np.ones(logits.shape[:2], bool) if valid is None else np.asarray(valid, bool)
  rows = (logits[kept[:, row], row] for row in range(logits.shape[1]))
  return [row - np.logaddexp.reduce(row, axis=-1, keepdims=True) for row in rows]


def _searched(scores: NDArray, beams: int, blank: int) -> Found:
  """The search in one sequence, `[T, C]`.

  Of each prefix the paths that end in the blank are apart from those that end in its
  last label: only after a blank does an equal label count as another one.
  """
  prefixes: list[tuple[int, ...]] = [()]
  blanks, labels = np.zeros(1), np.full(1, -np.inf)
  for step in scores.astype(np.float64):
    lasts = np.array([prefix[-1] if prefix else blank for prefix in prefixes])
    rows, both = np.arange(len(prefixes)), np.logaddexp(blanks, labels)
    longer = both[:, None] + step
    longer[rows, lasts] = blanks + step[lasts]
    longer[:, blank] = -np.inf
    blanks, labels = both + step[blank], labels + step[lasts]
    place = {prefix: row for row, prefix in enumerate(prefixes)}
    for row, prefix in enumerate(prefixes):
      shorter = place.get(prefix[:-1]) if prefix else None
      if shorter is not None:  # one of its extensions is a prefix that is kept
        labels[row] = np.logaddexp(labels[row], longer[shorter, lasts[row]])
        longer[shorter, lasts[row]] = -np.inf
    totals = np.concatenate([np.logaddexp(blanks, labels), longer.ravel()])
    best = np.argsort(-totals, kind="stable")[:beams]
    best = best[totals[best] > -np.inf]
    new = best - len(prefixes)
    prefixes = [
      prefixes[one] if at < 0 else (*prefixes[at // len(step)], int(at % len(step)))
      for one, at in zip(best.tolist(), new.tolist())
    ]
    kept = new < 0
    old = np.where(kept, best, 0)
    blanks, labels = (
      np.where(kept, blanks[old], -np.inf),
      np.where(kept, labels[old], totals[best]),
    )
  totals = np.logaddexp(blanks, labels)
  return Found(prefixes[int(totals.argmax())], float(totals.max()))
