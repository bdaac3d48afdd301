"""What a gradient that is cut short costs, on a stream of copies: a published table.

  python -m experiments.copying
  python -m experiments.copying --schemes=tbptt:5,9,tbptt:30,59 --epochs=10

Ten symbols are to be named ten steps after they were shown. Two LSTM layers learn it by
the gradient of each scheme, as those of Aicher, Foti & Fox (2019) did, whose
perplexities stand beside ours. Theirs of K steps is tbptt:K,2K-1: a gradient every K
steps, each of which looks at least K steps back.
"""

import functools
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.parts.copies import SYMBOLS, Copies, copies
from experiments.session import door
from experiments.session.settings import Page, Settings
from experiments.session.terminal import result, say
from unroll import gradients, layers, scan
from unroll.cells.lstm import lstm
from unroll.gradients import ChunkLoss, Scheme
from unroll.layers import Layer
from unroll.settings import setting
from unroll.types import Array, BadInput, Carry, Key, Params, Sums

# The test perplexity after 210 epochs, and the deviation over starts (Table C.1).
PUBLISHED = {
  **{"tbptt:5,9": (1.646, 0.012), "tbptt:10,19": (1.036, 0.005)},
  **{"tbptt:15,29": (1.039, 0.003), "tbptt:20,39": (1.040, 0.006)},
  **{"tbptt:30,59": (1.043, 0.004), "adaptive:0.9": (1.022, 0.006)},
  **{"adaptive:0.5": (1.027, 0.002), "adaptive:0.1": (1.030, 0.005)},
}
DECAY = 1e-5  # of weights
EVALUATED = 1000  # steps of the validation and the test part


@dataclass(frozen=True)
class Copying:
  """Copying"""

  schemes: str = setting(
    "tbptt:5,9,tbptt:10,19,adaptive:0.1,10,40",
    "truncation schemes, each as charlm has them",
  )
  epochs: int = setting(210, "times that the sequences are read", least=1)
  length: int = setting(4000, "T: the steps of the sequences", least=200)
  units: int = setting(50, "of each of the two layers", least=1)
  batch: int = setting(64, "sequences side by side", least=1)
  learning_rate: float = setting(
    1.0, "of gradient descent at K = 1; it grows as √K", least=0
  )
  part: int = setting(
    500,
    "steps after which the state breaks off, as in the published code; 0: never",
    least=0,
  )
  seeds: int = setting(1, "networks of each scheme", least=1)
  json: bool = setting(False, "ends standard output with one JSON object")


class Way(NamedTuple):
  """Where a network is: what it has learned, and what its estimator keeps."""

  params: Params
  opt: Any
  memory: Any


def main(settings: Settings) -> None:
  """Trains a network by every scheme, and prints a table."""
  chosen = settings[Copying]
  specs = gradients.listed(chosen.schemes)
  schemes = {spec: _checked(spec, chosen.length) for spec in specs}
  random = np.random.default_rng(0)
  sizes = (chosen.length, EVALUATED, EVALUATED)
  parts = [copies(random, size, chosen.batch) for size in sizes]
  width = max(map(len, specs)) + 2
  print(f"{'test perplexity':{width}}{'ours':>18}{'published':>18}{'seconds':>10}")
  told = {}
  for spec, scheme in schemes.items():
    say(f"truncation={spec}")
    begun = time.monotonic()
    found = [_trained(scheme, parts, chosen, seed) for seed in range(chosen.seeds)]
    each, took = [best for best, _ in found], time.monotonic() - begun
    there = PUBLISHED.get(spec) or PUBLISHED.get(spec.partition(",")[0])
    told[spec] = {
      **{"perplexity": each, "published": there and there[0], "seconds": took},
      "test_by_epoch": [ways for _, ways in found],
    }
    shown = _shown(float(np.mean(each)), float(np.std(each)) if each[1:] else None)
    beside = _shown(*there) if there else "-"
    print(f"{spec:{width}}{shown:>18}{beside:>18}{took:10.0f}", flush=True)
  result({"schemes": told}, chosen.json)


def _shown(mean: float, deviation: float | None) -> str:
  return f"{mean:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


def _checked(spec: str, length: int) -> Scheme:
  """The scheme, if all of its updates take as many steps of the same cells."""
  scheme = gradients.named_scheme(spec)
  size, overlap, lengths = scheme.chunks
  if scheme.cell or scheme.feedback or lengths or size is None:
    raise BadInput(
      f"schemes={spec} is not of K steps an update by the cells as they are: choose "
      "tbptt, adaptive, rtrl, sketched or uoro, with K"
    )
  if size + overlap > length:
    raise BadInput(
      f"schemes={spec} reads {size + overlap} steps an update, and length={length}: "
      "give a longer one"
    )
  return scheme


