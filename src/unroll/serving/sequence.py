"""A model of a task of long memory: its answers."""

from functools import lru_cache
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from unroll.layers import initial_carry
from unroll.models.built import Built
from unroll.serving.value import Functions
from unroll.types import Array, Params


def functions(built: Built) -> Functions:
  """What such a model answers.

  `predict(params, inputs)`: of the inputs `[T, B, …]` of the task, from their first
  step on, `[T, B, …]`: logits of classes, or numbers.
  """
  outputs = _outputs(built.module)

  def predict(params: Params, inputs: Array) -> NDArray[np.float32]:
    return np.asarray(outputs(params, jax.device_put(inputs)))

  return Functions(predict)


@lru_cache(maxsize=16)  # so that the same model is the same program
def _outputs(module: Any):
  @jax.jit
  def outputs(params: Params, inputs: Array) -> Array:
    carry = initial_carry(module, params, inputs.shape[1])
    return module.apply(params, inputs, carry)[1]

  return outputs
