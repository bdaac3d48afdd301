"""reservoirpy on JAX: one series after the other, each a compiled loop."""

import jax
import jax.numpy as jnp
from reservoirpy.jax.nodes import Reservoir

from bench.shapes import Shape
from bench.timing import Timed


def reservoir(shape: Shape) -> Timed:
  """The states of a reservoir, for every series from its start."""
  node = Reservoir(shape.hidden, sr=0.9, rc_connectivity=0.1, dtype=jnp.float32, seed=0)
  size = (shape.batch, shape.steps, shape.inputs)
  xs = jax.random.normal(jax.random.key(0), size)
  return Timed(lambda: jax.block_until_ready(node.run(xs)))
