"""A recurrent language model on text: train, resume, sample, score, evaluate.

  python -m experiments.charlm --minutes=1.5
  python -m experiments.charlm --corpus=book.txt --cell=gru --hidden=512 --epochs=5
  python -m experiments.charlm --mode=sample --workdir=RUN --prompt="The " --samples=3

The first trains the default, two LSTM layers of 256 units, on the help text that
comes with Python; `docs/results.md` has the figures, with command, machine and time.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from experiments import common, session, workdir
from unroll import generate, score
from unroll.layers import stacked
from unroll.models.language import LanguageModel, next_token_loss
from unroll.types import BadInput, Params

FLAGS = flags.FLAGS

flags.DEFINE_enum("mode", "train", ["train", "eval", "sample", "score"], "what to do")
flags.DEFINE_bool("bidirectional", False, "refused: see experiments.cloze")
flags.DEFINE_string("prompt", "", "what samples continue and scores are given; a line break")
flags.DEFINE_integer("length", 400, "most tokens of a sample", lower_bound=1)
flags.DEFINE_float("temperature", 1.0, "of samples; 0: greedy", lower_bound=0)
flags.DEFINE_integer("top_k", 0, "draws from the likeliest k; 0: all", lower_bound=0)
flags.DEFINE_float("top_p", 1.0, "draws from the nucleus of this mass")
flags.DEFINE_string("stop", "", "ends a sample once it has drawn this string")
flags.DEFINE_integer("samples", 1, "samples at once", lower_bound=1)
flags.DEFINE_string("input", "-", "what --mode=score reads, a line a sentence; - is stdin")


def main() -> None:
  if FLAGS.bidirectional:
    raise BadInput(
      "--bidirectional: a language model must not see the future that it predicts; "
      "experiments.cloze reads both ways"
    )
  if FLAGS.mode == "train":
    _train()
  else:
    path, vocabulary = workdir.existing("charlm")
    if FLAGS.mode == "eval":
      _evaluate(path, common.load_text(vocabulary))
    else:
      task, model = _task(vocabulary)
      params, _ = session.restore(task, path)
      use = _sample if FLAGS.mode == "sample" else _score
      use(model, params, vocabulary)


def _task(vocabulary, text: common.Text | None = None, split: str = "val"):
  """The language model of the flags; without text, a task that cannot be measured."""
  sizes = common.hidden_sizes()
  wiring = common.wiring()
  cells = common.cells(FLAGS.embedding or len(vocabulary))
  model = LanguageModel(
    vocabulary=len(vocabulary),
    embedding=FLAGS.embedding,
    core=stacked(*cells, wiring=wiring),
    width=wiring.output_size(sizes),
    tie=FLAGS.tie_embeddings,
    dtype=common.dtype(),
  )
  evaluations = {} if text is None else {
    "streamed": common.streamed(text.tokens[split]),
    "windowed": common.windowed(text.tokens[split]),
  }
  task = session.Task(
    init=lambda key: model.init(key, jnp.zeros((1, 1), jnp.int32)),
    carry=lambda params, batch: model.apply(params, batch, method="initial_carry"),
    loss=next_token_loss(model),
    tokens_per_char=text.tokens_per_char if text else 1.0,
    evaluations=evaluations,
    objective="streamed" if FLAGS.partition == "sequential" else "windowed",
  )
  return task, model


def _train() -> None:
  text = common.load_text()
  task, model = _task(text.vocabulary, text)
  source = common.source(text.tokens["train"])
  path = workdir.prepare("charlm", common.config(), text.vocabulary, text.digest)
  params, summary, finished = session.fit(task, source, path)
  if finished:
    if "val/loss" in summary:
      print(
        f"validation: {summary['val/bits_per_char']:.3f} bits per character, "
        f"perplexity {summary['val/perplexity']:.2f}"
      )
    drawn = _sample(model, params, text.vocabulary)
    (path / "sample.txt").write_text(drawn, "utf-8")
  else:
    common.say(f"interrupted; the same command with --workdir={path} goes on")
  if FLAGS.json:
    print(json.dumps(summary))


def _evaluate(path: Path, text: common.Text) -> None:
  results: dict[str, Any] = {}
  for split in ("val", "test"):
    if split not in text.tokens:
      continue
    task, _ = _task(text.vocabulary, text, split)
    params, step = session.restore(task, path)
    results |= session.evaluator(task, split)(params)
  for name, value in results.items():
    print(f"{name:24} {value:.4f}")
  if FLAGS.json:
    print(json.dumps({**results, "step": step, "workdir": str(path)}))


def _apply(model: LanguageModel):
  def apply(params, carry, tokens, valid=None):
    return model.apply(params, tokens, carry, valid=valid)

  return apply


def _prompt(vocabulary) -> np.ndarray:
  return vocabulary.encode(FLAGS.prompt or "\n")


def _sample(model: LanguageModel, params: Params, vocabulary) -> str:
  prompt = np.tile(_prompt(vocabulary)[:, None], (1, FLAGS.samples))
  unknown = vocabulary.unknown
  drawn = generate.sample(
    _apply(model),
    params,
    model.apply(params, FLAGS.samples, method="initial_carry"),
    jnp.asarray(prompt),
    jax.random.key(FLAGS.seed),
    length=FLAGS.length,
    temperature=FLAGS.temperature,
    top_k=FLAGS.top_k,
    top_p=FLAGS.top_p,
    stop=vocabulary.encode(FLAGS.stop).tolist() if FLAGS.stop else None,
    forbid=() if unknown is None else (unknown,),
  )
  tokens, counts = np.asarray(drawn.tokens), np.asarray(drawn.count)
  texts = [
    vocabulary.decode(np.concatenate([_prompt(vocabulary), tokens[:n, b]]))
    for b, n in enumerate(counts)
  ]
  shown = "\n---\n".join(text.strip("\n") for text in texts) + "\n"
  print(shown, end="")
  if FLAGS.mode == "sample" and FLAGS.json:
    print(json.dumps({"samples": texts}))
  return shown


def _score(model: LanguageModel, params: Params, vocabulary) -> None:
  if FLAGS.input == "-":
    lines = sys.stdin.read().splitlines()
  else:
    lines = Path(FLAGS.input).read_text("utf-8").splitlines()
  sentences = [line for line in lines if line]
  if not sentences:
    raise BadInput(f"--input={FLAGS.input} holds no line to score: give some text")
  rows = min(64, len(sentences))
  scores = score.score_sentences(
    _apply(model),
    params,
    model.apply(params, rows, method="initial_carry"),
    [vocabulary.encode(sentence) for sentence in sentences],
    context=_prompt(vocabulary).tolist(),
    batch_size=rows,
  )
  results = [
    {"text": text, "log_prob": float(p), "tokens": int(n), "perplexity": math.exp(-p / n)}
    for text, p, n in zip(sentences, scores.log_prob, scores.count)
  ]
  print("log_prob\ttokens\tperplexity\ttext")
  for r in results:
    print(f"{r['log_prob']:.4f}\t{r['tokens']}\t{r['perplexity']:.4f}\t{r['text']}")
  if FLAGS.json:
    print(json.dumps({"sentences": results}))


if __name__ == "__main__":
  common.run_main(main)
