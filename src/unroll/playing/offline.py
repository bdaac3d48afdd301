"""A language model as a program for a page without a server: its step, and its weights.

The step is `tokens, state.0, … -> logits, shown, next.0, …` of one sequence.
"""

import base64
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from unroll.exporting.runs import of_run
from unroll.loading import Loaded
from unroll.playing.listed import Listing
from unroll.playing.steps import Steps, steps_of
from unroll.types import BadInput, is_draw

TOKENIZERS = ("char", "byte", "word", "whitespace")  # that the page splits texts by
LARGEST = 64 * 2**20  # bytes of weights
FEW = 16  # elements of a constant that is written as plain numbers


def program(loaded: Loaded) -> tuple[Steps, dict[str, Any]]:
  """A language model as JSON.

  Args:
    loaded: the model.

  Returns:
    Its steps, whose strips the program shows; the program: `nodes`, `outputs`,
    `states`, what each is at the start, and `constants`: shape, type, and the numbers,
    of more than 16 as the index of their base64 in `weights`.

  Raises:
    BadInput: the model has no export, is too large, or has a tokenizer that the page
      has not.
  """
  name = loaded.vocabulary.tokenizer
  if name not in TOKENIZERS:
    raise BadInput(
      f"tokenizer={name} is not one that a page without a server splits texts by: "
      f"those are {', '.join(TOKENIZERS)}; without `export` a server plays it"
    )
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(loaded.params))
  if size > LARGEST:
    raise BadInput(
      f"the weights have {size / 2**20:.0f} MiB, more than the {LARGEST // 2**20} of a "
      "page without a server: without `export` a server plays the model"
    )
  if loaded.config["flags"].get("model") == "transformer":
    raise BadInput(
      "a Transformer has no page without a server: without `export` a server plays it"
    )
  of_run(loaded, "step")  # which says what has no export
  try:
    steps = steps_of(loaded)
    listing = listed(steps)
  except BadInput:  # the derivative of a step may need more operations than the step
    steps = steps_of(loaded, gates=False)
    listing = listed(steps)
  return steps, _written(listing, steps)


def listed(steps: Steps) -> Listing:
  """The nodes of a step of one sequence."""
  leaves, tree = jax.tree.flatten(steps.carry, is_leaf=is_draw)
  places = {f"state.{i}": i for i, leaf in enumerate(leaves) if not is_draw(leaf)}

  def run(tokens, **states):
    given = list(leaves)
    for name, place in places.items():
      given[place] = states[name]
    carry = jax.tree.unflatten(tree, given)
    carry, logits, shown = steps.step(steps.params, carry, tokens)
    after = jax.tree.leaves(carry, is_leaf=is_draw)
    following = {f"next.{place}": after[place] for place in places.values()}
    return {"logits": logits, "shown": shown, **following}

  shapes = {name: _shape(leaves[place]) for name, place in places.items()}
  return Listing(run, {"tokens": jax.ShapeDtypeStruct((1,), np.int32), **shapes})


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _written(listing: Listing, steps: Steps) -> dict[str, Any]:
  leaves = jax.tree.leaves(steps.carry, is_leaf=is_draw)
  weights: list[str] = []
  states = {
    name: _array(np.asarray(leaves[int(name.partition(".")[2])]), weights)
    for name in listing.inputs
    if name != "tokens"
  }
  constants = {name: _array(a, weights) for name, a in listing.constants.items()}
  return {
    "nodes": listing.nodes,
    "outputs": listing.outputs,
    "states": states,
    "constants": constants,
    "weights": weights,
  }


def _array(array: NDArray, weights: list[str]) -> dict[str, Any]:
  """An array as JSON: few numbers as they are, many as the index of their bytes."""
  found = {"shape": list(array.shape), "type": array.dtype.name}
  if array.size <= FEW and np.all(np.isfinite(array.astype(np.float64))):
    return {**found, "data": array.reshape(-1).tolist()}
  whole = array if array.dtype == np.float32 else array.astype(np.int32)
  weights.append(base64.b64encode(np.ascontiguousarray(whole).tobytes()).decode())
  return {**found, "index": len(weights) - 1}
