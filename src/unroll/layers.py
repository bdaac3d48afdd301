"""Sequence -> sequence: recurrent, stacked, bidirectional, and the Flax layer."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from unroll import names, remat, scan
from unroll.compose import DeepCarry, Wiring, carry_all, init_all, mask, no_draw
from unroll.parameters import matrices
from unroll.types import (
  Array,
  BadInput,
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

Merge = Literal["concat", "sum", "mul", "average"]
MERGES: dict[str, Callable[[Array, Array], Array]] = {
  "concat": lambda forward, backward: jnp.concatenate([forward, backward], axis=-1),
  "sum": lambda forward, backward: forward + backward,
  "mul": lambda forward, backward: forward * backward,
  "average": lambda forward, backward: 0.5 * (forward + backward),
}


class Layer(NamedTuple):
  """A map from sequence to sequence: what a Cell becomes when it is unrolled.

  Attributes:
    init: `key -> params`.
    carry: `(params, batch size) -> carry`.
    unroll: `(params, carry, xs [T, B, D], *, valid, reset, reverse, backward) ->
      (carry, ys [T, B, H])`, with the meaning of `scan.unroll`.
  """

  init: Callable[[Key], Params]
  carry: Callable[[Params, int], Carry]
  unroll: Callable[..., tuple[Carry, Array]]


def recurrent(cell: Cell) -> Layer:
  """A cell, unrolled by `scan.unroll`."""

  def unroll(params, carry, xs, **options):
    return scan.unroll(cell, params, carry, xs, **options)

  return Layer(cell.init, cell.carry, unroll)


def as_layer(part: Cell | Layer) -> Layer:
  """A layer as it is; a cell as the layer that unrolls it."""
  return part if isinstance(part, Layer) else recurrent(part)


def stacked(*parts: Cell | Layer, wiring: Wiring | None = None) -> Layer:
  """Layers on top of each other: each layer over all of T, then the next.

  Every layer's input projection is one matrix product; a bidirectional layer can
  stand anywhere. Parameters and carry are those of `compose.deep`.

  Args:
    *parts: cells or layers, first to last.
    wiring: residual and skip connections and dropout between them.
  """
  layers = [as_layer(part) for part in parts]
  wiring = (wiring or Wiring()).check()

  def unroll(params, carry: DeepCarry, xs, *, valid=None, reverse=False, **options):
    if isinstance(xs, Lookup) and wiring.reads_input():
      xs = xs.dense()
    if valid is not None and wiring.reads_input():
      xs = scan.masked(xs, valid)  # such a step must not come through beside a layer
    options |= {"valid": valid, "reverse": reverse}

    def layer(layer, params, carry):
      return lambda xs: layer.unroll(params, carry, xs, **options)

    def drop(xs, rate, site):
      if rate == 0 or carry.draw.key is None:
        return xs

      def at(t):
        draw = carry.draw._replace(t=carry.draw.t + t)
        return mask(draw, xs.shape[1:], rate, site, wiring.locked).astype(xs.dtype)

      if wiring.locked:
        return xs * jnp.broadcast_to(at(0), xs.shape)
      steps = jnp.arange(xs.shape[0], dtype=jnp.int32)
      return xs * jax.vmap(at)(steps[::-1] if reverse else steps)

    each = [layer(*both) for both in zip(layers, params, carry.layers, strict=True)]
    carries, ys = wiring.connect(each, xs, drop)
    return DeepCarry(carries, carry.draw._replace(t=carry.draw.t + xs.shape[0])), ys

  return Layer(
    init=lambda key: init_all(layers, key),
    carry=lambda params, batch: DeepCarry(carry_all(layers, params, batch), no_draw()),
    unroll=unroll,
  )


class BidirectionalCarry(NamedTuple):
  """The carries of both directions."""

  forward: Carry
  backward: Carry


def bidirectional(
  forward: Cell | Layer, backward: Cell | Layer, merge: Merge | None = "concat"
) -> Layer:
  """One layer from left to right, one from right to left (Schuster & Paliwal 1997).

  Args:
    forward: reads x_1 … x_t.
    backward: reads x_T … x_t; its initial carry stands right of the last step.
    merge: how both outputs of a step become one: concat, sum, mul, average. None
      gives the pair of them.

  Raises:
    BadInput: for another merge.
  """
  if merge is not None and merge not in MERGES:
    raise BadInput(f"--merge={merge}: choose one of {', '.join(MERGES)}")
  layers = (as_layer(forward), as_layer(backward))

  def unroll(params, carry, xs, *, reset=None, reverse=False, **options):
    if reverse:
      raise ValueError("a bidirectional layer already reads both ways: drop reverse")
    # A sequence that starts before step t + 1 ends at step t: read from the right,
    # that is where the sequence to its left starts afresh.
    ends = None if reset is None else jnp.roll(reset, -1, axis=0).at[-1].set(False)
    resets = (reset, ends)
    (to_right, ys), (to_left, zs) = (
      layer.unroll(p, c, xs, reset=r, reverse=leftward, **options)
      for leftward, (layer, p, c, r) in enumerate(zip(layers, params, carry, resets))
    )
    merged = (ys, zs) if merge is None else MERGES[merge](ys, zs)
    return BidirectionalCarry(to_right, to_left), merged

  return Layer(
    init=lambda key: init_all(layers, key),
    carry=lambda params, batch: BidirectionalCarry(*carry_all(layers, params, batch)),
    unroll=unroll,
  )


def rematerialised(part: Cell | Layer, plan: remat.Plan) -> Layer:
  """The same layer, run segment by segment and again in the backward pass.

  It keeps its inputs and outputs, and of what is between the carries of the plan. A
  bidirectional layer takes it one direction each.

  Args:
    part: a cell or a layer, or a stack of them, that reads one way.
    plan: how a sequence is cut.
  """
  layer = as_layer(part)

  def unroll(params, carry, xs, *, valid=None, reset=None, reverse=False, **options):
    nodes = jax.tree.leaves(carry, is_leaf=_is_bidirectional)
    if any(map(_is_bidirectional, nodes)):
      raise ValueError(
        "a bidirectional layer cannot be cut into segments: rematerialise each of its "
        "directions"
      )

    if isinstance(xs, Lookup):
      xs = xs.dense()

    def run(carry, inputs):
      xs, valid, reset = inputs
      masks = {"valid": valid, "reset": reset}
      return layer.unroll(params, carry, xs, **masks, reverse=reverse, **options)

    return remat.segmented(run, carry, (xs, valid, reset), plan, reverse=reverse)

  return Layer(layer.init, layer.carry, unroll)


def _is_bidirectional(node: Any) -> bool:
  return isinstance(node, BidirectionalCarry)


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
    """Unrolls: see `scan.unroll` for `valid`, `reset`, `reverse`, `backward`.

    Args:
      xs: `[T, B, D]`, or a `Lookup`.
      carry: None starts afresh.
      deterministic: whether nothing is dropped. False, for training, asks for a key
        if the core draws. None draws where there is one: that of the carry, else one
        from the stream `dropout`, as in `apply(…, rngs={"dropout": key})`. Across
        `nnx.bridge`, whose `eval()` does not reach a Linen layer, say True yourself.

    Returns:
      The carry and `ys [T, B, H]`. A key from the stream does not stay in the carry.

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
