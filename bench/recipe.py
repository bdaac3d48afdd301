"""A recipe of charlm in PyTorch: the same batches, its layers, its initialisation.

  python -m bench.recipe --flagfile=experiments/recipes/charlm/d2l_gru.flags \\
    --learning_rate=4 --schedule=constant --seeds=0,1,2

What Dive into Deep Learning trains: a layer on one-hot characters, a fresh state for
each window, SGD, clipping by the global norm. --init and --forget_bias are not read.
"""

import math
import time

import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments.session import architecture, common, dataset
from unroll.data.batches import Batch, Source
from unroll.types import BadInput

FLAGS = flags.FLAGS
flags.DEFINE_list("seeds", ["0"], "a run for each, one after another")

# What these recipes have in common, and all that is written here.
FIXED = {
  "optimizer": "sgd",
  "clip_by": "global_norm",
  "partition": "random",
  "embedding": 0,
  "dropout": 0.0,
  "input_dropout": None,
  "tie_embeddings": False,
  "residual": False,
  "skip": False,
  "learned_carry": False,
  "dtype": "float32",
  "weight_decay": None,
  "ema": 0.0,
  "steps": None,
  "minutes": None,
  "patience": 0,
}


def main() -> None:
  """Trains each seed and prints its validation perplexity: last, and best epoch."""
  for flag, value in FIXED.items():
    if FLAGS[flag].value != value:
      raise BadInput(f"--{flag}={FLAGS[flag].value}: only {value} is written here")
  if FLAGS.epochs is None:
    raise BadInput("--epochs says how long to train: give it, or such a recipe")
  for seed in FLAGS.seeds:
    started = time.monotonic()
    try:
      FLAGS["seed"].parse(seed)
    except flags.IllegalFlagValueError:
      raise BadInput(f"--seeds={seed}: give whole numbers from 0 up") from None
    epochs = _train()
    seconds = time.monotonic() - started
    print(
      f"seed {seed}: perplexity {epochs[-1]:.3f} after {len(epochs)} epochs, "
      f"best {min(epochs):.3f}, {seconds:.0f} s",
      flush=True,
    )


def _train() -> list[float]:
  """The validation perplexity after each epoch."""
  try:
    import torch
  except ImportError:
    raise BadInput(
      "this trains with PyTorch, which is not installed here; "
      "pip install -e '.[peers]' brings it"
    ) from None
  layers = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
  hidden = architecture.hidden_sizes()
  if FLAGS.cell not in layers or len(set(hidden)) > 1:
    raise BadInput(
      f"--cell={FLAGS.cell} --hidden={','.join(FLAGS.hidden)}: PyTorch has layers of "
      f"one width, of {', '.join(layers)}"
    )
  data = dataset.load()
  torch.manual_seed(FLAGS.seed)
  size = len(data.vocabulary)
  core = layers[FLAGS.cell](size, hidden[0], len(hidden))
  output = torch.nn.Linear(hidden[0], size)
  parameters = [*core.parameters(), *output.parameters()]
  optimizer = torch.optim.SGD(parameters, lr=FLAGS.learning_rate)
  one_hot = torch.eye(size)

  def total(batch: Batch):  # -> nats, targets
    ys, _ = core(one_hot[torch.from_numpy(batch.inputs)])
    logits, targets = output(ys).flatten(0, 1), torch.from_numpy(batch.targets)
    nats = torch.nn.functional.cross_entropy(
      logits, targets.flatten().long(), reduction="none"
    )
    weight = torch.from_numpy(batch.weight).flatten()
    return nats @ weight, weight.sum()

  def perplexity(source: Source) -> float:
    with torch.no_grad():
      nats, targets = np.sum([[float(x) for x in total(b)] for b in source], axis=0)
    return math.exp(nats / targets)

  training = dataset.source(data.tokens["train"])
  validation = dataset.windowed(data.tokens["val"])
  steps = math.ceil(FLAGS.epochs * len(training))
  schedule = common.schedule()
  perplexities = []
  for step in range(steps):
    rate = schedule(jnp.int32(step), jnp.float32(steps), jnp.float32(1))
    optimizer.param_groups[0]["lr"] = float(rate)
    optimizer.zero_grad()
    nats, targets = total(training[step])
    (nats / targets).backward()
    if FLAGS.clip_norm:
      torch.nn.utils.clip_grad_norm_(parameters, FLAGS.clip_norm)
    optimizer.step()
    if (step + 1) % len(training) == 0 or step + 1 == steps:
      perplexities.append(perplexity(validation))
  return perplexities


if __name__ == "__main__":
  common.run_main(main)
