"""A recipe of charlm in PyTorch: the same batches, its layers, its initialisation.

  python -m bench.recipe --recipe=experiments/recipes/charlm/d2l_gru.flags \\
    --learning_rate=4 --schedule=constant --seeds=0,1,2

What Dive into Deep Learning trains: a layer on one-hot characters, a fresh state for
each window, SGD, clipping by the global norm. --init and --forget_bias are not read.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments import charlm
from experiments.parts import layers, text
from experiments.parts.text import Batches, Text
from experiments.session import door
from experiments.session.settings import Page, Settings
from experiments.session.training import Training
from unroll.architecture import Architecture
from unroll.data.batches import Batch, Source
from unroll.settings import parsed, setting
from unroll.types import BadInput

# What a recipe may say here: these must have such values, those below may have any.
WRITTEN = {
  "optimizer": "sgd",
  "clip_by": "global_norm",
  "partition": "random",
  "embedding": 0,
}
READ = (
  *("corpus", "tokenizer", "normalize", "min_count", "split", "cell", "layers"),
  *("hidden", "init", "forget_bias", "truncation", "window", "stride", "batch"),
  *("clip_norm", "learning_rate", "schedule", "warmup_steps", "epochs", "seed"),
  *("eval_every", "eval_window", "eval_stride", "checkpoint_every", "keep"),
)


@dataclass(frozen=True)
class Recipe:
  """Recipe"""

  recipe: str = setting("", "the flag file of a recipe of charlm", kind="path")
  learning_rate: float | None = setting(
    None, "the highest learning rate, if not that of the recipe", least=0
  )
  schedule: str = setting("", "the schedule, if not that of the recipe")
  epochs: float | None = setting(
    None, "passes over the data, if not as many as the recipe's", least=0
  )
  seeds: tuple[int, ...] = setting((0,), "a run for each, one after another", least=0)


def main(settings: Settings) -> None:
  """Trains each seed and prints its validation perplexity: last, and best epoch."""
  recipe = _read(settings[Recipe])
  for seed in settings[Recipe].seeds:
    started = time.monotonic()
    epochs = _train(recipe.replaced(seed=seed))
    seconds = time.monotonic() - started
    print(
      f"seed {seed}: perplexity {epochs[-1]:.3f} after {len(epochs)} epochs, "
      f"best {min(epochs):.3f}, {seconds:.0f} s",
      flush=True,
    )


def _read(wanted: Recipe) -> Settings:
  """The settings of the recipe.

  Raises:
    BadInput: it has a setting that is not written here.
  """
  if not wanted.recipe:
    raise BadInput("`recipe` is missing: give a file of experiments/recipes/charlm")
  values: dict[str, Any] = {}
  for line in Path(wanted.recipe).read_text("utf-8").splitlines():
    name, given, value = line.strip().removeprefix("--").partition("=")
    if not name or name.startswith("#"):
      continue
    known = charlm.PAGE.settings.get(name)
    if known is None or not given or name not in (*READ, *WRITTEN):
      raise BadInput(f"{wanted.recipe}: {line.strip()} is not written here")
    values[name] = parsed(known, value)
  own = ("learning_rate", "schedule", "epochs")
  values |= {n: getattr(wanted, n) for n in own if getattr(wanted, n)}
  recipe = Settings.of(charlm.PAGE, **values)
  for name, value in recipe.values("run").items():
    if WRITTEN.get(name, value) != value:
      raise BadInput(
        f"{wanted.recipe} has --{name}={value}: only {WRITTEN[name]} is written here"
      )
  if recipe[Training].epochs is None:
    raise BadInput("`epochs` says how long to train: give it, or such a recipe")
  return recipe


def _train(settings: Settings) -> list[float]:
  """The validation perplexity after each epoch."""
  try:
    import torch
  except ImportError:
    raise BadInput(
      "this trains with PyTorch, which is not installed here; "
      "pip install -e '.[peers]' brings it"
    ) from None
  cores = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
  training, cell = settings[Training], settings[Architecture].cell
  hidden = layers.architecture(settings).sizes
  if cell not in cores or len(set(hidden)) > 1:
    raise BadInput(
      f"{settings.shown('cell', 'hidden')}: PyTorch has layers of one width, of "
      f"{', '.join(cores)}"
    )
  data = text.load(settings[Text])
  torch.manual_seed(training.seed)
  size = len(data.vocabulary)
  core = cores[cell](size, hidden[0], len(hidden))
  output = torch.nn.Linear(hidden[0], size)
  parameters = [*core.parameters(), *output.parameters()]
  optimizer = torch.optim.SGD(parameters, lr=training.learning_rate)
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

  source = text.windows(settings, data.tokens["train"], training.seed)
  validation = text.evaluation_windows(settings[Batches], data.tokens["val"])
  assert training.epochs is not None
  steps = math.ceil(training.epochs * len(source))
  schedule = training.make_schedule()
  perplexities = []
  for step in range(steps):
    rate = schedule(jnp.int32(step), jnp.float32(steps), jnp.float32(1))
    optimizer.param_groups[0]["lr"] = float(rate)
    optimizer.zero_grad()
    nats, targets = total(source[step])
    (nats / targets).backward()
    if training.clip_norm:
      torch.nn.utils.clip_grad_norm_(parameters, training.clip_norm)
    optimizer.step()
    if (step + 1) % len(source) == 0 or step + 1 == steps:
      perplexities.append(perplexity(validation))
  return perplexities


PAGE = Page("recipe", main, (Recipe,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
