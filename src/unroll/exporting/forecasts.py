"""What is exported of a forecaster: from windows of a series to what follows them."""

import json
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import symbolic_shape

from unroll.compose import no_draw
from unroll.data.series.horizons import Horizon
from unroll.data.series.scaler import Scaler
from unroll.exporting.program import Named, Program, told_of
from unroll.loading import Loaded
from unroll.models.built import SERIES
from unroll.models.forecaster import Shape
from unroll.types import Array, is_draw


def forecaster(loaded: Loaded, told: Mapping[str, str]) -> Program:
  """A forecaster as `past [T, B, C + P] -> forecast [K, B, C, Q]`, T that of the run.

  Both are in the units of the columns. A run that reads what is known in advance takes
  `known [T + K, B, F]` as well.
  """
  fields = json.loads(loaded.files[SERIES])
  shape, scaler = Shape(**fields["shape"]), Scaler.from_json(fields["scaler"])
  mean, scale = (np.asarray(part, np.float32) for part in scaler)
  (batch,) = symbolic_shape("b")
  start = loaded.initial_carry(loaded.params, 1)
  columns, whole = shape.targets + shape.inputs, shape.window + shape.horizon
  wanted = {"past": (shape.window, batch, columns)}
  if shape.known:
    wanted["known"] = (whole, batch, shape.known)
  inputs = {name: jax.ShapeDtypeStruct(s, jnp.float32) for name, s in wanted.items()}

  def run(inputs: Named, valid: Array | None, states: Named) -> tuple[Named, Named]:
    past = (inputs["past"] - mean[None, None]) / scale[None, None]
    rows = past.shape[1]
    known = inputs.get("known", jnp.zeros((whole, rows, 0)))
    none = jnp.zeros((shape.horizon, rows, shape.targets))
    window = Horizon(past, known, none, none, none)  # type: ignore[arg-type]
    carry = jax.tree.map(
      lambda leaf: (
        no_draw()
        if is_draw(leaf)
        else jnp.broadcast_to(leaf[0], (rows, *leaf.shape[1:]))
      ),
      start,
      is_leaf=is_draw,
    )
    _, out = loaded.apply(loaded.params, carry, window)
    mine = (part[None, None, : shape.targets, None] for part in (scale, mean))
    factor, centre = mine
    return {"forecast": out * factor + centre}, {}

  return Program(
    run,
    inputs,
    {},
    None,
    (shape.window, batch),
    {"program": "sequence", **told, **told_of({})},
  )
