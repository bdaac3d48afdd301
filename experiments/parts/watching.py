"""While a model is trained: how the gradient fades, from the end of a batch back.

The same as `experiments.gradlab` measures on a text, here on the batch that the next
update is taken on, at few lags: enough to see gradients vanish or explode in time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from experiments.session.settings import Settings
from experiments.session.task import Watch
from unroll import compose, diagnose
from unroll.architecture import Architecture
from unroll.clipping import norm
from unroll.gradients import ChunkLoss
from unroll.report.curves import BY_LAG
from unroll.settings import setting
from unroll.types import Array, BadInput, Carry, Cell, Params


@dataclass(frozen=True)
class Watching:
  """Gradients while training"""

  gradlab_every: int = setting(
    0,
    "updates between looks at how the gradient fades by lag, and at how many updates "
    "were clipped; 0: none",
    least=0,
    role="changing",
  )


def watch(
  settings: Settings,
  architecture: Any,
  input_size: int,
  model: Any,
  loss: Callable[[Any], ChunkLoss],
) -> Watch | None:
  """What is watched of a model whose only recurrent layers are its `recurrent` core.

  Args:
    settings: of the page.
    architecture: of the layers.
    input_size: D of the first of them.
    model: a Linen module with a `core`.
    loss: makes the chunk loss of such a model; "loss" of its sums is that of targets
      which batches weigh by `weight [T, B]`.

  Returns:
    None where nothing is to be watched.

  Raises:
    BadInput: the model has no carries that a gradient flows through step by step.
  """
  every = settings[Watching].gradlab_every
  if not every:
    return None
  if not isinstance(architecture, Architecture):
    raise BadInput(
      f"gradlab_every={every} looks at the carries of recurrent layers, of which a "
      "Transformer has none: give 0"
    )
  for name in ("weight_dropout", "weight_noise"):
    if value := getattr(architecture, name):
      raise BadInput(
        f"gradlab_every={every} with {name}={value}: layers whose weights are drawn "
        "cannot be looked into: drop one of them"
      )
  cell = whole(architecture, input_size)
  return Watch(every, lambda *at: by_lag(model, cell, loss, *at))


def whole(architecture: Architecture, input_size: int) -> Cell:
  """All layers as one cell, for the parameters and the carry of the layers."""
  return compose.deep(*architecture.cells(input_size), wiring=architecture.wiring)


def by_lag(
  model: Any,
  cell: Cell,
  loss: Callable[[Any], ChunkLoss],
  params: Params,
  carry: Carry,
  batch: Any,
) -> dict[str, Array]:
  """|dL/dcarry| by state and lag, L the loss of each sequence's last target in a batch.

  The mean over sequences; a carry further back than the batch reaches counts in none.
  Lags are 0 and the powers of two; "all" is the norm over all states.
  """
  weight = jnp.asarray(batch.weight)
  steps, count = weight.shape
  after = jnp.argmax(weight[::-1] > 0, axis=0).astype(jnp.int32)  # the last target
  times = jnp.arange(steps, dtype=jnp.int32)[:, None]
  last = jnp.broadcast_to(times, weight.shape) == jnp.broadcast_to(
    steps - 1 - after, weight.shape
  )
  end = batch._replace(weight=jnp.where(last, weight, 0))

  def total(sinks: Array) -> Array:
    probed = model.clone(core=diagnose.probed_layer(cell, sinks))
    return loss(probed)(params, carry, end)[1][1]["loss"].total

  own = params["params"]["recurrent"]["core"]
  norms = diagnose.norms_by_lag(total, cell, own, steps, count)
  whole = norm(jnp.stack(list(norms.values())), (0,))[0]
  asked = jnp.any(weight > 0, axis=0)
  found = {}
  for lag in [0, *(2**k for k in range(steps.bit_length()) if 2**k < steps)]:
    there = asked & (after + lag < steps)
    row = jnp.minimum(after + lag, steps - 1)[None]
    for name, values in (("all", whole), *norms.items()):
      at = jnp.where(there, jnp.take_along_axis(values, row, axis=0)[0], 0)
      mean = jnp.sum(at) / jnp.maximum(jnp.sum(there.astype(at.dtype)), 1)
      found[f"{BY_LAG}/{_short(name)}/{lag}"] = mean
  return found


def _short(name: str) -> str:
  """`layers/0/h` as `layer_1_h`."""
  match name.split("/"):
    case "layers", number, *state:
      return "_".join(["layer", str(int(number) + 1), *state])
  return name
