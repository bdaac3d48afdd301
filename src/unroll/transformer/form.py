"""What blocks are like, and their parameters."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from unroll.types import Array, Key

_lecun = jax.nn.initializers.lecun_normal()


class Norm(NamedTuple):
  """Layer normalisation (Ba, Kiros & Hinton 2016)."""

  scale: Array  # [W]
  bias: Array  # [W]


class Attention(NamedTuple):
  """Attention; where it reads a memory, keys and values are of that."""

  norm: Norm
  query: Array  # [W, W]
  key: Array  # [W or M, W]
  value: Array  # [W or M, W]
  output: Array  # [W, W]


class Mlp(NamedTuple):
  """Two layers, each step by itself."""

  norm: Norm
  up: Array  # [W, mlp]
  up_bias: Array
  down: Array  # [mlp, W]
  down_bias: Array


class Block(NamedTuple):
  """The parameters of a block; `memory` of one that reads a memory."""

  attention: Attention
  memory: Attention | None
  mlp: Mlp


class Blocks(NamedTuple):
  """The parameters of all."""

  read: Array | None  # [D, W]; None where D is W
  blocks: tuple[Block, ...]
  norm: Norm


class Form(NamedTuple):
  """What blocks are like.

  Attributes:
    input: D.
    width: W, of the output too.
    blocks: how many.
    heads: of attention; each is W / heads wide, which is even.
    mlp: hidden units of the MLP.
    reach: the positions before its own that a step reads; None: of both sides all.
    slots: C, the positions that the carry keeps; as many as the reach, unless whoever
      makes the carry knows that fewer come.
    grows: the carry keeps every position and has more slots after each call, as other
      programs have it; the slots are those that it starts with, which nothing reads.
    memory: M, of the memory that each block reads; 0: none.
    weights: the weights of the memory's places stand behind the output, those of the
      last block as the mean of its heads: `[B, W + S]`.
    dropout: rate on the input, and on what attention and MLP add to it.
    locked: see `compose.mask`.
  """

  input: int
  width: int
  blocks: int
  heads: int
  mlp: int
  reach: int | None = None
  slots: int = 0
  grows: bool = False
  memory: int = 0
  weights: bool = False
  dropout: float = 0.0
  locked: bool = False


def initial(form: Form, key: Key) -> Blocks:
  """Parameters; what is added starts small, as there is much (Radford et al. 2019)."""
  wide, *keys = jax.random.split(key, form.blocks + 1)
  shrunk = (2 * form.blocks) ** -0.5
  norm = Norm(jnp.ones(form.width), jnp.zeros(form.width))

  def attention(key: Key, source: int) -> Attention:
    query, k, value, output = jax.random.split(key, 4)
    return Attention(
      norm,
      _lecun(query, (form.width, form.width)),
      _lecun(k, (source, form.width)),
      _lecun(value, (source, form.width)),
      _lecun(output, (form.width, form.width)) * shrunk,
    )

  def block(key: Key) -> Block:
    first, second, up, down = jax.random.split(key, 4)
    mlp = Mlp(
      norm,
      _lecun(up, (form.width, form.mlp)),
      jnp.zeros(form.mlp),
      _lecun(down, (form.mlp, form.width)) * shrunk,
      jnp.zeros(form.width),
    )
    memory = attention(second, form.memory) if form.memory else None
    return Block(attention(first, form.width), memory, mlp)

  read = None
  if form.input != form.width:
    read = _lecun(wide, (form.input, form.width))
  return Blocks(read, tuple(map(block, keys)), norm)
