"""A Transformer whose cache grows, as programs of other frameworks have it."""

import functools

from unroll import layers
from unroll.loading import Loaded
from unroll.models import saved
from unroll.models.attending import TransformerDecoder
from unroll.models.built import Built
from unroll.transformer import Stack, transformer

SLOTS = 1  # that a cache starts with: runtimes differ in what has no element


def growing(loaded: Loaded, built: Built) -> tuple[Loaded, Built]:
  """A causal Transformer, or a translator, with a cache of any length.

  A cache of a run is a ring. One that grows has the last position in its last slot, so
  that whoever keeps it may also cut off what is out of reach.

  Args:
    loaded: the model.
    built: the same.
  """
  module, flags = loaded.module, loaded.config["flags"]
  if decoder := getattr(module, "decoder", None):
    assert isinstance(decoder, TransformerDecoder) and decoder.form is not None
    form = decoder.form._replace(grows=True, slots=SLOTS)
    module = module.clone(decoder=decoder.clone(core=transformer(form), form=form))
  else:
    stack = saved.layers(flags)
    assert isinstance(stack, Stack)
    form = stack.form(module.embedding or module.vocabulary, reach=stack.chosen.context)
    module = module.clone(core=transformer(form._replace(grows=True, slots=SLOTS)))

  def apply(params, carry, inputs, valid=None):
    return module.apply(params, inputs, carry, valid=valid)

  own = built._replace(module=module, apply=apply)
  start = functools.partial(layers.initial_carry, module)
  return loaded._replace(module=module, apply=apply, initial_carry=start), own
