"""A recurrent language model on text: train, resume, sample, score, evaluate.

  python -m experiments.charlm --minutes=1.5
  python -m experiments.charlm --corpus=book.txt --cell=gru --hidden=512 --epochs=5
  python -m experiments.charlm --mode=sample --workdir=RUN --prompt="The " --samples=3

The first trains the default, two LSTM layers of 256 units, on the help text that
comes with Python; `docs/results.md` has the figures, with command, machine and time.
"""

import functools
import math
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags

from experiments.session import (
  architecture,
  armfile,
  common,
  dataset,
  folder,
  kinds,
  trainer,
)
from experiments.session.task import arm_of_flags, extra, initial_carry
from unroll import generate, memory, remat, score
from unroll.data import text
from unroll.data.vocabulary import Vocabulary
from unroll.layers import stacked
from unroll.metrics import perplexity
from unroll.models.language import LanguageModel, next_token_loss
from unroll.types import BadInput, Params

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(common)  # so that --help shows them
flags.adopt_module_key_flags(armfile)

flags.DEFINE_enum("mode", "train", ["train", "eval", "sample", "score"], "what to do")
flags.DEFINE_bool("bidirectional", False, "refused: see experiments.cloze")
flags.DEFINE_string(
  "prompt", "", "what samples continue and scores are given; a line break"
)
flags.DEFINE_integer("length", 400, "most tokens of a sample", lower_bound=1)
flags.DEFINE_float("temperature", 1.0, "of samples; 0: greedy", lower_bound=0)
flags.DEFINE_integer("top_k", 0, "draws from the likeliest k; 0: all", lower_bound=0)
flags.DEFINE_float("top_p", 1.0, "draws from the nucleus of this mass; 1: all")
flags.DEFINE_string("stop", "", "ends a sample once it has drawn this string")
flags.DEFINE_integer("samples", 1, "samples at once", lower_bound=1)
kinds.DEFINE_path(
  "input", "-", "what --mode=score reads, a line a sentence; - is stdin"
)

flags.register_validator(
  "temperature",
  lambda t: t == 0 or generate.COLDEST <= t <= generate.HOTTEST,
  f"give 0 for the likeliest token, or a number from {generate.COLDEST:g} to "
  f"{generate.HOTTEST:g}",
)
flags.register_validator(
  "top_p", lambda p: 0 < p <= 1, "give a mass above 0, at most 1"
)


def main() -> None:
  """Trains, evaluates, samples or scores, as --mode says."""
  if FLAGS.bidirectional:
    raise BadInput(
      "--bidirectional: a language model must not see the future that it predicts; "
      "experiments.cloze reads both ways"
    )
  if FLAGS.mode == "train":
    trainer.train("charlm", (), _task, finish=_sample)
  elif FLAGS.mode == "eval":
    trainer.evaluate("charlm", _task)
  else:
    drawn = ("seed",) if FLAGS.mode == "sample" else ()
    path, vocabulary = folder.existing("charlm", drawn)
    task = _task(vocabulary)
    params, _ = trainer.restore(task, path)
    use = _sample if FLAGS.mode == "sample" else _score
    use(task.model, params, vocabulary, path)


def _task(
  vocabulary: Vocabulary,
  data: dataset.Dataset | None = None,
  split: str = "val",
  plan: remat.Plan = remat.NONE,
) -> trainer.Task:
  # To refuse before training what samples cannot have.
  _prompt(vocabulary), _stop(vocabulary)
  numbers = 2 * (FLAGS.length + len(vocabulary)) + sum(architecture.hidden_sizes())
  told = f"--length={FLAGS.length} for --samples={FLAGS.samples}"
  memory.check(4 * FLAGS.samples * numbers, told)
  wiring = architecture.wiring()
  model = LanguageModel(
    vocabulary=len(vocabulary),
    embedding=FLAGS.embedding,
    core=stacked(
      *architecture.cells(FLAGS.embedding or len(vocabulary)), wiring=wiring
    ),
    width=wiring.output_size(architecture.hidden_sizes()),
    tie=FLAGS.tie_embeddings,
    **architecture.model_options(),
  )
  evaluations = {}
  if data is not None:
    evaluations["streamed"] = dataset.streamed(data.tokens[split])
    evaluations["windowed"] = dataset.windowed(data.tokens[split])
  objective = "streamed" if FLAGS.partition == "sequential" else "windowed"
  loss = next_token_loss(model, plan, common.scheme().backward)
  return trainer.Task(model, loss, evaluations, objective)


