"""A Transformer of cloze, whose tokens are hidden in turn: all turns side by side."""

from typing import cast

import jax.numpy as jnp

from unroll.loading import Loaded
from unroll.models.masked import EVERY, MaskedModel
from unroll.types import Array, Carry, Params


def together(loaded: Loaded) -> Loaded:
  """The same model without a loop over the turns, which are rows of a batch instead.

  Args:
    loaded: a model whose module is a `MaskedModel`.
  """
  module: MaskedModel = loaded.module

  def apply(
    params: Params, carry: Carry, tokens: Array, valid: None = None
  ) -> tuple[Carry, Array]:
    steps, batch = tokens.shape
    shape = (steps, EVERY, batch)
    own = jnp.arange(steps, dtype=jnp.int32)[:, None] % EVERY
    hidden = own == jnp.arange(EVERY, dtype=jnp.int32)[None]
    hidden = jnp.broadcast_to(hidden[..., None], shape)
    given = jnp.broadcast_to(tokens[:, None], shape)
    flat = (given.reshape(steps, -1), hidden.reshape(steps, -1))
    ys = cast(Array, module.apply(params, *flat, method="seen"))
    found = jnp.where(hidden[..., None], ys.reshape(*shape, -1), 0).sum(1)
    logits = module.apply(
      params, found, method=lambda module, ys: module.output(module.width).logits(ys)
    )
    return carry, cast(Array, logits)

  return loaded._replace(apply=apply)
