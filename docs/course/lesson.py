"""What the chapters share: the text that they read, and the loop that trains.

`python docs/course/lesson.py 04` runs the code of a chapter.
"""

import sys
from pathlib import Path

import jax
import numpy as np
import optax

from unroll.data import corpora, splits
from unroll.data.vocabulary import Vocabulary


def text(part="train", characters=200_000):
  """The start of the help text that comes with Python, to train on, or of its "val"."""
  return splits.split(corpora.load("pydoc"))[part][:characters]


def numbered(text):
  """A vocabulary of characters, and the text as numbers below its size."""
  vocabulary = Vocabulary.build(text)
  return vocabulary, vocabulary.encode(text)


def fit(loss, params, batches, rate=3e-3, clip=1.0):
  """Parameters that make a loss small, by Adam, and the loss of each step.

  Args:
    loss: (params, batch) -> a number.
    params: where to begin.
    batches: one a step.
    rate: the learning rate.
    clip: the norm above which a gradient is scaled down to it.
  """
  optimizer = optax.chain(optax.clip_by_global_norm(clip), optax.adam(rate))

  @jax.jit
  def step(params, state, batch):
    value, grads = jax.value_and_grad(loss)(params, batch)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, value

  state, losses = optimizer.init(params), []
  for batch in batches:
    params, state, value = step(params, state, batch)
    losses.append(value)
  return params, np.array(jax.device_get(losses))


def windows(tokens, steps, batch, length, seed=0):
  """`steps` batches of random windows `[length + 1, batch]` of a text in numbers."""
  draw = np.random.default_rng(seed)
  for _ in range(steps):
    start = draw.integers(tokens.size - length, size=batch)
    yield tokens[start + np.arange(length + 1)[:, None]]


def chapter(number):
  """The code of a chapter, its cells one after another on the lines where they stand.

  Args:
    number: "04".
  """
  [path] = Path(__file__).parent.glob(f"{number}-*.md")
  kept, inside = [], False
  for line in path.read_text("utf-8").splitlines():
    fence = line.startswith("```")
    inside = line == "```python" or (inside and not fence)
    kept.append(line if inside and not fence else "")
  return compile("\n".join(kept), str(path), "exec")


if __name__ == "__main__":
  exec(chapter(sys.argv[1]), {})
