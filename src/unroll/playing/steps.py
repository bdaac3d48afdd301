"""A step of a language model with all that is shown of it: states, and their gates."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unroll import compose, states
from unroll.diagnose.keeping import keeping, kept
from unroll.diagnose.reading import Step
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models import saved
from unroll.types import Array, Carry, Params

MOST = 256  # units of a state that are shown
TRIED = 24  # tokens of a text by chance that tell which states have a gate


class Strip(NamedTuple):
  """Units side by side: a state, or the gate that keeps it.

  Attributes:
    name: as people count, "layer 1 h".
    size: its units.
    gate: whether it is a gate.
  """

  name: str
  size: int
  gate: bool

  @property
  def shown(self) -> int:
    """How many of the units are shown, the first ones."""
    return min(self.size, MOST)


class Steps(NamedTuple):
  """A language model, step by step.

  Attributes:
    params: its parameters.
    carry: what a text starts with.
    step: the model; it shows float32 `[S]`, the units of all strips side by side.
    strips: what is shown, states before gates.
  """

  params: Params
  carry: Carry
  step: Step
  strips: tuple[Strip, ...]


def steps_of(loaded: Loaded, gates: bool = True) -> Steps:
  """The steps of a language model.

  Args:
    loaded: the model.
    gates: False leaves them out.
  """
  carry = initial_carry(loaded.module, loaded.params, 1)
  gating = _gating(loaded, carry) if gates else None
  named = _states(jax.eval_shape(lambda: carry))
  found = [Strip(_said(name), leaf.size, False) for name, leaf in named.items()]
  if gating:
    found += [Strip(_said(name), size, True) for name, size in gating.sizes.items()]

  def step(params: Params, carry: Carry, token: Array):
    after, logits = loaded.apply(params, carry, token[None])
    rows = [*_states(after).values()]
    if gating:
      rows += gating.rows(params, carry, token)
    shown = [row.reshape(-1)[:MOST].astype(jnp.float32) for row in rows]
    flat = jnp.concatenate(shown) if shown else jnp.zeros(0)
    return after, logits[0, 0].astype(jnp.float32), flat

  return Steps(loaded.params, carry, step, tuple(found))


class _Gating(NamedTuple):
  """The gates of a model's recurrent layers: their units by state, and their values."""

  sizes: Mapping[str, int]
  rows: Callable[[Params, Carry, Array], list[Array]]


def _gating(loaded: Loaded, carry: Carry) -> _Gating | None:
  """How gates are read; None where no state is kept by one."""
  flags, module = loaded.config["flags"], loaded.module
  if flags.get("model") == "transformer" or flags.get("dtype", "float32") != "float32":
    return None
  chosen = saved.architecture(flags)
  cells = chosen.cells(module.embedding or module.vocabulary)
  cell = compose.deep(*cells, wiring=chosen.wiring)

  def embedded(params: Params, tokens: Array) -> Array:
    return module.apply(
      params, tokens, method=lambda module, tokens: module.embed(tokens).dense()
    )

  own = loaded.params["params"]["recurrent"]["core"]
  tokens = np.random.default_rng(0).integers(0, module.vocabulary, (TRIED, 1), np.int32)
  xs = jax.jit(embedded)(loaded.params, tokens)
  # What draws its weights has a carry around that of the cell.
  around = (chosen.weight_dropout > 0) + (chosen.weight_noise > 0)

  def bare(carry: Carry) -> Carry:
    layers = carry.layers
    for _ in range(around):
      layers = tuple(layer.inner for layer in layers)
    return carry._replace(layers=layers)

  found = keeping(cell, own, bare(carry), xs)
  if not found:
    return None

  def rows(params: Params, carry: Carry, token: Array) -> list[Array]:
    own = cell.prepare(params["params"]["recurrent"]["core"])
    z = cell.project(own, embedded(params, token[None]))[0]
    gates = kept(cell, own, bare(carry), z)
    return [gates[name] for name in found]

  return _Gating({name: part.shape[-1] for name, part in found.items()}, rows)


def _states(carry: Carry) -> dict[str, Any]:
  """The states of a carry by name; a Transformer's keys and values are none."""
  nodes = jax.tree_util.tree_leaves_with_path(carry, is_leaf=states.is_aside)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in nodes
    if states.is_state(leaf) and str(path[0]) == ".layers"
  }


def _said(name: str) -> str:
  """`layers/0/c` as people count: "layer 1 c"."""
  _, number, *state = (part for part in name.split("/") if part != "inner")
  return f"layer {int(number) + 1} {'/'.join(state)}"
