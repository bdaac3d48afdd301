"""Sequence -> sequence: recurrent, stacked, bidirectional, rematerialised."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from unroll import remat, scan
from unroll.compose import DeepCarry, Wiring, carry_all, init_all, mask, no_draw
from unroll.scan import lookup
from unroll.types import (
  Array,
  BadInput,
  Carry,
  Cell,
  Draw,
  Key,
  Lookup,
  Params,
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
    unroll: `(params, carry, xs [T, B, …], *, context, valid, reset, reverse, backward,
      every) -> (carry, ys [T, B, …])`, with the meaning of `scan.unroll`.
    context: whether it reads a context, as of `Cell`.
    around: `(cell -> cell) -> layer`: the same with other cells for the same
      parameters; None where that cannot be.
  """

  init: Callable[[Key], Params]
  carry: Callable[[Params, int], Carry]
  unroll: Callable[..., tuple[Carry, Array]]
  context: bool = False
  around: "Callable[[Callable[[Cell], Cell]], Layer] | None" = None


def recurrent(cell: Cell) -> Layer:
  """A cell, unrolled by `scan.unroll`."""

  def unroll(params, carry, xs, **options):
    return scan.unroll(cell, params, carry, xs, **options)

  return Layer(
    *(cell.init, cell.carry, unroll, cell.context),
    around=lambda change: recurrent(change(cell)),
  )


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

  Returns:
    The layer. A context goes to every part that reads one.
  """
  layers = [as_layer(part) for part in parts]
  wiring = (wiring or Wiring()).check()
  reads = any(layer.context for layer in layers)

  def unroll(
    params,
    carry: DeepCarry,
    xs,
    *,
    context=None,
    valid=None,
    reverse=False,
    every=False,
    **options,
  ):
    scan.check_context(reads, context)
    if isinstance(xs, Lookup) and wiring.reads_input():
      xs = xs.dense()
    if valid is not None and wiring.reads_input():
      xs = scan.masked(xs, valid)  # such a step must not come through beside a layer
    options |= {"valid": valid, "reverse": reverse, "every": every}

    def layer(layer, params, carry):
      reading = options | _reading(layer, context)
      return lambda xs: layer.unroll(params, carry, xs, **reading)

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

    bound = [layer(*both) for both in zip(layers, params, carry.layers, strict=True)]
    carries, ys = wiring.connect(bound, xs, drop)
    draw = advanced(carry.draw, xs.shape[0], every=every, reverse=reverse)
    return DeepCarry(carries, draw), ys

  def around(change: Callable[[Cell], Cell]) -> Layer:
    changed = [layer.around(change) for layer in layers if layer.around]
    return stacked(*changed, wiring=wiring)

  return Layer(
    init=lambda key: init_all(layers, key),
    carry=lambda params, batch: DeepCarry(carry_all(layers, params, batch), no_draw()),
    unroll=unroll,
    context=reads,
    around=around if all(layer.around for layer in layers) else None,
  )


def advanced(
  draw: Draw, length: int, *, every: bool = False, reverse: bool = False
) -> Draw:
  """A draw after so many steps; with `every` after each of them, in their order."""
  if not every:
    return draw._replace(t=draw.t + length)
  many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (length,)), draw)
  steps = jnp.arange(1, length + 1, dtype=jnp.int32)
  return many._replace(t=many.t + (steps[::-1] if reverse else steps))


def _reading(layer: Layer, context) -> dict[str, Any]:
  """The context, as an option of a layer that reads one."""
  return {"context": context} if layer.context else {}


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
    raise BadInput(f"merge={merge}: choose one of {', '.join(MERGES)}")
  layers = (as_layer(forward), as_layer(backward))
  reads = any(layer.context for layer in layers)

  def unroll(params, carry, xs, *, context=None, reset=None, reverse=False, **options):
    scan.check_context(reads, context)
    if reverse:
      raise ValueError("a bidirectional layer already reads both ways: drop reverse")
    if isinstance(xs, Lookup) and not lookup.pays(xs):
      xs = xs.dense()  # once, for both, and so is the gradient of its table
    # A sequence that starts before step t + 1 ends at step t: read from the right,
    # that is where the sequence to its left starts afresh.
    ends = None if reset is None else jnp.roll(reset, -1, axis=0).at[-1].set(False)
    resets = (reset, ends)
    (to_right, ys), (to_left, zs) = (
      layer.unroll(
        p, c, xs, reset=r, reverse=leftward, **options, **_reading(layer, context)
      )
      for leftward, (layer, p, c, r) in enumerate(zip(layers, params, carry, resets))
    )
    merged = (ys, zs) if merge is None else MERGES[merge](ys, zs)
    return BidirectionalCarry(to_right, to_left), merged

  return Layer(
    init=lambda key: init_all(layers, key),
    carry=lambda params, batch: BidirectionalCarry(*carry_all(layers, params, batch)),
    unroll=unroll,
    context=reads,
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

  def unroll(
    params,
    carry,
    xs,
    *,
    valid=None,
    reset=None,
    reverse=False,
    every=False,
    **options,
  ):
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
      after, ys = layer.unroll(
        params, carry, xs, **masks, reverse=reverse, every=every, **options
      )
      if not every:
        return after, (None, ys)
      last = jax.tree.map(lambda leaf: leaf[0 if reverse else -1], after)
      return last, (after, ys)

    inputs = (xs, valid, reset)
    last, (carries, ys) = remat.segmented(run, carry, inputs, plan, reverse=reverse)
    return carries if every else last, ys

  return Layer(layer.init, layer.carry, unroll, layer.context)


def _is_bidirectional(node: Any) -> bool:
  return isinstance(node, BidirectionalCarry)
