"""The flags of every experiment, what they say of training, and how a script ends.

A flag is read here and nowhere below: `src/unroll` takes plain arguments.
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from absl import app, flags, logging

from experiments.session import compilation, gang, kinds, output
from unroll import devices, gradients, optim, schedules
from unroll.cells import CELLS
from unroll.data import text
from unroll.errors import sentence
from unroll.train import Arm
from unroll.types import BadInput

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(gang)

MOST = 2**31 - 1  # as a whole number of 32 bits, which devices count in
LESS = "lower --batch, --hidden, --layers, or the steps of --truncation or --window"
LARGEST = 3e38  # as a number of 32 bits

# What the run is.
kinds.DEFINE_path("corpus", "pydoc", "pydoc, stdlib, a registry name, or a text file")
flags.DEFINE_enum("tokenizer", "char", sorted(text.TOKENIZERS), "what a token is")
flags.DEFINE_enum(
  "normalize",
  "none",
  sorted(text.NORMALIZERS),
  "letters: lower case, a-z and space only",
)
flags.DEFINE_integer("min_count", 1, "rarer tokens become <unk>", lower_bound=1)
flags.DEFINE_string(
  "split",
  "",
  "train,val[,test] as fractions (0.9,0.1) or ranges of characters (0:900,900:1000); "
  "empty: the official split, else 0.9,0.1",
)
flags.DEFINE_enum("cell", "lstm", sorted(CELLS), "the recurrent cell")
flags.DEFINE_integer("layers", 2, "recurrent layers", lower_bound=1, upper_bound=1000)
flags.DEFINE_list(
  "hidden", ["256"], "hidden units: of every layer, or one number a layer"
)
flags.DEFINE_integer(
  "embedding", 64, "width of the embedding; 0: one-hot", lower_bound=0
)
flags.DEFINE_bool("residual", False, "adds a layer's input to its output")
flags.DEFINE_bool(
  "skip", False, "feeds the input to, and reads the output of, every layer"
)
flags.DEFINE_float("dropout", 0.0, "rate between layers, on the input and the output")
flags.DEFINE_float(
  "input_dropout", None, "rate on the input; as --dropout if not given"
)
flags.DEFINE_enum(
  "dropout_mask", "step", ["step", "sequence"], "a mask each step, or one for all steps"
)
flags.DEFINE_bool("tie_embeddings", False, "uses the embedding as the output matrix")
flags.DEFINE_string(
  "init", "", "orthogonal, glorot, identity, uniform, normal:STD or chrono:T_max"
)
flags.DEFINE_float(
  "forget_bias",
  None,
  "at the start, of the gate that keeps the state: the LSTM's forget gate (1 if not "
  "given), a GRU's update gate (0)",
)
flags.DEFINE_bool("learned_carry", False, "learns the initial carry instead of zero")
flags.DEFINE_enum(
  "dtype", "float32", ["float32", "bfloat16"], "of matrix products; sums are float32"
)

# How it is trained.
flags.DEFINE_string(
  "truncation",
  "tbptt:64",
  "full, tbptt:K, tbptt:K1,K2 or random:K: reach of the gradient",
)
flags.DEFINE_enum(
  "partition",
  "sequential",
  ["sequential", "random"],
  "sequential: the carry passes from chunk to chunk; random: windows, each from afresh",
)
flags.DEFINE_integer(
  "window", 0, "steps a batch spans; 0: what the truncation takes", lower_bound=0
)
flags.DEFINE_integer(
  "stride", 0, "from one random window to the next; 0: the window", lower_bound=0
)
flags.DEFINE_integer("batch", 32, "sequences side by side", lower_bound=1)
flags.DEFINE_float("clip_norm", 1.0, "clipping threshold; 0: off", lower_bound=0)
flags.DEFINE_enum(
  "clip_by", "global_norm", sorted(optim.CLIPS), "what is held below it"
)
flags.DEFINE_string(
  "optimizer",
  "adam",
  "sgd, momentum[:M], rmsprop[:R], adagrad, adam[:B1,B2], adamw[:…]",
)
flags.DEFINE_float("learning_rate", 2e-3, "the highest learning rate", lower_bound=0)
flags.DEFINE_string(
  "schedule",
  "constant",
  "constant, linear[:FINAL], cosine[:FINAL], exponential:RATE, step:EVERY,FACTOR, "
  "plateau:PATIENCE,FACTOR",
)
flags.DEFINE_integer("warmup_steps", 0, "of linear warm-up", lower_bound=0)
flags.DEFINE_float(
  "weight_decay",
  None,
  "decoupled; 0 unless the optimizer is adamw (0.01)",
  lower_bound=0,
)
flags.DEFINE_float("ema", 0.0, "decay of the parameters' moving average; 0: none")
flags.DEFINE_integer("steps", None, "updates to train for", lower_bound=0)
flags.DEFINE_float("epochs", None, "passes over the data to train for", lower_bound=0)
flags.DEFINE_float("minutes", None, "wall clock to train for, start-up included")
flags.DEFINE_integer(
  "patience",
  0,
  "evaluations without a new best before stopping; 0: never",
  lower_bound=0,
)
flags.DEFINE_integer(
  "seed",
  0,
  "of parameters, dropout and the order of data; --mode=sample may have another",
  lower_bound=0,
  upper_bound=2**31 - 2,
)
flags.DEFINE_integer("eval_every", 500, "steps between evaluations", lower_bound=1)
flags.DEFINE_integer("eval_window", 256, "steps of a validation window", lower_bound=1)
flags.DEFINE_integer(
  "eval_stride",
  0,
  "from one validation window to the next; 0: the window",
  lower_bound=0,
)
flags.DEFINE_integer(
  "checkpoint_every", 500, "steps between checkpoints", lower_bound=1
)
flags.DEFINE_integer(
  "keep", 3, "newest checkpoints kept, beside the best", lower_bound=1
)
flags.DEFINE_integer("dispatch", 10, "steps taken a call to the device", lower_bound=1)

flags.DEFINE_string(
  "devices",
  "auto",
  "spreads the batch over so many devices, a core of a CPU one each; auto: as many as "
  "have 4 rows or more, or 16 if layers are wider than 512",
)
flags.DEFINE_string(
  "remat",
  "none",
  "none, sqrt, every:K, recursive[:DEPTH] or auto: segments of the sequence that are "
  "computed again for the gradient instead of kept",
)
flags.DEFINE_string(
  "memory_budget",
  "2GiB",
  "what --remat=auto may take for a training step: B, KiB, MiB, GiB",
)

# What may differ from one call on a run to the next.
kinds.DEFINE_path("workdir", "", "the run's folder; new under runs/ if empty")
flags.DEFINE_bool("overwrite", False, "starts afresh in a folder that holds a run")
flags.DEFINE_bool("json", False, "ends standard output with one JSON object")
kinds.DEFINE_checkpoint(
  "checkpoint", "best", "what eval, sample and score restore: best, newest or a step"
)
flags.register_validator(
  "workdir",
  lambda path: not re.search("[\ud800-\udfff]", os.path.abspath(path)),
  "checkpoints need a path of UTF-8 text: give another",
)
# A run may go on with another number of devices: sums are rounded differently, no more.
NOT_OF_THE_RUN = {
  "workdir",
  "overwrite",
  "json",
  "checkpoint",
  "keep",
  "dispatch",
  "devices",
}
# What stands in its configuration, and may change while it stays the same run: how far
# it goes, how often it is looked at, and what a step takes of the memory.
MAY_CHANGE = {
  "steps",
  "epochs",
  "minutes",
  "patience",
  "eval_every",
  "checkpoint_every",
}


INTERRUPTED = (
  "error: interrupted; the same command starts again, or goes on from a checkpoint\n"
)


def run_main(main: Callable[[], None]) -> NoReturn:
  """Runs `main` on the flags; bad input ends in one sentence and exit code 2."""

  def parse(argv: list[str]) -> list[str]:
    for name in FLAGS:
      if limit := {"int": MOST, "float": LARGEST}.get(FLAGS[name].flag_type()):
        most = f"give a number up to {limit}"
        flags.register_validator(
          name, lambda n, limit=limit: not abs(n or 0) > limit, most
        )
    try:
      return FLAGS(argv)
    except flags.Error as error:
      fail(str(error))

  def guarded(argv: list[str]) -> None:
    if len(argv) > 1:
      fail(f"{argv[1]!r} is not a flag: write --name=value")
    try:
      compilation.keep()
      devices.keep_memory()
      with gang.joined():
        main()
      sys.stdout.flush()
      if isinstance(sys.stdout, output.Stream) and sys.stdout.error:
        reason = sys.stdout.error.strerror
        fail(f"standard output could not be written ({reason}); all else is done")
    except BadInput as error:
      fail(str(error), os.EX_TEMPFAIL if isinstance(error, gang.Busy) else 2)
    except MemoryError:
      fail(f"memory ran out: {LESS}")
    except (RuntimeError, AssertionError) as error:
      if "RESOURCE_EXHAUSTED" in str(error):
        fail(f"the device's memory ran out: {LESS}")
      if (wanted := devices.missing()) is None:
        raise
      fail(f"JAX_PLATFORMS={wanted}: JAX finds no such device: unset it, or say cpu")
    except OSError as error:
      fail(sentence(error))

  output.protect()
  if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, _interrupted)
  logging.set_verbosity(logging.WARNING)  # JAX tells of every backend it lacks
  app.run(guarded, flags_parser=parse)
  raise AssertionError("app.run does not return")


def _interrupted(number: int, frame: Any) -> NoReturn:
  """Ends the process by no exception: that might come up where nothing catches it."""
  with contextlib.suppress(Exception):
    sys.stdout.flush()
  with contextlib.suppress(OSError):
    os.write(2, INTERRUPTED.encode())
  os._exit(128 + number)


def fail(message: str, code: int = 2) -> NoReturn:
  """Ends the process with one sentence on standard error."""
  print(f"error: {message}", file=sys.stderr)
  gang.leave(code)


def say(message: str) -> None:
  """One line for people, on standard error; of several processes one speaks."""
  if gang.speaks():
    print(message, file=sys.stderr, flush=True)


def result(found: Any) -> None:
  """Ends standard output with one JSON object, if --json asks for it."""
  if FLAGS.json:
    print(output.as_json(found))


def config(*own: str) -> dict[str, Any]:
  """The flags that a run's configuration holds: the shared ones and its own."""
  shared = {flag.name for flag in FLAGS.flags_by_module_dict()[__name__]}
  names = sorted((shared - NOT_OF_THE_RUN) | set(own))
  return {name: FLAGS[name].value for name in names}


def scheme() -> gradients.Scheme:
  """The truncation scheme."""
  return gradients.named_scheme(FLAGS.truncation)


def optimizer(arm: Arm | None = None) -> optim.Optimizer:
  """The optimiser, clipping included; without an arm, that of the flags alone."""
  return optim.optimizer(
    FLAGS.optimizer,
    clip_norm=FLAGS.clip_norm if arm is None else arm.clip_norm,
    clip_by=FLAGS.clip_by,
    weight_decay=FLAGS.weight_decay,
    ema=FLAGS.ema,
  )


def schedule(arm: Arm | None = None) -> schedules.Schedule:
  """The learning rate by step; without an arm, that of the flags alone."""
  highest = FLAGS.learning_rate if arm is None else arm.learning_rate
  return schedules.schedule(FLAGS.schedule, highest, FLAGS.warmup_steps)
