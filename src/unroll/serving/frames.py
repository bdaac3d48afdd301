"""A model of frames: those to come of a video."""

import json
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll.models.built import FRAMES, Built
from unroll.models.frames import Shape
from unroll.serving.value import Functions
from unroll.types import Array, BadInput, Params


def functions(built: Built) -> Functions:
  """What a model of frames answers.

  `predict(params, frames, horizon)`: float32 `[K, B, height, width, C]`, the K frames
  that follow frames `[T, B, height, width, C]`, T >= 1, of grey values from 0 to 1.
  """
  shape = Shape(**json.loads(built.files[FRAMES])["shape"])

  def predict(params: Params, frames: ArrayLike, horizon: int) -> NDArray[np.float32]:
    frames = np.asarray(frames, np.float32)
    if frames.ndim != 5 or not len(frames) or frames.shape[2:] != tuple(shape):
      raise BadInput(
        f"frames is of shape {list(frames.shape)}: give [T, B, "
        f"{', '.join(map(str, shape))}] with a step"
      )
    if horizon < 1:
      raise BadInput(f"horizon={horizon}: give the number of frames, at least 1")
    return np.asarray(_ahead(built.module, horizon)(params, jax.device_put(frames)))

  return Functions(predict)


@lru_cache(maxsize=16)  # so that the same model is the same program
def _ahead(module: Any, horizon: int):
  @jax.jit
  def ahead(params: Params, frames: Array) -> Array:
    unknown = jax.numpy.zeros((horizon, *frames.shape[1:]), frames.dtype)
    clip = jax.numpy.concatenate([frames, unknown])
    return jax.nn.sigmoid(module.apply(params, clip, horizon, method="ahead"))

  return ahead