def _trained(
  scheme: Scheme, parts: list[Copies], chosen: Copying, seed: int
) -> tuple[float, list[float]]:
  """The test perplexity where that of validation is least; and after each epoch."""
  key = jax.random.key(seed)
  core = layers.stacked(*[lstm(chosen.units, chosen.units) for _ in range(2)])
  loss = _loss(core, scheme.backward)
  start, epoch = _program(scheme, loss, core, chosen)
  train, *evaluated = jax.device_put(parts)

  @jax.jit
  def judged(params: Params) -> list[Array]:
    carry = core.carry(params["core"], chosen.batch)
    return [loss(params, carry, part)[0] for part in evaluated]

  way, found = start(key, train), []
  for number in range(chosen.epochs):
    way = epoch(way, train, jax.random.fold_in(key, number))
    found.append(np.exp(jax.device_get(judged(way.params))))
    say(f"epoch {number + 1}: perplexity {found[-1][0]:.4f}")
  # One that is not a number is the worst.
  best = np.argmin([np.nan_to_num(val, nan=np.inf) for val, _ in found])
  return float(found[best][1]), [float(test) for _, test in found]


def _program(scheme: Scheme, loss: ChunkLoss, core: Layer, chosen: Copying):
  """What a network starts from, and the program of an epoch."""
  estimator, (size, overlap, _) = scheme.estimator(loss), scheme.chunks
  assert size is not None  # as is checked
  updates, rows = (chosen.length - overlap) // size, overlap + size
  optimizer = optax.chain(
    optax.clip_by_global_norm(1 / size),
    optax.add_decayed_weights(DECAY),
    optax.sgd(chosen.learning_rate * size**0.5),
  )

  def cut(part: Copies, begin: Array | int) -> Copies:
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, begin, rows), part)

  @jax.jit
  def start(key: Key, train: Copies) -> Way:
    params = _start(core, chosen.units, key)
    carry = core.carry(params["core"], chosen.batch)
    memory = estimator.init(params, carry, cut(train, 0))
    return Way(params, optimizer.init(params), memory)

  def broken_off(number: Array, params: Params, carry: Carry, piece: Copies) -> Carry:
    """A part starts afresh, and has read the overlap of its second update before."""
    at = number % max(chosen.part // size, 2)
    fresh = core.carry(params["core"], chosen.batch)
    carry = jax.tree.map(lambda a, b: jnp.where(at == 0, a, b), fresh, carry)
    before = jax.tree.map(lambda a: a[:overlap], piece)

    def read() -> Carry:
      return loss(params, carry, before)[1][0] if overlap else carry

    return jax.lax.cond(at == 1, read, lambda: carry)

  @functools.partial(jax.jit, donate_argnums=0)
  def epoch(way: Way, train: Copies, key: Key) -> Way:
    def update(number: Array, state: Any) -> Any:
      (params, opt, memory), carry = state
      drawn = jax.random.fold_in(key, number)
      piece = cut(train, number * size)
      if chosen.part:
        carry = broken_off(number, params, carry, piece)
      found = estimator.estimate(params, carry, memory, piece, drawn)
      change, opt = optimizer.update(found.grads, opt, params)
      return Way(optax.apply_updates(params, change), opt, found.memory), found.carry

    carry = core.carry(way.params["core"], chosen.batch)
    return jax.lax.fori_loop(0, updates, update, (way, carry))[0]

  return start, epoch


def _start(core: Layer, units: int, key: Key) -> Params:
  """Parameters that start as published: matrices evenly drawn, biases of zero."""
  key, own = jax.random.split(key)
  shapes = {
    **{"encoder": jnp.zeros((SYMBOLS, units)), "shift": jnp.zeros(units)},
    "core": core.init(own),
    **{"decoder": jnp.zeros((units, SYMBOLS)), "bias": jnp.zeros(SYMBOLS)},
  }
  leaves, form = jax.tree.flatten(shapes)

  def drawn(key: Key, leaf: Array) -> Array:
    most = (3 / max(leaf.shape)) ** 0.5
    if leaf.ndim < 2:
      return jnp.zeros_like(leaf)
    return jax.random.uniform(key, leaf.shape, minval=-most, maxval=most)

  keys = jax.random.split(key, len(leaves))
  return jax.tree.unflatten(form, map(drawn, keys, leaves))


def _loss(core: Layer, backward: scan.Backward) -> ChunkLoss:
  """The mean cross-entropy of all steps."""

  def loss(params, carry, batch: Copies):
    xs = jax.nn.one_hot(batch.x, SYMBOLS) @ params["encoder"]
    xs = xs + jnp.broadcast_to(params["shift"], xs.shape)
    carry, ys = core.unroll(params["core"], carry, xs, backward=backward)
    out = ys @ params["decoder"]
    out = out + jnp.broadcast_to(params["bias"], out.shape)
    each = optax.softmax_cross_entropy_with_integer_labels(out, batch.y)
    sums = Sums(jnp.sum(each), jnp.array(each.size, jnp.float32))
    return sums.mean(), (carry, {"loss": sums})

  return loss


PAGE = Page("copying", main, (Copying,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
