"""How near online gradients come to the exact one, on four streams.

  python -m experiments.cosines
  python -m experiments.cosines --schemes=kf_rtrl --streams=copy --seeds=5

A vanilla network of 64 units learns from a stream, an update a step, by the gradient of
each scheme. Over its last steps the cosine between that gradient, to the recurrent
parameters, and the one of real-time recurrent learning along the same way is averaged.
"""

import functools
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from experiments.parts.streams import STREAMS, Stream
from experiments.session import door
from experiments.session.settings import Page, Settings
from experiments.session.terminal import result, say
from unroll import gradients, readout, scan
from unroll.cells.vanilla import VanillaParams, vanilla
from unroll.gradients import ChunkLoss, Scheme
from unroll.settings import setting
from unroll.types import Array, BadInput, Cell, Params, Sums, seed

BEFORE = 100  # steps after which every episode of a stream has started afresh


@dataclass(frozen=True)
class Cosines:
  """Cosines"""

  schemes: str = setting(
    "snap1,snap1_local,eprop,rflo_symmetric:1,10,kf_rtrl,ok:4,uoro",
    "truncation schemes of one step an update, each as charlm has them",
  )
  streams: tuple[str, ...] = setting(
    tuple(STREAMS), "what is learned from", choices=sorted(STREAMS)
  )
  steps: int = setting(20_000, "steps of a stream, an update each", least=200)
  measured: int = setting(500, "the last of them, that are measured", least=1)
  units: int = setting(64, "of the network", least=1)
  batch: int = setting(8, "sequences side by side", least=1)
  learning_rate: float = setting(1e-3, "of Adam", least=0)
  seed: int = setting(0, "of streams, parameters and draws", least=0, most=2**30)
  seeds: int = setting(
    1, "from seed up, of which the mean is taken", least=1, most=1000
  )
  json: bool = setting(False, "ends standard output with one JSON object")


class Batch(NamedTuple):
  """Steps of a `Stream`."""

  x: Array
  y: Array
  counts: Array
  reset: Array


class Way(NamedTuple):
  """Where a network is, and what is known of its gradient.

  Attributes:
    params: its own and those of its read-out.
    opt: the state of the optimizer.
    carries: of the scheme's cell, and of the plain one.
    memories: of the scheme's estimator, and of the exact one.
    cosines: their sum, and how many they are.
  """

  params: Params
  opt: Any
  carries: tuple[Any, Any]
  memories: tuple[Any, Any]
  cosines: Sums


def main(settings: Settings) -> None:
  """Measures every scheme on every stream, and prints a table."""
  chosen = settings[Cosines]
  specs = gradients.listed(chosen.schemes)
  schemes = {spec: gradients.named_scheme(spec) for spec in specs}
  for spec, scheme in schemes.items():
    if scheme.chunks != gradients.Chunks(1):
      raise BadInput(f"schemes={spec} is not of one step an update: give K=1")
  if chosen.measured + BEFORE > chosen.steps:
    raise BadInput(
      f"steps={chosen.steps} are too few: give measured={chosen.measured} and "
      f"{BEFORE} more, at least"
    )
  width = max(map(len, specs)) + 2
  print(f"{'cosine':{width}}" + "".join(f"{name:>15}" for name in chosen.streams))
  found: dict[str, dict[str, list[float]]] = {}
  each = [replace(chosen, seed=chosen.seed + n) for n in range(chosen.seeds)]
  for spec, scheme in schemes.items():
    say(f"truncation={spec}")
    found[spec] = {
      name: [_cosine(scheme, name, one) for one in each] for name in chosen.streams
    }
    row = "".join(f"{_shown(cosines):>15}" for cosines in found[spec].values())
    print(f"{spec:{width}}{row}", flush=True)
  means = {
    spec: {name: float(np.mean(cosines)) for name, cosines in row.items()}
    for spec, row in found.items()
  }
  result({"cosines": means, "by_seed": found}, chosen.json)


def _shown(cosines: list[float]) -> str:
  """The mean, and the deviation over seeds where there are some."""
  deviation = f" ± {np.std(cosines):.3f}" if cosines[1:] else ""
  return f"{np.mean(cosines):.3f}{deviation}"


