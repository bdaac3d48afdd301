"""How the loss of a run bends: along its gradient, across it, and down its slope."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.parts.flows import Model
from unroll import diagnose, layers
from unroll.data.batches import Batch
from unroll.diagnose import Curvature, Descent


class Found(NamedTuple):
  """What was found, as NumPy arrays.

  Attributes:
    at: the parameters that are looked at.
    descents: from there, `clipped` and `unclipped`; none where none was asked for.
    rate: of the descents.
    clip: the norm to which the gradient of one is clipped.
  """

  at: Curvature
  descents: dict[str, Descent]
  rate: float
  clip: float


class Asked(NamedTuple):
  """What is to be found.

  Attributes:
    across: random directions at right angles to the gradient.
    steps: of gradient descent; 0: none.
    rate: of it.
    clip: the norm to which gradients are clipped.
  """

  across: int
  steps: int
  rate: float
  clip: float


def measured(model: Model, batch: Any, length: int | None, asked: Asked) -> Found:
  """The curvature at a model's parameters, and on descents from there.

  Args:
    model: the model.
    batch: sequences, of which all steps count.
    length: steps of a piece of a text, as many as an update of the run has; other
      sequences, or those of a run that takes them whole, are one piece.
    asked: what of it.
  """
  loss, rows = model.loss(model.module), np.shape(batch.weight)[1]
  carry = jax.jit(lambda p: layers.initial_carry(model.module, p, rows))(model.params)
  cut = pieces(batch, length)

  @jax.jit
  def bent(params, carry, cut):
    key = jax.random.key(0)
    return diagnose.curvature(loss, params, carry, cut, key, asked.across)

  @jax.jit
  def gone_down(params, carry, cut, clip):
    return diagnose.descent(loss, params, carry, cut, asked.rate, asked.steps, clip)

  clips = {"unclipped": np.float32(np.inf), "clipped": np.float32(asked.clip)}
  given = (model.params, carry, cut)
  return Found(
    jax.device_get(bent(*given)),
    {
      name: jax.device_get(gone_down(*given, clip))
      for name, clip in clips.items()
      if asked.steps
    },
    asked.rate,
    asked.clip,
  )


def pieces(batch: Any, length: int | None) -> Any:
  """A batch as pieces `[N, K, B, …]`; the last steps of a text that fill none are left.

  Args:
    batch: sequences.
    length: K, of a text.
  """
  steps = len(np.asarray(batch.weight))
  k = min(length or steps, steps) if isinstance(batch, Batch) else None

  def cut(leaf: Any) -> Any:
    if k is None:
      return np.asarray(leaf)[None]
    return np.asarray(leaf)[: steps // k * k].reshape(-1, k, *np.shape(leaf)[1:])

  return jax.tree.map(cut, batch)


def slope(descent: Descent) -> float:
  """The power of the gradient's norm that the smoothness grows by, by least squares.

  NaN where fewer than two steps have both above zero.
  """
  x, y = (np.asarray(part, np.float64) for part in (descent.norms, descent.smoothness))
  there = np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)
  if there.sum() < 2 or np.ptp(x[there]) == 0:
    return float("nan")
  return float(np.polyfit(np.log(x[there]), np.log(y[there]), 1)[0])


def tell(found: Found) -> Iterable[str]:
  """The lines of a table."""
  at = found.at
  yield f"{'curvature':14}{'vᵀHv':>10}{'|Hv|':>10}    of a loss of {at.loss:.4f}"
  yield f"{'along':14}{at.along:10.2e}{at.turned:10.2e}    |gradient| {at.norm:.3g}"
  each = [np.mean(part) for part in (at.across, at.turned_across)]
  ratio = f"{abs(at.along / each[0]):.3g}, {at.turned / each[1]:.3g} times less"
  yield f"{'across':14}" + "".join(f"{one:10.2e}" for one in each) + f"    {ratio}"
  if not found.descents:
    return
  yield (
    f"{'descent':14}{'loss':>10}{'end':>10}{'|gradient|':>12}{'most':>10}"
    f"{'smoothness':>12}{'most':>10}{'power':>8}"
  )
  for name, way in found.descents.items():
    norms, smooth = way.norms, way.smoothness
    yield (
      f"{name:14}{way.losses[0]:10.4f}{way.losses[-1]:10.4f}"
      f"{np.median(norms):12.2e}{np.max(norms):10.2e}"
      f"{np.median(smooth):12.2e}{np.max(smooth):10.2e}{slope(way):8.2f}"
    )


def summary(found: Found) -> dict[str, Any]:
  """All that was found, in dicts, lists and numbers."""

  def plain(part: NamedTuple) -> dict[str, Any]:
    return {name: np.asarray(v).tolist() for name, v in part._asdict().items()}

  return {
    **plain(found.at),
    "rate": found.rate,
    "clip": found.clip,
    "descents": {
      name: {**plain(way), "power": slope(way)} for name, way in found.descents.items()
    },
  }
