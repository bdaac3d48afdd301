"""What is exported of a model that ends in a decoder: two programs, as it has halves.

The encoder reads what is given at once. The step writes: it takes what the encoder gave
by the same names, and a token, and says what comes next.
"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.export import symbolic_shape

from unroll.attention import Memory
from unroll.data.captions import Pictures
from unroll.data.pairs import Given
from unroll.data.speech.dictation import Sounds
from unroll.exporting.program import (
  Kind,
  Named,
  Program,
  Shapes,
  State,
  carried,
  followed,
  following,
  named_states,
  shape_of,
  told_of,
)
from unroll.loading import Loaded
from unroll.models.captioner import Captioner
from unroll.models.conditional import Conditional
from unroll.models.translator import Translator
from unroll.types import Array, BadInput


def half(loaded: Loaded, kind: Kind, told: Mapping[str, str]) -> Program:
  """One of the two programs of a model that ends in a decoder.

  The encoder is `tokens [S, B] -> memory [B, S, M], keys [B, S, A], mask [B, S]` and
  states (of sounds `inputs [S, B, D]`, of pictures `images [B, height, width, 3]`); the
  step is `token [B]`, all these and states `-> logits [B, V], weights [B, S]` and what
  follows the states. There are keys where they are not the memory itself, and none of
  the three where the decoder reads its first state alone.

  Args:
    loaded: the model.
    kind: "encoder" or "step".
    told: what the file says of itself.

  Raises:
    BadInput: another kind.
  """
  if kind not in ("encoder", "step"):
    raise BadInput(
      f"program={kind}: a model of kind {told['model']} writes token after token, of "
      "what it has read: export program=encoder and program=step"
    )
  sizes = loaded.module.sizes
  ends = {"bos": int(sizes.bos), "eos": int(sizes.eos)}
  told = {"program": kind, **told, "decoding": json.dumps(ends)}
  return (_encoder if kind == "encoder" else _step)(loaded, told)


def _encoder(loaded: Loaded, told: Mapping[str, str]) -> Program:
  module, params = loaded.module, loaded.params
  inputs, valid, below = _read(module, _like(loaded))
  names = _states(loaded)

  def run(inputs: Named, valid: Array | None, states: Named) -> tuple[Named, Named]:
    given = _given(module, inputs, valid)
    memory, carry = module.apply(params, given, method="encode")
    made = named_states(carry)
    return {**_written(module, memory), **{n: made[n] for n in names}}, {}

  dims = valid.shape if valid is not None else next(iter(inputs.values())).shape[:1]
  return Program(run, inputs, {}, valid, dims, {**told, **told_of({})}, below)


def _step(loaded: Loaded, told: Mapping[str, str]) -> Program:
  module, params = loaded.module, loaded.params
  encoder = _encoder(loaded, told)
  made, _ = jax.eval_shape(encoder.run, encoder.inputs, encoder.valid, {})
  batch, like = encoder.dims[-1], _like(loaded)
  (past,) = symbolic_shape("p", scope=batch.scope)
  states = {}
  for name in [name for name in made if name.startswith("state.")]:
    _, *row = made[name].shape
    shape = (batch, *shape_of(like, tuple(row), past))
    states[name] = State(jax.ShapeDtypeStruct(shape, made.pop(name).dtype), None)
  inputs = {"token": jax.ShapeDtypeStruct((batch,), jnp.int32), **made}
  below = {"token": module.sizes.target, "state.length": 4}
  if module.decoder.copies:
    places = made["mask"].shape[1]
    inputs["copies"] = jax.ShapeDtypeStruct((places, batch), jnp.int32)
    below["copies"] = module.sizes.target

  def run(inputs: Named, valid: None, states: Named) -> tuple[Named, Named]:
    token, memory = inputs["token"], None
    if module.decoder.core.context:
      keys = inputs["keys" if "keys" in inputs else "memory"]
      memory = Memory(inputs["memory"], keys, inputs["mask"])
    none = {
      name: jnp.zeros((*token.shape, *leaf.shape[1:]), leaf.dtype)
      for name, leaf in named_states(like).items()
      if name not in states
    }
    carry, found, weights = module.apply(
      *(params, token, carried(like, {**none, **states}), memory),
      inputs.get("copies"),
      method="next",
    )
    out = {"logits": found}
    if weights.shape[-1] != 0:
      out["weights"] = weights
    after = followed(carry)
    return out, {following(name): after[following(name)] for name in states}

  told = {**told, **told_of(states)}
  return Program(run, inputs, states, None, (batch,), told, below)


def _like(loaded: Loaded) -> Any:
  """The shapes of a decoder's carry, of one sequence."""
  like = jax.eval_shape(lambda: loaded.initial_carry(loaded.params, 1))
  return like if isinstance(loaded.module, Captioner) else like.decoder


def _read(module: Conditional, like: Any) -> tuple[Shapes, Any, dict[str, int]]:
  """What the encoder reads: its inputs, where they are valid, and their limits."""
  leaves = named_states(like).items()
  most = max([0, *(leaf.shape[1] for name, leaf in leaves if "coverage" in name)])
  s, b = symbolic_shape("s, b", constraints=[f"s <= {most}"] if most else [])
  shape = jax.ShapeDtypeStruct
  if isinstance(module, Captioner):
    side = module.sizes.side
    return {"images": shape((b, side, side, 3), jnp.uint8)}, None, {"images": 256}
  valid = shape((s, b), jnp.bool_)
  if isinstance(module, Translator):
    return {"tokens": shape((s, b), jnp.int32)}, valid, {"tokens": module.sizes.source}
  return {"inputs": shape((s, b, module.sizes.features), jnp.float32)}, valid, {}


def _given(module: Conditional, inputs: Named, valid: Any) -> Any:
  """The inputs of `Examples`."""
  if isinstance(module, Captioner):
    return Pictures(inputs["images"][None])
  if isinstance(module, Translator):
    return Given(inputs["tokens"], valid, inputs["tokens"])
  return Sounds(inputs["inputs"], valid)


def _written(module: Conditional, memory: Memory) -> Named:
  """What the step reads of a memory, by name."""
  if not module.decoder.core.context:
    return {}
  keys = {"keys": memory.keys} if module.decoder.keys else {}
  return {"memory": memory.values, **keys, "mask": memory.valid}


def _states(loaded: Loaded) -> list[str]:
  """The names of the states that a step reads: nothing is left of it if one is NaN."""
  module, params = loaded.module, loaded.params
  inputs, *_ = _read(module, _like(loaded))
  one = {
    name: jnp.zeros([n if isinstance(n, int) else 1 for n in spec.shape], spec.dtype)
    for name, spec in inputs.items()
  }
  given, token = _given(module, one, jnp.ones((1, 1), bool)), jnp.zeros(1, jnp.int32)
  memory, carry = jax.jit(partial(module.apply, method="encode"))(params, given)
  own = named_states(carry)
  step = jax.jit(partial(module.apply, method="next"))

  def is_read(name: str) -> bool:
    if not jnp.issubdtype(own[name].dtype, jnp.floating):
      return True
    lost = carried(carry, {**own, name: jnp.full_like(own[name], jnp.nan)})
    after, found, _ = step(params, token, lost, memory, module.copies(given))
    return any(jnp.isnan(leaf).any() for leaf in (found, *named_states(after).values()))

  return [name for name, leaf in own.items() if leaf.size and is_read(name)]
