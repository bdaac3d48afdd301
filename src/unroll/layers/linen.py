"""A cell or layer as a layer of Flax (Linen)."""

import functools
from typing import Any

import flax.linen as nn
import jax

from unroll import names
from unroll.layers.sequences import Layer, as_layer
from unroll.parameters import matrices
from unroll.types import (
  Array,
  Carry,
  Cell,
  Key,
  Lookup,
  Params,
  keyed,
  lend,
  needs_key,
  seed,
)


class Recurrent(nn.Module):
  """A cell or layer as a Flax (Linen) layer.

  Its parameters are the variable `core`: nested dicts of arrays with the names of the
  cell's pytree, such as `core/w_x`, or `core/0/w_x` in a stack, which the tools of
  Flax, NNX and optax take apart. The cell's own pytree is taken in their place.

  The carry goes in and out, so that state can pass from chunk to chunk.

  Attributes:
    core: a Cell or a Layer.
    dtype: what matrices are cast to for their products, e.g. `jnp.bfloat16`; sums,
      carry and everything elementwise stay in the type of the parameters, or of the
      inputs if that is wider.
    named: False has `init` give the cell's own pytree. Runs of experiments have it:
      the order of leaves is part of a run, as the norm of a gradient sums over them.
  """

  core: Cell | Layer
  dtype: Any = None
  named: bool = True

  def setup(self):
    self.layer = as_layer(self.core)
    if self.has_variable("params", "core"):
      self.held = nn.unbox(self.get_variable("params", "core"))
    else:
      self.held = self.param("core", self._init)

  def __call__(
    self,
    xs: Array | Lookup,
    carry: Carry | None = None,
    *,
    deterministic: bool | None = None,
    **options,
  ) -> tuple[Carry, Any]:
    """Unrolls: see `scan.unroll` for its options, `context` among them.

    Args:
      xs: `[T, B, …]`, or a `Lookup`.
      carry: None starts afresh.
      deterministic: whether nothing is dropped. False, for training, asks for a key
        if the core draws. None draws where there is one: that of the carry, else one
        from the stream `dropout`, as in `apply(…, rngs={"dropout": key})`. Across
        `nnx.bridge`, whose `eval()` does not reach a Linen layer, say True yourself.

    Returns:
      The carry and `ys [T, B, …]`. A key from the stream does not stay in the carry.

    Raises:
      ValueError: if `deterministic` is False and there is no key to draw from; if the
        parameters are not those of the core.
    """
    params = self.core_params()
    if carry is None:
      carry = self.layer.carry(params, xs.shape[1])
    if self.dtype is not None:
      params = _cast(params, self.dtype)

    def run(carry: Carry) -> tuple[Carry, Any]:
      return self.layer.unroll(params, carry, xs, **options)

    drawing = self._seeded(carry, deterministic)
    if deterministic is False and needs_key(run, drawing):
      raise ValueError(
        "deterministic=False, and dropout has no key: give one as rngs={'dropout': "
        "key}, or in the carry, see types.seed; or set deterministic=True"
      )
    after, ys = run(drawing)
    return keyed(after, carry), ys

  def initial_carry(self, batch: int) -> Carry:
    """The carry that a sequence starts with, `[B, …]`."""
    return self.layer.carry(self.core_params(), batch)

  def core_params(self) -> Params:
    """The parameters as the core's own pytree, for `scan.unroll`."""
    like = jax.eval_shape(self.layer.init, jax.random.key(0))
    return names.rebuilt(self.held, like, (*self.path, "core"))

  def _init(self, key: Key) -> Params:
    params = self.layer.init(key)
    return names.nested(params) if self.named else params

  def _seeded(self, carry: Carry, deterministic: bool | None) -> Carry:
    """The carry with the keys that this call draws from."""
    if deterministic:
      return keyed(carry, seed(carry, None))
    if self.has_rng("dropout") or (deterministic is False and self.has_rng("params")):
      return lend(carry, self.make_rng("dropout"))  # of `params` where there is no own
    return carry


def _cast(params: Params, dtype) -> Params:
  return jax.tree.map(
    lambda leaf, matrix: leaf.astype(dtype) if matrix else leaf,
    params,
    matrices(params),
  )


@functools.partial(jax.jit, static_argnums=(0, 2))
def initial_carry(model: Any, params: Params, batch: int) -> Carry:
  """The carry that B sequences of a Linen model start with, made on the device.

  Args:
    model: has a method `initial_carry`, as `Recurrent` has.
    params: its variables.
    batch: B.
  """
  return model.apply(params, batch, method="initial_carry")
