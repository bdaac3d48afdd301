"""Blocks of attention and an MLP as one layer, sequence -> sequence.

Pre-norm (Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture"):
x + attention(norm(x)), then x + mlp(norm(x)), and a norm at the end (Vaswani et al.
2017, "Attention Is All You Need"). Positions are rotary, the MLP has a GELU (Hendrycks
& Gimpel 2016).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from unroll import scan
from unroll.attention import Memory, softmax
from unroll.cells.normalized import normalized
from unroll.compose import mask, no_draw
from unroll.layers import Layer
from unroll.linear import add_bias, product
from unroll.scan import lookup
from unroll.transformer.cache import Cache, Places, grown, placed, written
from unroll.transformer.form import Attention, Blocks, Form, Mlp, Norm, initial
from unroll.transformer.rotary import angles, turned
from unroll.types import Array, Draw, Lookup


def transformer(form: Form) -> Layer:
  """The layer; its carry is a `Cache`.

  A sequence in parts, down to single steps, gives what the whole one does, as long as
  the carry keeps as many positions as a step reads.
  """

  def unroll(
    params: Blocks,
    carry: Cache,
    xs: Array | Lookup,
    *,
    context: Memory | None = None,
    valid: Array | None = None,
    reset: Array | None = None,
    reverse: bool = False,
    backward: str = "fast",
    every: bool = False,
  ) -> tuple[Cache, Array]:
    del backward  # one way through, which JAX differentiates in every mode
    scan.check_context(form.memory > 0, context)
    if reverse or every:
      raise ValueError("a Transformer has no `reverse` and no carry of every step")
    if not xs.shape[0]:
      wide = form.width + (context.valid.shape[1] if form.weights and context else 0)
      return carry, jnp.zeros((*xs.shape[:2], wide), params.norm.scale.dtype)
    there = jnp.ones(xs.shape[:2], bool) if valid is None else valid.astype(bool)
    fresh = None if reset is None else reset.astype(bool)
    slots = carry.keys[0].shape[2] if carry.keys else 0
    places = placed(carry.length, slots, there, fresh, form.reach, form.grows)
    # Behind the barrier, or XLA takes sines anew wherever something is turned.
    turn = angles(places.position, form.width // form.heads)
    by = jax.lax.optimization_barrier(turn)

    def drop(xs: Array, site: int) -> Array:
      return _dropped(carry.draw, xs, form, site)

    x = drop(_read(params.read, xs, valid), 0)
    kept, read = [], None
    for number, block in enumerate(params.blocks):
      own, site = block.attention, 3 * number + 1
      past = None
      if carry.keys:
        past = carry.keys[number], carry.values[number]
      added, both = _attended(form, own, _norm(own.norm, x), by, places, past)
      kept.append(both)
      x = x + drop(added, site)
      if block.memory is not None and context is not None:
        added, read = _looked(form, block.memory, _norm(block.memory.norm, x), context)
        x = x + drop(added, site + 1)
      x = x + drop(_mlp(block.mlp, _norm(block.mlp.norm, x)), site + 2)
    ys = _norm(params.norm, x)
    if form.weights and read is not None:
      ys = jnp.concatenate([ys, read.astype(ys.dtype)], axis=-1)
    if valid is not None:
      ys = scan.masked(ys, there)
    return _after(carry, places, kept, xs.shape[0], valid), ys

  return Layer(
    init=lambda key: initial(form, key),
    carry=lambda params, batch: cache(form, batch, params.norm.scale.dtype),
    unroll=unroll,
    context=form.memory > 0,
  )


def cache(
  form: Form, batch: int, dtype: Any = jnp.float32, slots: int | None = None
) -> Cache:
  """The carry before the first step, of so many slots if not of those of the form."""
  kept = 0 if form.reach is None else form.blocks
  slots = form.slots if slots is None else slots
  shape = (batch, form.heads, slots, form.width // form.heads)
  keys, values = ([jnp.zeros(shape, dtype) for _ in range(kept)] for _ in range(2))
  return Cache(tuple(keys), tuple(values), jnp.zeros(batch, jnp.int32), no_draw())


def _after(
  carry: Cache, places: Places, kept: list, steps: int, valid: Array | None
) -> Cache:
  """The carry after a call."""
  draw = carry.draw._replace(t=carry.draw.t + steps)
  if not carry.keys:
    return carry._replace(draw=draw)

  def added(old: tuple[Array, ...], new: tuple[Array, ...]) -> list[Array]:
    if places.slot is None:
      return [grown(*both, valid) for both in zip(old, new)]
    return [written(*both, places.slot) for both in zip(old, new)]

  new_keys, new_values = zip(*kept)
  keys, values = added(carry.keys, new_keys), added(carry.values, new_values)
  return Cache(tuple(keys), tuple(values), places.length, draw)


def _read(read: Array | None, xs: Array | Lookup, valid: Array | None) -> Array:
  """The input `[T, B, W]`, zero where it is not valid."""
  if isinstance(xs, Lookup):
    if read is not None and lookup.pays(xs):
      xs, read = Lookup(product(xs.table, read), xs.ids), None
    xs = xs.dense()
  if valid is not None:
    xs = scan.masked(xs, valid)
  return xs if read is None else product(xs, read)


def _attended(
  form: Form,
  params: Attention,
  x: Array,
  by: tuple[Array, Array],
  places: Places,
  past: tuple[Array, Array] | None,
) -> tuple[Array, tuple[Array, Array]]:
  """What the steps read of one another and of the cache; and their keys and values."""
  query = turned(_heads(form, product(x, params.query)), by)
  key = turned(_heads(form, product(x, params.key)), by)
  value = _heads(form, product(x, params.value))
  sources = [(key, value, places.here)]
  if past is not None and past[0].shape[2]:
    sources.insert(0, (*past, places.before))
  found, _ = _found(query, sources)
  return product(found, params.output), (key, value)


def _looked(
  form: Form, params: Attention, x: Array, memory: Memory
) -> tuple[Array, Array | None]:
  """What the steps read of a memory; and the weights of its places `[T, B, S]`."""
  query = _heads(form, product(x, params.query))
  places = jnp.swapaxes(memory.values, 0, 1)
  key = _heads(form, product(places, params.key))
  value = _heads(form, product(places, params.value))
  there = jnp.broadcast_to(memory.valid[:, None], (*x.shape[1::-1], places.shape[0]))
  found, weights = _found(query, [(key, value, there)])
  shares = jnp.moveaxis(weights.mean(1), 1, 0) if form.weights else None
  return product(found, params.output), shares


def _found(
  query: Array, sources: list[tuple[Array, Array, Array]]
) -> tuple[Array, Array]:
  """Attention of `[B, heads, T, width]` to several sources at once.

  Args:
    query: of each step.
    sources: keys and values `[B, heads, S, width]`, and bool `[B, T, S]` where each
      step may read them. They are left where they are: side by side they would be
      copied at every step of generation.

  Returns:
    What was read `[T, B, W]`, 0 of nothing; and the weights `[B, heads, T, ΣS]`.
  """
  query = query / math.sqrt(query.shape[-1])
  scores = [jnp.einsum("bhtd,bhsd->bhts", query, key) for key, _, _ in sources]
  there = jnp.concatenate([seen for _, _, seen in sources], axis=-1)
  weights = softmax(jnp.concatenate(scores, axis=-1), there[:, None])
  found, start = jnp.zeros_like(query), 0
  for _, value, _ in sources:
    part = weights[..., start : start + value.shape[2]]
    found = found + jnp.einsum("bhts,bhsd->bhtd", part, value)
    start += value.shape[2]
  steps = jnp.moveaxis(found, 2, 0)
  return steps.reshape(*steps.shape[:2], query.shape[1] * query.shape[3]), weights


def _heads(form: Form, x: Array) -> Array:
  """`[T, B, W]` as `[B, heads, T, width]`."""
  each = form.width // form.heads
  return jnp.transpose(x.reshape(*x.shape[:2], form.heads, each), (1, 2, 0, 3))


def _norm(params: Norm, x: Array) -> Array:
  scale, bias = (jnp.broadcast_to(part, x.shape).astype(x.dtype) for part in params)
  return normalized(x) * scale + bias


def _mlp(params: Mlp, x: Array) -> Array:
  up = jax.nn.gelu(add_bias(product(x, params.up), params.up_bias))
  return add_bias(product(up, params.down), params.down_bias)


def _dropped(draw: Draw, xs: Array, form: Form, site: int) -> Array:
  """`xs [T, B, W]` after dropout, the same step by step as for all T."""
  if not form.dropout or draw.key is None:
    return xs

  def at(t: Array) -> Array:
    own = draw._replace(t=draw.t + t)
    return mask(own, xs.shape[1:], form.dropout, site, form.locked).astype(xs.dtype)

  if form.locked:
    return xs * at(jnp.zeros((), jnp.int32))[None]
  return xs * jax.vmap(at)(jnp.arange(len(xs), dtype=jnp.int32))
