"""The missing character, from its context on both sides.

  python -m experiments.cloze --corpus=tinyshakespeare --hidden=176 --minutes=3
  python -m experiments.cloze --mode=fill --workdir=RUN --text="to be or n_t to be"

Bidirectional against one-way models of as many parameters: `docs/results.md`.
"""

import jax
import numpy as np
from absl import flags

from experiments.session import architecture, armfile, common, dataset, folder, trainer
from unroll import remat
from unroll.data.vocabulary import Vocabulary
from unroll.layers import Layer, rematerialised, stacked
from unroll.models.cloze import ClozeModel, cloze_loss
from unroll.types import BadInput

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(common)  # so that --help shows them
flags.adopt_module_key_flags(armfile)

flags.DEFINE_enum("mode", "train", ["train", "eval", "fill"], "what to do")
flags.DEFINE_bool("bidirectional", True, "reads from both sides")
flags.DEFINE_enum(
  "direction", "forward", ["forward", "backward"], "which side with --nobidirectional"
)
flags.DEFINE_enum(
  "merge", "concat", ["concat", "sum", "mul", "average"], "how both sides become one"
)
flags.DEFINE_string(
  "text", "", "what --mode=fill completes: _ stands for one token, such as a character"
)
flags.FLAGS.set_default("partition", "random")
OWN = ("bidirectional", "direction", "merge")


def main() -> None:
  """Trains, evaluates or fills, as --mode says."""
  if FLAGS.mode == "train":
    trainer.train("cloze", OWN, _task)
  elif FLAGS.mode == "eval":
    trainer.evaluate("cloze", _task)
  else:
    _fill()


def _task(
  vocabulary: Vocabulary,
  data: dataset.Dataset | None = None,
  split: str = "val",
  plan: remat.Plan = remat.NONE,
) -> trainer.Task:
  if FLAGS.partition != "random":
    raise BadInput(
      "--partition=sequential: what comes next is not known yet where a chunk ends; "
      "cloze trains on --partition=random windows"
    )
  if FLAGS.tie_embeddings:
    raise BadInput("--tie_embeddings is for language models: drop it")

  def core() -> Layer:
    inputs = FLAGS.embedding or len(vocabulary)
    layer = stacked(*architecture.cells(inputs), wiring=architecture.wiring())
    return rematerialised(layer, plan)

  model = ClozeModel(
    vocabulary=len(vocabulary),
    embedding=FLAGS.embedding,
    forward=core() if FLAGS.bidirectional or FLAGS.direction == "forward" else None,
    backward=core() if FLAGS.bidirectional or FLAGS.direction == "backward" else None,
    merge=FLAGS.merge,
    **architecture.model_options(),
  )
  evaluations = {}
  if data is not None:
    evaluations["windowed"] = dataset.windowed(data.tokens[split])
  loss = cloze_loss(model, common.scheme().backward)
  return trainer.Task(model, loss, evaluations, "windowed")


def _fill() -> None:
  path, vocabulary = folder.existing("cloze")
  before, *after = FLAGS.text.split("_")
  if not after:
    raise BadInput('--mode=fill needs a --text with a gap, such as --text="n_t to be"')
  task = _task(vocabulary)
  params, _ = trainer.restore(task, path)
  unknown = ord("_") if vocabulary.unknown is None else vocabulary.unknown
  # Each part with the gap before it: normalised as a whole, gaps might be lost.
  parts = [np.append(np.int32(unknown), vocabulary.encode(part)) for part in after]
  tokens = np.concatenate([vocabulary.encode(before), *parts])
  # From left to right, because a gap is context of the next one.
  gap = tokens.size - sum(part.size for part in parts)
  text = before
  chances_of = jax.jit(
    lambda params, tokens: jax.nn.softmax(task.model.apply(params, tokens[:, None]))
  )
  for part, rest in zip(parts, after):
    found = jax.device_get(chances_of(params, jax.device_put(tokens)))
    chances = np.array(found[gap, 0])
    if vocabulary.unknown is not None:
      chances[vocabulary.unknown] = 0
    best = np.argsort(-chances)[:5]
    print(", ".join(f"{vocabulary.tokens[i]!r} {chances[i]:.3f}" for i in best))
    tokens[gap] = best[0]
    gap += part.size
    text += vocabulary.decode(best[:1]) + rest
  print(text)
  common.result({"text": text})


if __name__ == "__main__":
  common.run_main(main)
