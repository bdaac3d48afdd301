"""How much of a gradient is left at the first of T steps, of cells as they start."""

from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from unroll import scan
from unroll.architecture import Architecture
from unroll.cells import CELLS
from unroll.readout import logits
from unroll.types import Array, BadInput, Key

INPUTS, HIDDEN, ROWS = 16, 32, 64  # D, H, and the sequences of each length


def specs(parts: Iterable[str]) -> list[str]:
  """Cells, of which the options stood between commas as the cells do."""
  found = list[str]()
  for part in parts:
    if found and part.partition(":")[0].partition("@")[0] not in CELLS and "=" in part:
      found[-1] += f",{part}"
    else:
      found.append(part)
  return found


def layer(spec: str) -> Architecture:
  """The layer of `CELL[:OPTIONS][@START]`: `lstm:forget_bias=2`, `rnn@uniform`.

  Raises:
    BadInput: there is no such cell, option or start.
  """
  cell, _, init = spec.partition("@")
  chosen = Architecture(cell=cell, layers=1, hidden=(HIDDEN,), init=init)
  try:
    chosen.cells(INPUTS)
  except BadInput as error:
    raise BadInput(f"`cells` has {spec}: {error}") from None
  return chosen


def ratios(chosen: Architecture, lengths: Sequence[int], starts: int) -> NDArray:
  """|dL_T/dx_1| / |dL_T/dx_T| of a layer, `[starts, number of lengths]`.

  Inputs are independent normal numbers, and L_T is the cross-entropy of one of two
  classes, drawn as well, from the output of step T alone. Norms are the means of 64
  sequences. Sequences of all lengths go side by side, in one backward pass.

  Args:
    chosen: the layer.
    lengths: T of each.
    starts: draws of the parameters, and of all else.
  """
  (cell,) = chosen.cells(INPUTS)
  steps, last = max(lengths), np.repeat(lengths, ROWS) - 1
  rows = np.arange(last.size)
  valid = jnp.asarray(np.arange(steps)[:, None] <= last)

  def gradient(key: Key) -> tuple[Array, Array]:
    keys = jax.random.split(key, 4)
    params = cell.init(keys[0])
    carry = cell.carry(params, last.size)
    kernel = jax.nn.initializers.lecun_normal()(keys[1], (HIDDEN, 2))
    labels = jax.random.bernoulli(keys[2], shape=last.shape).astype(int)

    def loss(xs: Array) -> Array:
      ys = scan.unroll(cell, params, carry, xs, valid=valid)[1][last, rows]
      scores = jax.nn.log_softmax(logits(ys, kernel, jnp.zeros(2)))
      return -jnp.sum(scores[rows, labels])

    found = jax.grad(loss)(jax.random.normal(keys[3], (steps, last.size, INPUTS)))
    return found[0], found[last, rows]

  found, gradients = [], jax.jit(gradient)
  for number in range(starts):
    first, final = map(np.asarray, gradients(jax.random.key(number)))
    # In 64 bits: squares of what is left of a gradient are below the least of 32.
    norms = [np.linalg.norm(part.astype(np.float64), axis=1) for part in (first, final)]
    means = [norm.reshape(-1, ROWS).mean(axis=1) for norm in norms]
    found.append(means[0] / means[1])
  return np.array(found)


def middle(found: NDArray) -> list[float]:
  """The geometric mean of starts; 0 where nothing is left of one."""
  with np.errstate(divide="ignore"):
    return np.exp(np.mean(np.log(found), axis=0)).tolist()


def tell(
  each: Mapping[str, Architecture], lengths: Sequence[int], starts: int
) -> dict[str, list[float]]:
  """Measures layers by name, and prints a table of them, a line as soon as it is known.

  Returns:
    By name, the geometric means of starts for each length.
  """
  title, found = "|dL/dx_1|/|dL/dx_T|", dict[str, list[float]]()
  width = max(map(len, (title, *each)))
  print(f"{title:{width}}" + "".join(f"{f'T = {length}':>10}" for length in lengths))
  for name, chosen in each.items():
    found[name] = middle(ratios(chosen, lengths, starts))
    values = "".join(f"{value:>10.1e}" for value in found[name])
    print(f"{name:{width}}{values}", flush=True)
  return found
