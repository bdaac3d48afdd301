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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.parts import layers, text
from experiments.parts.text import Batches, Text
from experiments.session import door, folder, trainer
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.pieces import Pieces
from experiments.session.settings import Page, Settings
from experiments.session.task import Evaluation, Task
from experiments.session.terminal import extra, result
from experiments.session.training import Training
from unroll import generate, memory, remat, score
from unroll.architecture import Architecture
from unroll.data import text as lines
from unroll.data.vocabulary import Vocabulary
from unroll.metrics import BITS_PER_CHAR, NATS, PERPLEXITY, perplexity
from unroll.models.language import LanguageModel, language_model, next_token_loss
from unroll.settings import setting
from unroll.types import BadInput, Params


@dataclass(frozen=True)
class CharLM:
  """Language model"""

  mode: str = setting(
    "train", "what to do", choices=("train", "eval", "sample", "score"), role="call"
  )
  partition: str = setting(
    "sequential",
    "sequential: the carry passes from chunk to chunk; random: windows, each with a "
    "fresh carry",
    choices=("sequential", "random"),
  )
  tie_embeddings: bool = setting(False, "uses the embedding as the output matrix")
  prompt: str = setting(
    "",
    "text that samples continue and scores are given; a line break if empty",
    role="call",
  )
  length: int = setting(400, "most tokens of a sample", least=1, role="call")
  temperature: float = setting(
    1.0, "temperature of samples; 0: the likeliest token", least=0, role="call"
  )
  top_k: int = setting(0, "draws from the likeliest k; 0: all", least=0, role="call")
  top_p: float = setting(1.0, "draws from the nucleus of this mass; 1: all", role="call")
  stop: str = setting("", "ends a sample once it has drawn this string", role="call")
  samples: int = setting(1, "samples at once", least=1, role="call")
  input: str = setting(
    "-",
    "file that --mode=score reads, a line a sentence; -: standard input",
    kind="path",
    role="call",
  )


def main(settings: Settings) -> None:
  """Trains, evaluates, samples or scores, as `mode` says."""
  mode = settings[CharLM].mode
  _check(settings[CharLM])
  if mode == "train":
    trainer.train(settings, _task, _sample)
  elif mode == "eval":
    trainer.evaluate(settings, _task)
  else:
    path, settings, files = folder.existing(
      settings, ("seed",) if mode == "sample" else ()
    )
    vocabulary = Vocabulary.from_json(files[text.VOCABULARY])
    _check_samples(settings, vocabulary)
    model = _model(settings, vocabulary)
    loss = next_token_loss(model)
    pieces = Pieces(_task_of(model, loss), settings[Training], loss)
    params, _ = trainer.restore(settings, pieces, path)
    use = _samples if mode == "sample" else _score
    use(settings, model, params, vocabulary)


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
