"""Generation: read a prompt, then draw token after token in one compiled loop.

`frames` does the same with steps that are vectors, such as those of a piano roll.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from unroll.types import Array, BadInput, Carry, Key, Params

# (params, carry, tokens [T, B], valid=[T, B] or None) -> (carry, logits [T, B, V]):
# the function that training calls; one step of generation is T = 1.
Apply = Callable[..., tuple[Carry, Array]]

# Random numbers drawn at once, for as many steps as that makes: one by one they cost
# more than a small model's step, and more of them would not stay in cache.
NOISE_AHEAD = 2**16

# Beyond these a logit divided by the temperature, or a random number times it, is too
# large for float32.
COLDEST, HOTTEST = 1e-30, 1e30


@struct.dataclass
class Sample:
  """The tokens that `sample` drew.

  Every stream's carry has read all but its last token, and past its count a stream
  repeats that token: `carry` with the prompt `tokens[-1:]` goes on where this ended.

  Attributes:
    tokens: `[length, B]` int32.
    count: `[B]` int32, tokens drawn; the stop string, if one came, is the last of them.
    carry: the recurrent state.
  """

  tokens: Array
  count: Array
  carry: Carry


def sample(
  apply: Apply,
  params: Params,
  carry: Carry,
  prompt: Array | np.ndarray,
  key: Key,
  *,
  length: int,
  temperature: float = 1.0,
  top_k: int = 0,
  top_p: float = 1.0,
  stop: Sequence[int] | Array | None = None,
  forbid: Sequence[int] = (),
) -> Sample:
  """Continues B prompts, each with random numbers of its own.

  Tokens come from softmax(logits / temperature), cut to the `top_k` likeliest and
  then, renormalised, to the nucleus of mass `top_p` (Holtzman et al. 2020, "The
  Curious Case of Neural Text Degeneration"). What stream b draws depends on the key
  and on b, not on the other streams. Compiled once for each `apply` (hand over the
  same function again), shape, `length` and `forbid`, with and without a cut; a new
  temperature, `top_k`, `top_p` or stop string of equal length reuses the program.

  Args:
    apply: the model, `(params, carry, tokens, valid=None) -> (carry, logits)`.
    params: its parameters.
    carry: its state before the prompt.
    prompt: `[P, B]` integer token ids, P >= 1.
    key: PRNG key, consumed.
    length: most tokens to draw for a stream; the loop ends sooner once all stopped.
    temperature: 0 takes the likeliest token, the first among equals; else from
      1e-30 to 1e30.
    top_k: number of likeliest tokens to draw from; 0 for all.
    top_p: the smallest set of likeliest tokens whose mass is at least this; 1 for all.
    stop: token ids of a string after which a stream stops. It is looked for in the
      tokens drawn, not in the prompt.
    forbid: token ids that are never drawn.

  Returns:
    The `Sample`.

  Raises:
    BadInput: an argument is out of its range.
  """
  if temperature != 0 and not COLDEST <= temperature <= HOTTEST:
    raise BadInput(
      f"temperature is {temperature}; give 0 for the likeliest token, or a number from "
      f"{COLDEST:g} to {HOTTEST:g} to draw."
    )
  if not 0 <= top_k < 2**31:
    raise BadInput(
      f"top_k is {top_k}; give the number of tokens to keep, up to {2**31 - 1}, or 0 "
      "for all."
    )
  if not 0 < top_p <= 1:
    raise BadInput(
      f"top_p is {top_p}; give a mass above 0 and at most 1 (1 keeps all)."
    )
  if not 1 <= length < 2**31:
    raise BadInput(f"length is {length}; ask for 1 token to {2**31 - 1}.")
  prompt = placed(prompt)
  integers = jnp.issubdtype(prompt.dtype, jnp.integer)
  if prompt.ndim != 2 or not prompt.size or not integers:
    raise BadInput(
      f"prompt is {prompt.dtype}{list(prompt.shape)}; give integer token ids [P, B] "
      "with at least one token for each stream, such as a line break."
    )
  # No token is -1, so this stop string never comes.
  stop = placed([-1] if stop is None else stop).astype(jnp.int32)
  if stop.ndim != 1 or not stop.size:
    raise BadInput(
      f"stop is of shape {list(stop.shape)}; give the token ids of a string of at "
      "least one token, or None to draw all of length."
    )
  return _sample(
    apply,
    params,
    carry,
    prompt.astype(jnp.int32),
    key,
    placed(np.float32(temperature)),
    placed(np.int32(top_k)),
    # A mass too small for float32 is still above 0, and the likeliest token has it.
    placed(np.float32(max(top_p, float(np.finfo(np.float32).tiny)))),
    stop,
    length=length,
    # The likeliest token survives every cut: a greedy stream needs no sort.
    cut=temperature > 0 and (top_k > 0 or top_p < 1),
    forbid=tuple(int(i) for i in forbid),
  )


@partial(jax.jit, static_argnums=0, static_argnames=("draw", "length"))
def frames(
  apply: Apply,
  params: Params,
  carry: Carry,
  prompt: Array,
  key: Key,
  *,
  length: int,
  draw: Callable[..., Array],
  options: tuple[Array, ...] = (),
) -> tuple[Carry, Array]:
  """Continues B prompts of steps that are vectors; what is drawn is read next.

  What stream b draws depends on the key and on b, not on the other streams.

  Args:
    apply: the model, `(params, carry, steps [T, B, D]) -> (carry, outputs [T, B, …])`.
    params: its parameters.
    carry: its state before the prompt.
    prompt: `[P, B, D]`, P >= 1.
    key: PRNG key, consumed.
    length: steps to draw.
    draw: `(outputs of a stream and step, key, *options) -> step [D]`.
    options: further arrays that `draw` takes; other values run the same program.

  Returns:
    The carry, which has read all but the last step, and the steps `[length, B, D]`.
  """
  carry = warm_up(apply, params, carry, prompt)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(prompt.shape[1]))
  several = jax.vmap(lambda output, key: draw(output, key, *options))

  def step(both: tuple[Carry, Array], t: Array):
    carry, last = both
    carry, outputs = apply(params, carry, last[None])
    last = several(outputs[0], jax.vmap(jax.random.fold_in, (0, None))(keys, t))
    return (carry, last), last

  (carry, _), steps = jax.lax.scan(step, (carry, prompt[-1]), jnp.arange(length))
  return carry, steps


def placed(value: Any) -> Array:
  """An array on the device: put there, as JAX may be told to move nothing by itself."""
  return jax.device_put(value if isinstance(value, Array) else np.asarray(value))


@partial(jax.jit, static_argnums=0)
def warm_up(apply: Apply, params: Params, carry: Carry, prompt: Array) -> Carry:
  """Reads all of a prompt `[P, B]` but its last token, which the next step reads."""
  return apply(params, carry, prompt[:-1])[0] if len(prompt) > 1 else carry


def shortlist(
  logits: Array, temperature: Array, top_k: Array, top_p: Array
) -> tuple[Array, Array]:
  """Sorts tokens by logit and shuts out those beyond `top_k` and then `top_p`.

  Args:
    logits: `[V]` of one stream.
    temperature: above 0; the nucleus is one of softmax(logits / temperature).
    top_k: tokens to keep; 0 for all.
    top_p: mass to keep; 1 for all.

  Returns:
    `(logits [V], ids [V])`, both from the largest logit to the smallest, of equal
    logits the smaller id first; -inf where shut out.
  """
  ids = jnp.argsort(logits, descending=True, stable=True).astype(jnp.int32)
  logits = logits[ids]
  in_top_k = (top_k == 0) | (jnp.arange(len(logits)) < top_k)
  logits = jnp.where(in_top_k, logits, -jnp.inf)
  prob = jax.nn.softmax((logits - logits[0]) / temperature)
  likelier = jnp.cumsum(prob) - prob  # mass of the tokens before this one
  # Rounding can lift `likelier` to 1 before the last token: 1 has to mean all.
  in_top_p = (top_p >= 1) | (likelier < top_p)
  return jnp.where(in_top_p, logits, -jnp.inf), ids


class _Loop(NamedTuple):
  t: Array  # scalar, steps taken
  carry: Carry
  last: Array  # [B], the token to read next
  tokens: Array  # [length, B], filled up to t
  window: Array  # [S, B], the last S tokens drawn
  drawn: Array  # [B], tokens drawn by each stream
  stopped: Array  # [B] bool


@partial(jax.jit, static_argnums=0, static_argnames=("length", "cut", "forbid"))
def _sample(
  apply: Apply,
  params: Params,
  carry: Carry,
  prompt: Array,
  key: Key,
  temperature: Array,
  top_k: Array,
  top_p: Array,
  stop: Array,
  *,
  length: int,
  cut: bool,
  forbid: tuple[int, ...],
) -> Sample:
  batch = prompt.shape[1]
  carry = warm_up(apply, params, carry, prompt)
  vocabulary = jax.eval_shape(apply, params, carry, prompt[-1:])[1].shape[-1]
  allowed = permitted(vocabulary, forbid)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch))
  block = min(length, max(1, NOISE_AHEAD // (batch * vocabulary)))

  def gumbel(t: Array, key: Key) -> Array:
    return jax.random.gumbel(jax.random.fold_in(key, t), (vocabulary,), jnp.float32)

  def draw(logits: Array, noise: Array) -> Array:
    logits = jnp.where(allowed, logits, -jnp.inf)
    ids = jnp.arange(vocabulary, dtype=jnp.int32)
    if cut:
      logits, ids = shortlist(logits, temperature, top_k, top_p)
    # Gumbel-max, times the temperature: at 0 it is the argmax, the first of equals.
    scores = logits + temperature * noise
    # XLA vectorises the maximum and the minimum, but not jnp.argmax.
    return jnp.min(jnp.where(scores < jnp.max(scores), vocabulary, ids))

  def step(noise: Array, s: _Loop) -> _Loop:
    carry, logits = apply(params, s.carry, s.last[None], valid=~s.stopped[None])
    token = jax.vmap(draw)(logits[0].astype(jnp.float32), noise[s.t % block])
    last = jnp.where(s.stopped, s.last, token)
    window = jnp.concatenate([s.window[1:], last[None]])
    return _Loop(
      t=s.t + 1,
      carry=carry,
      last=last,
      tokens=s.tokens.at[s.t].set(last),
      window=window,
      drawn=s.drawn + (~s.stopped).astype(jnp.int32),
      stopped=s.stopped | jnp.all(window == stop[:, None], axis=0),
    )

  def running(s: _Loop) -> Array:
    return (s.t < length) & ~jnp.all(s.stopped)

  def steps(s: _Loop) -> _Loop:
    """A block of steps, its random numbers drawn at once."""
    end = s.t + block
    noise = jax.vmap(jax.vmap(gumbel, (None, 0)), (0, None))(
      s.t + jnp.arange(block), keys
    )
    return jax.lax.while_loop(
      lambda s: running(s) & (s.t < end), partial(step, noise), s
    )

  end = jax.lax.while_loop(
    running,
    steps,
    _Loop(
      t=jnp.zeros((), jnp.int32),
      carry=carry,
      last=prompt[-1],
      tokens=jnp.zeros((length, batch), jnp.int32),
      window=jnp.full((len(stop), batch), -2, jnp.int32),  # matches nothing
      drawn=jnp.zeros(batch, jnp.int32),
      stopped=jnp.zeros(batch, bool),
    ),
  )
  filled = jnp.arange(length)[:, None] < end.t
  return Sample(jnp.where(filled, end.tokens, end.last[None]), end.drawn, end.carry)


def permitted(vocabulary: int, forbid: tuple[int, ...]) -> np.ndarray:
  """`[V]` bool, False at the forbidden ids."""
  allowed = ~np.isin(np.arange(vocabulary), forbid)
  if not allowed.any() or not all(0 <= i < vocabulary for i in forbid):
    raise BadInput(
      f"forbid is {forbid}; give ids from 0 to {vocabulary - 1} and leave at least one "
      "token to draw."
    )
  return allowed
