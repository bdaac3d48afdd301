"""A model of embedding, recurrent layers and read-out among arrays."""

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.convert import stacks
from unroll.convert.forms import Arrays
from unroll.convert.framework import Framework
from unroll.convert.stacks import Stack
from unroll.types import BadInput, Params

RARE = 20  # nats that a new token is below every other one, at least
_EMBEDDING = re.compile(r"emb|encoder|lookup|wte", re.IGNORECASE)


class Language(NamedTuple):
  """A language model, as ours, or a classifier of C labels in place of V tokens.

  Attributes:
    table: of the embedding, `[V, E]`; None: the layers read vectors, such as one-hot.
    stack: its recurrent layers.
    kernel: of the read-out, `[H, V]`.
    bias: of the read-out, `[V]`.
    tied: whether the read-out's matrix is the embedding's table.
  """

  table: NDArray[Any] | None
  stack: Stack
  kernel: NDArray[Any]
  bias: NDArray[Any]
  tied: bool = False

  @property
  def settings(self) -> dict[str, Any]:
    """The settings of a run that has these arrays."""
    hidden = self.stack.hidden
    return {
      "cell": self.stack.spec,
      "layers": len(hidden),
      "hidden": hidden[:1] if len(set(hidden)) == 1 else hidden,
      "embedding": 0 if self.table is None else self.table.shape[1],
      "tie_embeddings": self.tied,
    }

  def params(self) -> Params:
    """The parameters of `models.language`, by name."""
    found: dict[str, Any] = {"recurrent": {"core": self.stack.params()}}
    if self.table is not None:
      found["embed"] = {"embedding": self.table}
    if self.tied:
      found["output_bias"] = self.bias
    else:
      found["output"] = {"kernel": self.kernel, "bias": self.bias}
    return {"params": found}

  def reordered(self, rows: NDArray[np.int64]) -> "Language":
    """The same model with other numbers for its tokens.

    Args:
      rows: for each token its number before; -1 for a token that is new. Its vector is
        zero, and it is so unlikely that in float32 all others are as likely as before.
    """
    # States are within 1, but for those of a ReLU.
    least = np.min(self.bias - np.sum(np.abs(self.kernel), 0))

    def taken(array: NDArray[Any], new: float) -> NDArray[Any]:
      rest = np.full_like(array[:1], new)
      return np.concatenate([array, rest])[rows]

    one_hot = self.table is None
    return self._replace(
      table=None if self.table is None else taken(self.table, 0),
      stack=self.stack.reading(lambda w: taken(w, 0)) if one_hot else self.stack,
      kernel=np.ascontiguousarray(taken(self.kernel.T, 0).T),
      bias=taken(self.bias, least - RARE),
    )


def of_params(cell: str, params: Params, directions: int = 1) -> Language:
  """The model of the parameters of `models.language`, or of another such.

  Args:
    cell: the name of its cell, in `cells.CELLS`.
    params: with the stack's own pytree, as runs have it.
    directions: 2 of layers that read from both sides.

  Raises:
    BadInput: see `stacks.of_params`.
  """
  own = params["params"]
  table = own.get("embed", {}).get("embedding")
  table = None if table is None else np.asarray(table)
  stack = stacks.of_params(cell, own["recurrent"]["core"], directions)
  if tied := "output_bias" in own:
    assert table is not None
    kernel, bias = table.T, own["output_bias"]
  else:
    kernel, bias = own["output"]["kernel"], own["output"]["bias"]
  return Language(table, stack, np.asarray(kernel), np.asarray(bias), tied)


def written(there: Framework, model: Language) -> dict[str, NDArray[Any]]:
  """The arrays of a model under a framework's names, each in one piece of memory.

  Raises:
    BadInput: the framework cannot hold the layers.
  """
  outer, found = there.outer, {}
  if model.table is not None:
    found[outer.table] = np.ascontiguousarray(model.table)
  found |= stacks.written(there, model.stack)
  kernel = model.kernel.T if outer.turned else model.kernel
  found[outer.kernel] = np.ascontiguousarray(kernel)
  found[outer.bias] = np.ascontiguousarray(model.bias)
  return found


def read(there: Framework, arrays: Arrays, cell: str = "") -> Language:
  """The language model of some arrays, in float32.

  Of the arrays that are of no recurrent layer, the embedding is the one as wide as the
  input of the first, and the read-out the one that reads the last: names decide only
  between two that could be either.

  Args:
    there: whose names they are.
    arrays: by name.
    cell: see `stacks.read`.

  Raises:
    BadInput: the arrays are not those of one such model.
  """
  arrays = {name: _float32(name, array) for name, array in arrays.items()}
  stack, rest = stacks.read(there, arrays, cell)
  if stack.directions == 2:
    raise BadInput(
      "these layers read from both sides, and a language model only from the left: it "
      "would see what it is to predict"
    )
  biases = {name: a for name, a in rest.items() if a.ndim == 1}
  tables = {name: a for name, a in rest.items() if a.ndim == 2}
  turned = there.outer.turned
  kernels = {name: a.T if turned else a for name, a in tables.items()}
  readout, table = _chosen(stack, tables, kernels)
  kernel = np.ascontiguousarray(kernels[readout])
  sized = [name for name, bias in biases.items() if len(bias) == kernel.shape[1]]
  # Some save a matrix under several names.
  again = {n for n in tables for u in (readout, table) if _same(tables, n, u)}
  left = rest.keys() - again - set(sized[:1])
  if left:
    shown = ", ".join(f"{name} {list(rest[name].shape)}" for name in sorted(left)[:4])
    raise BadInput(
      f"{shown}: no place for this beside {readout} as read-out and {table or 'no'} "
      "embedding: drop it from the file, or move the layers alone with unroll.convert"
    )
  bias = biases[sized[0]] if sized else np.zeros(kernel.shape[1:], np.float32)
  held = tables[table] if table else None
  tied = held is not None and np.array_equal(held, kernel.T)
  return Language(held, stack, kernel, bias, tied)


def _same(tables: Arrays, name: str, other: str | None) -> bool:
  return other is not None and np.array_equal(tables[name], tables[other])


def _chosen(stack: Stack, tables: Arrays, kernels: Arrays) -> tuple[str, str | None]:
  """The names of the read-out and of the embedding; None where there is none."""
  outer = [n for n, kernel in kernels.items() if len(kernel) == stack.hidden[-1]]
  one_hot = [n for n in outer if kernels[n].shape[1] == stack.inputs]
  if len(tables) == 1 and one_hot:
    return one_hot[0], None
  pairs = [
    (name, table)
    for name in outer
    for table, array in tables.items()
    if array.shape == (kernels[name].shape[1], stack.inputs)
    # Of tied ones safetensors.torch.save_model writes one.
    and (name != table or len(tables) == 1)
  ]
  if not pairs:
    shapes = {name: list(array.shape) for name, array in tables.items()}
    raise BadInput(
      f"no read-out of {stack.hidden[-1]} numbers to V tokens is there beside vectors "
      f"[V, {stack.inputs}] of them: of what is in no recurrent layer there is {shapes}"
    )
  return min(pairs, key=lambda pair: [not _EMBEDDING.search(pair[1]), *pair])


def _float32(name: str, array: NDArray[Any]) -> NDArray[Any]:
  """An array in the type of our parameters: half precision becomes it exactly."""
  if array.dtype.kind not in "fV" and array.dtype.name not in ("bfloat16",):
    return array
  return np.ascontiguousarray(array.astype(np.float32))