def _cosine(scheme: Scheme, name: str, chosen: Cosines) -> float:
  """The mean cosine at the end of a stream."""
  stream = STREAMS[name](np.random.default_rng(chosen.seed), chosen.steps, chosen.batch)
  plain = vanilla(stream.x.shape[-1], chosen.units)
  own = scheme.cell(plain) if scheme.cell else plain
  losses = (_loss(own, stream, scheme), _loss(plain, stream, gradients.full()))
  params = _start(plain, stream, chosen)
  optimizer = optax.adam(chosen.learning_rate)
  at = Batch(*map(jnp.asarray, stream[: len(Batch._fields)]))
  key = jax.random.key(chosen.seed)
  estimators = (scheme.estimator(losses[0]), gradients.rtrl().estimator(losses[1]))
  piece = jax.tree.map(lambda leaf: leaf[:1], at)
  carries = tuple(cell.carry(params["cell"], chosen.batch) for cell in (own, plain))
  begun = (part.init(params, c, piece) for part, c in zip(estimators, carries))
  start = Way(params, optimizer.init(params), carries, tuple(begun), Sums.zero())

  def step(number: Array, way: Way, beside: bool) -> Way:
    piece = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, number, 1), at)
    there = piece.counts[0, 0]
    drawn = jax.random.fold_in(key, number)
    carries = (seed(way.carries[0], drawn), way.carries[1])
    both = [
      estimator.estimate(way.params, carry, memory, piece, drawn)
      for estimator, carry, memory in zip(
        estimators[: 1 + beside], carries, way.memories
      )
    ]
    cosines = way.cosines
    if beside:
      found, exact = (one.grads["cell"] for one in both)
      cosines += _between(found, exact, there)
    updates, opt = optimizer.update(both[0].grads, way.opt, way.params)
    new = (optax.apply_updates(way.params, updates), opt)
    # Where nothing is asked nothing is learned; Adam would go on by what it has.
    params, opt = jax.tree.map(
      lambda a, b: jnp.where(there, a, b), new, (way.params, way.opt)
    )
    carries = (seed(both[0].carry, None), both[-1].carry if beside else way.carries[1])
    memories = (both[0].memory, both[-1].memory if beside else way.memories[1])
    return Way(params, opt, carries, memories, cosines)

  @functools.partial(jax.jit, static_argnames="beside")
  def run(way: Way, begin: int, end: int, beside: bool) -> Way:
    return jax.lax.fori_loop(begin, end, lambda t, way: step(t, way, beside), way)

  counted = chosen.steps - chosen.measured
  way = run(start, 0, counted - BEFORE, beside=False)
  # The exact gradient is known once every episode has started afresh beside it.
  state = way.carries[0].carry if scheme.cell else way.carries[0]
  way = way._replace(carries=(way.carries[0], state))
  way = run(way, counted - BEFORE, counted, beside=True)
  way = way._replace(cosines=Sums.zero())
  return float(run(way, counted, chosen.steps, beside=True).cosines.mean())


def _between(found: Params, exact: Params, there: Array) -> Sums:
  """The cosine between two gradients, where there is one."""
  a, b = (ravel_pytree(part)[0] for part in (found, exact))
  sizes = jnp.linalg.norm(a) * jnp.linalg.norm(b)
  there = jnp.logical_and(there, sizes > 1e-24)
  cosine = jnp.where(there, a @ b / jnp.where(there, sizes, 1), 0)
  return Sums(cosine, there.astype(jnp.float32))


def _start(cell: Cell, stream: Stream, chosen: Cosines) -> Params:
  """Parameters that start as PyTorch's do, with biases of zero in the network."""
  keys = iter(jax.random.split(jax.random.key(chosen.seed), 4))
  most = chosen.units**-0.5

  def drawn(*shape: int) -> Array:
    return jax.random.uniform(next(keys), shape, minval=-most, maxval=most)

  inputs, outputs = stream.x.shape[-1], stream.y.shape[-1]
  own = VanillaParams(
    drawn(inputs, chosen.units),
    drawn(chosen.units, chosen.units),
    jnp.zeros(chosen.units),
  )
  return {"cell": own, "kernel": drawn(chosen.units, outputs), "bias": drawn(outputs)}


def _loss(cell: Cell, stream: Stream, scheme: Scheme) -> ChunkLoss:
  """Cross-entropy or the mean square, of a step that is counted."""

  def loss(params, carry, batch):
    carry, ys = scan.unroll(
      cell, params["cell"], carry, batch.x, reset=batch.reset, backward=scheme.backward
    )
    kernel = params["kernel"]
    if scheme.feedback:
      out = readout.sent_back(ys, kernel, readout.fixed(kernel))
    else:
      out = ys @ kernel
    out = out + jnp.broadcast_to(params["bias"], out.shape)
    if stream.classes:
      each = -jnp.sum(batch.y * jax.nn.log_softmax(out), axis=-1)
    else:
      each = jnp.mean(jnp.square(out - batch.y), axis=-1)
    mean = jnp.where(batch.counts[0, 0], jnp.mean(each), 0)
    return mean, (carry, {"loss": Sums(mean, jnp.ones(()))})

  return loss


PAGE = Page("cosines", main, (Cosines,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