@functools.cache  # so that the same model is the same program
def _apply(model: LanguageModel):
  def apply(params, carry, tokens, valid=None):
    return model.apply(params, tokens, carry, valid=valid)

  return apply


def _prompt(vocabulary: Vocabulary) -> np.ndarray:
  tokens = _tokens("prompt", FLAGS.prompt, vocabulary)
  if tokens is None:
    tokens = vocabulary.encode("\n")
  # Normalising may leave nothing of a line break; a byte it never takes away.
  return tokens if tokens.size else np.array([vocabulary.unknown], np.int32)


def _stop(vocabulary: Vocabulary) -> list[int] | None:
  tokens = _tokens("stop", FLAGS.stop, vocabulary)
  return None if tokens is None else tokens.tolist()


def _tokens(flag: str, said: str, vocabulary: Vocabulary) -> np.ndarray | None:
  """What a flag says, in tokens; None if it is empty."""
  tokens = vocabulary.encode(said)
  if said and not tokens.size:
    raise BadInput(
      f"--{flag}={said!r} holds no token of --tokenizer={vocabulary.tokenizer} "
      f"--normalize={vocabulary.normalize}: give one"
    )
  return tokens if said else None


def _sample(
  model: LanguageModel, params: Params, vocabulary: Vocabulary, path: Path
) -> None:
  prompt, unknown = _prompt(vocabulary), vocabulary.unknown
  drawn = generate.sample(
    _apply(model),
    params,
    initial_carry(model, params, FLAGS.samples),
    np.tile(prompt[:, None], (1, FLAGS.samples)),
    jax.jit(jax.random.key)(arm_of_flags().seed),
    length=FLAGS.length,
    temperature=FLAGS.temperature,
    top_k=FLAGS.top_k,
    top_p=FLAGS.top_p,
    stop=_stop(vocabulary),
    forbid=() if unknown is None else (unknown,),
  )
  tokens, counts = jax.device_get((drawn.tokens, drawn.count))
  samples = [
    vocabulary.decode(np.concatenate([prompt, tokens[:count, stream]]))
    for stream, count in enumerate(counts)
  ]
  shown = "\n---\n".join(sample.strip("\n") for sample in samples) + "\n"
  print(shown, end="")
  if FLAGS.mode == "train":
    with extra(path / "sample.txt"):
      (path / "sample.txt").write_text(shown, "utf-8")
  else:
    common.result({"samples": samples})


def _score(
  model: LanguageModel, params: Params, vocabulary: Vocabulary, path: Path
) -> None:
  del path
  if FLAGS.input == "-":
    data = sys.stdin.buffer.read()
  else:
    data = Path(FLAGS.input).read_bytes()
  where = f"--input={FLAGS.input}"
  sentences = text.read_lines(data, where, vocabulary.tokenizer)
  if not sentences:
    raise BadInput(f"{where} holds no line to score: give some text")
  rows = min(64, len(sentences))
  scores = score.score_sentences(
    _apply(model),
    params,
    initial_carry(model, params, rows),
    [vocabulary.encode(sentence) for sentence in sentences],
    context=_prompt(vocabulary).tolist(),
    batch_size=rows,
  )
  # A blank line has no token, and so no perplexity.
  results = [
    {
      "text": sentence,
      "log_prob": float(p),
      "tokens": int(n),
      "perplexity": perplexity(-float(p) / int(n)) if n else math.nan,
    }
    for sentence, p, n in zip(sentences, scores.log_prob, scores.count)
  ]
  print("log_prob\ttokens\tperplexity\ttext")
  for r, sentence in zip(results, sentences):
    numbers = f"{r['log_prob']:.4f}\t{r['tokens']}\t{r['perplexity']:.4f}"
    print(f"{numbers}\t{text.one_line(sentence)}")
  common.result({"sentences": results})


if __name__ == "__main__":
  common.run_main(main)
