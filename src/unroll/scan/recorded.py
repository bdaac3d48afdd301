"""The backward pass of any cell: its products `x @ W` are kept, summed after the loop.

Plain autodiff of a scan keeps whatever a step computes, and adds to every weight
gradient once per step: T products `[H, B] @ [B, G]`, each too thin to run fast. Here a
step keeps its carry and the result of each product. The backward loop evaluates what
is elementwise again, with these results in place of the products, and hands on the
gradient of each; a weight gradient is then one product `[H, T·B] @ [T·B, G]` after it.

Both loops work in place, as those of `derived` do: gradients overwrite the results that
they are of.
"""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unroll import linear
from unroll.linear import product, summed_outer
from unroll.reverse_mode import reverse_mode_only
from unroll.scan.batching import batched_alike
from unroll.scan.loops import at, in_place, put, rows, sides, traced_step
from unroll.scan.masks import masked, masked_step, select
from unroll.scan.matrix import wrapped
from unroll.scan.precision import is_real, narrowed, widened
from unroll.scan.products import Product, recording
from unroll.types import Array


@jax.custom_vjp
def _kept(x: Array, out: Array, slot: Array, w_t: Array) -> Array:
  """`out`, which x @ W was: its gradient flows to x, and to `slot` as it is."""
  del x, slot, w_t
  return out


def _kept_fwd(x, out, slot, w_t):
  return out, (x[:0], w_t)


def _kept_bwd(residuals, d_out):
  like, w_t = residuals
  return product(d_out, w_t).astype(like.dtype), None, d_out, None


_kept.defvjp(_kept_fwd, _kept_bwd)


def run(step, products, params, carry, initial, context, zs, masks, reverse, every):
  """The scan, differentiated by the `products` of its step, see `products_of`."""
  outs = [
    jnp.zeros_like(zs, shape=one.out.shape, dtype=one.out.dtype) for one in products
  ]
  factors = _factors(params, products)

  def ahead(params, *at):
    own, record = recording(params, lambda number, x, w: product(x, w))
    carry, y = step(own, *at)
    return carry, y, [out for _, _, out in record]

  def behind(outs, slots, w_ts, params, *at):
    def kept(number, x, w):
      return _kept(x, outs[number], slots[number], w_ts[number])

    own, record = recording(params, kept)
    carry, y = step(own, *at)
    lefts = [x for one, (_, x, _) in zip(products, record) if one.place is None]
    return carry, y, lefts

  # What the step closes over becomes an argument, or it would have no gradient.
  at = (params, carry, zs[0], *context)
  ahead, of_ahead = jax.closure_convert(ahead, *at)
  w_ts = [w.T for w in factors]
  behind, of_behind = jax.closure_convert(behind, outs, outs, w_ts, *at)
  place = traced_step(
    lambda carry, z: (*step(wrapped(params), carry, z, *context), ()), carry, zs[0]
  )[0]
  constants = (params, initial, context, of_behind)
  types = jax.eval_shape(lambda tree: tree, constants)
  read = _read(
    lambda params: behind(outs, outs, w_ts, params, *at[1:], *of_behind), params
  )
  others = len(jax.tree.leaves(constants)) - len(read)
  summed = tuple(map(operator.and_, _are_real(constants), (*read, *[True] * others)))
  loops = _Loops(
    *(ahead, behind, products, place, types, summed),
    *(zs.shape[0], reverse, every),
  )

  @jax.custom_vjp
  def run(*given):
    return loops.forward(*given)[0]

  run.defvjp(loops.forward, loops.backward)
  given = (widened(constants), of_ahead, carry, zs)
  return run(*reverse_mode_only(given), masks)


