"""How far the gradient of a truncation scheme is from the full one, and what it costs.

Both are taken at the same parameters, of the same text from a fresh state, and of no
dropout: the scheme's chunk by chunk, as it trains, added up; the full one through all
steps at once.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from numpy.typing import NDArray

from experiments.parts import text
from experiments.parts.text import Text
from experiments.session.pieces import Pieces
from experiments.session.settings import Settings
from experiments.session.task import Task
from experiments.session.terminal import say
from unroll import remat
from unroll.data.batches import Source
from unroll.diagnose import Bias, bias
from unroll.gradients.scheme import over_chunks
from unroll.loading import Loaded
from unroll.types import Array, BadInput, Params, draws

# What is drawn within a step would be drawn in another way by each scheme; what is
# clipped on the way back is no gradient.
STILL = {
  "carry_clip": 0.0,
  **dict.fromkeys(("dropout", "input_dropout", "output_dropout"), 0.0),
  **dict.fromkeys(("embedding_dropout", "recurrent_dropout"), 0.0),
  **dict.fromkeys(("weight_dropout", "weight_noise"), 0.0),
  "zoneout": (),
}


class Found(NamedTuple):
  """What was found of a scheme.

  Attributes:
    groups: its bias by group of parameters; "all" first.
    seconds: for a thousand steps of all sequences, without the update.
    kept: bytes that pass from chunk to chunk beside the parameters.
  """

  groups: dict[str, Bias]
  seconds: float
  kept: int


class Along(NamedTuple):
  """A stretch of text, and how often what a scheme draws is drawn.

  Attributes:
    tokens: `[rows · steps + 1]`.
    rows: sequences side by side.
    draws: of a scheme's randomness, at least 2.
  """

  tokens: NDArray[np.int32]
  rows: int
  draws: int


def measured(
  specs: Iterable[str],
  settings: Settings,
  build: Callable[[Settings], Task],
  params: Params,
  along: Along,
) -> dict[str, Found]:
  """What is found of each scheme, by its spec.

  Args:
    specs: of the schemes.
    settings: of the run.
    build: makes the run's task.
    params: the parameters to look at.
    along: the text.

  Raises:
    BadInput: a scheme does not take the run's model.
  """
  values = {**STILL, "batch": along.rows, "window": 0}
  settings = settings.adopted(values)
  full, *_ = _gradients("full", settings, build, params, along._replace(draws=1))
  groups = _groups(params)
  found = {}
  for spec in specs:
    say(f"truncation={spec}")
    drawn, seconds, kept = _gradients(spec, settings, build, params, along)
    of_groups = {
      name: bias(drawn[:, places], full[0, places]) for name, places in groups.items()
    }
    found[spec] = Found(of_groups, seconds, kept)
  return found


def _gradients(
  spec: str,
  settings: Settings,
  build: Callable[[Settings], Task],
  params: Params,
  along: Along,
) -> tuple[NDArray, float, int]:
  """The gradients `[draws, P]` of a scheme, seconds a thousand steps, bytes kept."""
  settings = settings.adopted({"truncation": spec})
  task = build(settings)
  source = text.lanes(settings, along.tokens, 0)
  example = source[0]
  pieces = Pieces.of(task, settings, remat.NONE, example)
  estimator = pieces.scheme.estimator(pieces.loss)
  fixed = pieces.scheme.chunks.lengths is None

  @jax.jit
  def begun(params: Params) -> Any:
    carry = pieces.carry(params, along.rows)
    return carry, estimator.init(params, carry, example)

  @jax.jit
  def added_up(params: Params, state: Any, batches: Any, key: Array) -> Array:
    """The mean gradient of all chunks."""
    carry, memory = state
    *_, grads = over_chunks(estimator, params, carry, memory, batches, key)
    return ravel_pytree(grads)[0]

  state = begun(params)
  chance = not fixed or draws(
    added_up, params, state, _stacked(source), jax.random.key(0)
  )
  kept = sum(leaf.nbytes for leaf in jax.tree.leaves(state) if hasattr(leaf, "nbytes"))
  drawn, seconds = [], []
  for draw in range(max(along.draws, 2) if chance else 2):  # the first one compiles
    if not fixed:
      source = text.lanes(settings, along.tokens, draw)
    begin = time.perf_counter()
    one = added_up(params, state, _stacked(source), jax.random.key(draw))
    drawn.append(np.asarray(one))
    seconds.append(time.perf_counter() - begin)
  steps = (along.tokens.size - 1) // along.rows
  return np.stack(drawn if chance else drawn[:1]), min(seconds[1:]) * 1000 / steps, kept


def _stacked(source: Source) -> Any:
  """All batches of an epoch, on a leading axis.

  Where their lengths are drawn, and so their number, it is filled up to a power of two
  with batches without a step, so that few programs are compiled.
  """
  batches = list(source)
  last = batches[-1]
  if last.valid is not None:
    empty = last._replace(weight=0 * last.weight, valid=np.zeros_like(last.valid))
    more = (1 << (len(batches) - 1).bit_length()) - len(batches)
    batches += [empty] * more
  return jax.tree.map(lambda *rows: np.stack(rows), *batches)


def _groups(params: Params) -> dict[str, NDArray[np.int64]]:
  """The places of each group of parameters among all of them; "all" first."""
  places: dict[str, list[NDArray]] = {"all": []}
  at = 0
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    parts = jax.tree_util.keystr(path, simple=True, separator="/").split("/")
    name = parts[1] if len(parts) > 1 else parts[0]
    if "core" in parts and parts.index("core") + 1 < len(parts):
      number = parts[parts.index("core") + 1]
      name = f"layer {int(number) + 1}" if number.isdigit() else name
    own = np.arange(at, at + leaf.size)
    places["all"].append(own)
    places.setdefault(name, []).append(own)
    at += leaf.size
  return {name: np.concatenate(parts) for name, parts in places.items()}


def tell(found: Mapping[str, Found]) -> Iterable[str]:
  """The lines of a table."""
  heads = f"{'cosine':>8}{'bias':>9}{'deviation':>11}{'s / 1,000':>11}{'kept':>11}"
  width = max(map(len, found)) + 2
  groups = [name for name in next(iter(found.values())).groups if name != "all"]
  yield f"{'scheme':{width}}{heads}   cosine of {', '.join(groups)}"
  for spec, one in found.items():
    whole = one.groups["all"]
    each = " ".join(f"{one.groups[name].cosine:.3f}" for name in groups)
    yield (
      f"{spec:{width}}{whole.cosine:8.4f}{whole.bias:9.4f}{whole.deviation:11.4f}"
      f"{one.seconds:11.3f}{one.kept:11,}   {each}"
    )


def summary(found: Mapping[str, Found]) -> dict[str, Any]:
  """What was found, for JSON."""
  return {
    spec: {
      "groups": {name: one._asdict() for name, one in each.groups.items()},
      "seconds": each.seconds,
      "kept": each.kept,
    }
    for spec, each in found.items()
  }


def tokens(run: Settings, loaded: Loaded, rows: int, steps: int) -> NDArray[np.int32]:
  """The start of the validation text that the run was trained beside.

  Raises:
    BadInput: it is another text, or too short.
  """
  data = text.load(run[Text], loaded.vocabulary)
  if data.digest != loaded.config["data"]:
    raise BadInput(
      f"{run.shown('corpus')} is not what the run was trained on: give `corpus`, where "
      "that is now"
    )
  found, needed = data.tokens["val"], rows * steps + 1
  if needed > found.size:
    raise BadInput(
      f"windows={rows} with lags={steps} take {needed} tokens, and the validation text "
      f"has {found.size}: lower them"
    )
  return found[:needed]
