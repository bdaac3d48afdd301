"""reservoirpy: sparse products of one series after the other, in NumPy."""

import numpy as np
from reservoirpy.nodes import Reservoir

from bench.shapes import Shape
from bench.timing import Timed


def reservoir(shape: Shape) -> Timed:
  """The states of a reservoir, for every series from its start."""
  node = Reservoir(shape.hidden, sr=0.9, rc_connectivity=0.1, dtype=np.float32, seed=0)
  draw = np.random.default_rng(0)
  xs = draw.standard_normal((shape.batch, shape.steps, shape.inputs), np.float32)
  return Timed(lambda: node.run(xs))
