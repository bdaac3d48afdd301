"""The layers that the flags ask for: widths, cells, and what stands between them."""

import inspect
from typing import Any

import jax.numpy as jnp
from absl import flags

from unroll import linear
from unroll.cells import CELLS
from unroll.compose import Wiring, learned_carry
from unroll.types import BadInput, Cell

FLAGS = flags.FLAGS
WIDEST = 10**8  # of a layer: its gates side by side still have indices of 32 bits


def hidden_sizes() -> list[int]:
  """The width of each layer, from --hidden and --layers."""
  try:
    sizes = [int(size) for size in FLAGS.hidden]
  except ValueError:
    sizes = []
  if not sizes or min(sizes) < 1 or max(sizes) > WIDEST:
    raise BadInput(
      f"--hidden={','.join(FLAGS.hidden)}: give whole numbers from 1 to {WIDEST}, "
      "such as 256 or 256,128"
    )
  if len(sizes) == 1:
    return sizes * FLAGS.layers
  if FLAGS["layers"].present and len(sizes) != FLAGS.layers:
    raise BadInput(
      f"--hidden={','.join(FLAGS.hidden)} has {len(sizes)} widths and --layers="
      f"{FLAGS.layers}: give one width, or as many as there are layers"
    )
  return sizes


def wiring() -> Wiring:
  """What stands between the layers."""
  return Wiring(
    residual=FLAGS.residual,
    skip=FLAGS.skip,
    dropout=FLAGS.dropout,
    input_dropout=FLAGS.dropout if FLAGS.input_dropout is None else FLAGS.input_dropout,
    output_dropout=FLAGS.dropout,
    locked=FLAGS.dropout_mask == "sequence",
  ).check()


def cells(input_size: int) -> list[Cell]:
  """The cells of the layers, first to last, for an input of that width."""
  if FLAGS.cell not in CELLS:  # of a run that another version trained
    raise BadInput(f"--cell={FLAGS.cell} is not one of {', '.join(sorted(CELLS))}")
  constructor = CELLS[FLAGS.cell]
  options: dict[str, Any] = {}
  if FLAGS.init:
    if FLAGS.init.startswith("chrono") and not _takes("forget_bias"):
      raise BadInput(
        f"--init={FLAGS.init} sets gates and --cell={FLAGS.cell} has none: choose a "
        "gru or lstm cell, or another --init"
      )
    if not _takes("init"):
      raise BadInput(
        f"--init={FLAGS.init}: --cell={FLAGS.cell} starts in a way of its own: drop it"
      )
    options["init"] = linear.named_init(FLAGS.init)
  if FLAGS.forget_bias is not None:
    if not _takes("forget_bias"):
      raise BadInput(
        f"--forget_bias={FLAGS.forget_bias} sets a gate and --cell={FLAGS.cell} has "
        "none: drop it, or choose a gru or lstm cell"
      )
    if FLAGS.init.startswith("chrono"):
      raise BadInput(
        f"--forget_bias={FLAGS.forget_bias} and --init={FLAGS.init} both set the gate "
        "that keeps the state: drop one of them"
      )
    options["forget_bias"] = FLAGS.forget_bias
  sizes = hidden_sizes()
  made = [
    constructor(inputs, size, **options)
    for inputs, size in zip(wiring().input_sizes(input_size, sizes), sizes)
  ]
  return [learned_carry(cell) for cell in made] if FLAGS.learned_carry else made


def _takes(option: str) -> bool:
  """Whether the constructor of --cell has that option."""
  parameters = inspect.signature(CELLS[FLAGS.cell]).parameters.values()
  return any(p.name == option or p.kind is p.VAR_KEYWORD for p in parameters)


def model_options() -> dict[str, Any]:
  """What else a model takes: the type of products, the start of its output matrix."""
  options: dict[str, Any] = {}
  if FLAGS.dtype != "float32":
    options["dtype"] = jnp.dtype(FLAGS.dtype)
  if FLAGS.init:
    options["kernel_init"] = linear.named_init(FLAGS.init).kernel
  return options