class _Loops(NamedTuple):
  """The loop of the forward pass, and that of the backward pass.

  Attributes:
    ahead: `(params, carry, z, *context, *closed) -> (carry, y, outs)`: a step, and the
      results of its products.
    behind: `(outs, slots, w_ts, params, carry, z, *context, *closed) -> (carry, y,
      lefts)`: the same with these results in place of the products.
    products: of a step.
    place: of the output among the leaves of the carry, or None.
    types: of what a step reads beside carry and z, before it is widened.
    summed: which leaves of that have a gradient that is added up step by step: all real
      ones but matrices that only products read.
    length: T.
    reverse: from the last step to the first.
    every: gives every carry.
  """

  ahead: Callable[..., Any]
  behind: Callable[..., Any]
  products: tuple[Product, ...]
  place: int | None
  types: Any
  summed: tuple[bool, ...]
  length: int
  reverse: bool
  every: bool

  def forward(self, wide, closed, carry, zs, masks):
    """The results, and what the backward pass needs."""
    given = (wide, carry, zs)
    params, initial, context, _ = narrowed(wide, self.types)
    (valid, reset), (_, after) = masks, sides(self.reverse)
    at_z = (params, carry, zs[0], *context, *closed)
    _, y, outs = jax.eval_shape(self.ahead, *at_z)

    def body(t, state, row):
      carry, carries, ys, stacks = state
      if reset is not None:
        carry = select(~at(reset, t), carry, initial)
      new, y, outs = self.ahead(params, carry, at(zs, t), *context, *closed)
      if valid is not None:
        new = select(at(valid, t), new, carry)
      ys = put(ys, t, y) if self.place is None else None
      return (new, put(carries, t + after, new), ys, put(stacks, t, outs)), row

    def stack(leaf):
      return jnp.zeros_like(zs, shape=(self.length, *leaf.shape), dtype=leaf.dtype)

    # The carry before the first step stands in every row, its own included.
    carries = jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf, (self.length + 1, *leaf.shape)), carry
    )
    ys = stack(y) if self.place is None else None
    state = (carry, carries, ys, [stack(out) for out in outs])
    start, stride = (self.length - 1, -1) if self.reverse else (0, 1)
    state, _ = in_place((start, stride, self.length), body, state, ())
    carry, carries, ys, stacks = state
    if self.place is not None:
      ys = jax.tree.leaves(rows(carries, after, self.length))[self.place]
    if valid is not None:
      ys = masked(ys, valid)
    results = (rows(carries, after, self.length) if self.every else carry, ys)
    return batched_alike(results, given), (wide, carries, zs, stacks, masks)

  def backward(self, residuals, cotangents):
    """The gradients of what `forward` is given."""
    wide, carries, zs, outs, masks = residuals
    params, initial, _, _ = narrowed(wide, self.types)
    d_carries, d_ys = cotangents
    before, _ = sides(self.reverse)
    factors = _factors(params, self.products)
    copied = linear.transposed if linear.at_least(self.length, 2) else jnp.transpose
    w_ts = [copied(w) for w in factors]

    def body(t, state, row):
      d_carry, d_wide, lefts = state
      z, *outs = row
      if self.every:
        d_carry = jax.tree.map(jnp.add, d_carry, at(_reals(d_carries), t))
      carry = at(carries, t + before)

      def stepped(summed, carry_reals, z, slots):
        whole = _with(wide, summed, self.summed)
        own, initial, context, closed = narrowed(whole, self.types)
        found = []

        def step(params, *read):
          new, y, lefts = self.behind(outs, slots, w_ts, params, *read, *closed)
          found.extend(lefts)
          return new, y

        begun = _with(carry, carry_reals, _are_real(carry))
        new, y = masked_step(step, own, begun, initial, context, z, at(masks, t))
        return (_reals(new), y), found

      slots = [jnp.zeros_like(out) for out in outs]
      given = (_those(wide, self.summed), _reals(carry), z, slots)
      _, pullback, found = jax.vjp(stepped, *given, has_aux=True)
      added, d_carry, d_z, d_outs = pullback((d_carry, at(d_ys, t)))
      d_wide = jax.tree.map(jnp.add, d_wide, added)
      return (d_carry, d_wide, put(lefts, t, found)), (d_z, *d_outs)

    d_carry = _reals(d_carries)
    if self.every:
      d_carry = [jnp.zeros_like(leaf[0]) for leaf in d_carry]
    lefts = [
      jnp.zeros_like(zs, shape=(self.length, *one.left.shape), dtype=one.left.dtype)
      for one in self.products
      if one.place is None
    ]
    nothing = [jnp.zeros_like(leaf) for leaf in _those(wide, self.summed)]
    state = (d_carry, nothing, lefts)
    start, stride = (0, 1) if self.reverse else (self.length - 1, -1)
    steps = (start, stride, self.length)
    (d_carry, d_wide, lefts), (d_zs, *d_outs) = in_place(
      steps, body, state, (zs, *outs)
    )
    begun = rows(carries, before, self.length)
    if masks[1] is not None:
      begun = select(~masks[1], begun, jax.tree.map(lambda i: i[None], initial))
    written, weights = iter(lefts), dict[int, Array]()
    for one, w, d_out in zip(self.products, factors, d_outs, strict=True):
      left = next(written) if one.place is None else jax.tree.leaves(begun)[one.place]
      part = summed_outer(left, d_out, w.dtype)
      weights[one.leaf] = part + weights[one.leaf] if one.leaf in weights else part
    left_over, tree = iter(d_wide), jax.tree.structure(wide)
    d_leaves: list[Array | None] = [next(left_over) if s else None for s in self.summed]
    for leaf, part in weights.items():
      own, total = d_leaves[leaf], part.astype(jax.tree.leaves(wide)[leaf].dtype)
      d_leaves[leaf] = total if own is None else own + total
    d_reals = iter(d_carry)
    return (
      jax.tree.unflatten(tree, d_leaves),
      None,
      jax.tree.unflatten(
        jax.tree.structure(carries),
        [next(d_reals) if real else None for real in _are_real(carries)],
      ),
      d_zs,
      None,
    )


def _factors(params, products) -> list[Array]:
  """The matrix of each product."""
  leaves = jax.tree.leaves(params)
  return [leaves[one.leaf] for one in products]


def _read(f, tree) -> list[bool]:
  """Which leaves of its argument a function reads."""
  program = jax.make_jaxpr(f)(tree).jaxpr
  read = {id(v) for eqn in program.eqns for v in eqn.invars} | set(
    map(id, program.outvars)
  )
  return [id(v) in read for v in program.invars]


def _are_real(tree) -> list[bool]:
  """Which leaves have a gradient: neither keys nor counts of steps."""
  return [is_real(leaf) for leaf in jax.tree.leaves(tree)]


def _reals(tree) -> list[Array]:
  return _those(tree, _are_real(tree))


def _those(tree, flags) -> list[Array]:
  """The leaves whose flag is set."""
  return [leaf for leaf, flag in zip(jax.tree.leaves(tree), flags) if flag]


def _with(tree, some, flags):
  """The tree with others for the leaves whose flag is set."""
  leaves, structure = jax.tree.flatten(tree)
  left = iter(some)
  return jax.tree.unflatten(
    structure, [next(left) if flag else leaf for leaf, flag in zip(leaves, flags)]
  )
