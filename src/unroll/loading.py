"""A run folder opened in one call: parameters, and the model as pure functions.

model = unroll.load("runs/charlm/20261128-101500-a1b2")
carry = model.initial_carry(model.params, 1)
carry, logits = model.apply(model.params, carry, tokens)
"""

import functools
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from unroll import checkpoint, layers
from unroll.data import tokens
from unroll.data.vocabulary import VOCABULARY
from unroll.models.built import Built
from unroll.optim import OptState
from unroll.parameters import completed, trained
from unroll.train import TrainState
from unroll.types import Array, BadInput, Carry, Params

CONFIG, CHECKPOINTS = "config.json", "checkpoints"
NGRAM = "ngram"  # the kind of an n-gram model, which is counted and has no checkpoint


class Loaded(NamedTuple):
  """A trained model.

  Attributes:
    params: the parameters to use: their moving average, where the run kept one.
    apply: `(params, carry, inputs [T, B, …], valid=None) -> (carry, outputs)`.
    step: the same for one step, `inputs [B, …]`; None where the model reads later
      inputs too.
    initial_carry: `(params, B) -> carry` that sequences start with.
    module: the Linen module of the functions.
    predict: what the model says of what it is given; what it takes and returns, and
      which of these three there are, stands with its kind in `serving`.
    generate: what it writes, draws or plays.
    score: how likely it finds what it is given.
    vocabulary: of its tokens; None where it reads none.
    files: the texts that accompany the run, by name.
    config: the configuration of the run; its settings are `config["flags"]`.
    at: the training step of the checkpoint; 1 of an n-gram model, which has no carry
      and no module.
  """

  params: Params
  apply: Callable[..., tuple[Carry, Array]]
  step: Callable[[Params, Carry, Array], tuple[Carry, Array]] | None
  initial_carry: Callable[[Params, int], Carry]
  predict: Callable[..., Any]
  generate: Callable[..., Any]
  score: Callable[..., Any]
  module: Any
  vocabulary: Any
  files: Mapping[str, str]
  config: Mapping[str, Any]
  at: int


def load(
  run: str | Path,
  *,
  checkpoint: str | int = "best",
  warn: Callable[[str], Any] = warnings.warn,
) -> Loaded:
  """Opens the folder of a run.

  Every array is checked against the digest that it was saved with.

  Args:
    run: the folder.
    checkpoint: best, newest, or a step; without a best one, the newest.
    warn: called with one sentence for what is passed over.

  Raises:
    BadInput: there is no such run or checkpoint, or a file of it is damaged.
  """
  # The models of all kinds: a run that trains one has it long before it opens any.
  from unroll.models import saved
  from unroll.serving.kinds import served

  path = Path(run)
  config = configuration(path)
  files = texts(path, config["files"])
  kind = saved.kind(config)
  try:
    if kind == NGRAM:
      return _counted(path, config, files)
    built = saved.built(kind, config["flags"], files)
    functions = served(kind, built)
  except KeyError as error:
    raise BadInput(f"{path / CONFIG} has no `{error.args[0]}`: restore it") from None
  params, at = _restored(path, config["flags"], built, checkpoint, warn)

  def step(params: Params, carry: Carry, inputs: Array):
    carry, outputs = built.apply(params, carry, inputs[None])
    return carry, outputs[0]

  return Loaded(
    params=params,
    apply=built.apply,
    step=step if built.causal else None,
    initial_carry=functools.partial(layers.initial_carry, built.module),
    **functions._asdict(),
    module=built.module,
    vocabulary=built.vocabulary,
    files=files,
    config=config,
    at=at,
  )


def _counted(path: Path, config: Mapping[str, Any], files: Mapping[str, str]) -> Loaded:
  """An n-gram model; its parameters are the `ngram.model.Model`."""
  from unroll.models import ngrams, saved
  from unroll.ngram import saved as kept
  from unroll.serving import counted

  chosen = saved.group(ngrams.NGrams, config["flags"])
  vocabulary, counts = tokens.from_json(files[VOCABULARY]), kept.read(path / kept.NAME)
  functions = counted.functions(vocabulary, ngrams.sentences(chosen, vocabulary))

  def refuse(*_: Any, **__: Any) -> Any:
    raise BadInput("an n-gram model has no carry: use predict, generate, score")

  return Loaded(
    params=ngrams.made(chosen, counts, lambda said: None).model,
    apply=refuse,
    step=None,
    initial_carry=refuse,
    **functions._asdict(),
    module=None,
    vocabulary=vocabulary,
    files=files,
    config=config,
    at=1,
  )


def texts(path: Path, digests: Mapping[str, str]) -> dict[str, str]:
  """The texts that accompany a run, by name.

  Args:
    path: the folder of the run.
    digests: name -> sha256 of the text that the run was trained with.

  Raises:
    BadInput: one is missing, is no text or has changed.
  """
  restore = "restore it, or train on there, which writes it anew"
  found = {}
  for name, digest in digests.items():
    file = path / Path(name).name
    try:
      found[name] = file.read_text("utf-8")
    except FileNotFoundError:
      raise BadInput(f"{file} is missing: {restore}") from None
    except UnicodeDecodeError:
      raise BadInput(f"{file} is not UTF-8 text: {restore}") from None
    if hashlib.sha256(found[name].encode()).hexdigest() != digest:
      raise BadInput(f"{file} is not the one that the run was trained with: {restore}")
  return found


def _restored(
  path: Path,
  flags: Mapping[str, Any],
  built: Built,
  which: str | int,
  warn: Callable[[str], Any],
) -> tuple[Params, int]:
  """The parameters of a checkpoint, or their moving average, and its step."""
  directory = path / CHECKPOINTS
  steps = checkpoint.steps(directory)
  if isinstance(which, int) and steps and which not in steps:
    raise BadInput(
      f"checkpoint={which}: {directory} has those of step {', '.join(map(str, steps))}"
    )
  unjudged = which == "best" and not checkpoint.best_steps(directory)
  params = jax.eval_shape(lambda: built.module.init(jax.random.key(0), built.example))
  average = trained(params) if flags.get("ema") or flags.get("asgd") else None
  optimizer: Any = OptState(None, None, average)  # type: ignore[arg-type]
  state: Any = TrainState(None, params, optimizer, None, None, None)  # type: ignore
  asked: Any = "newest" if unjudged else which
  restored = checkpoint.restore(directory, state, which=asked, part=True, warn=warn)
  if restored is None:
    raise BadInput(f"{directory} holds no checkpoint: train the run first")
  if unjudged:
    warn(
      f"{path} has no best checkpoint, as no evaluation has chosen one yet: this is "
      f"the newest, of step {restored.step}"
    )
  state = restored.state
  if average is None:
    return state.params, restored.step
  return completed(state.opt_state.average, state.params), restored.step


def current(config: Any) -> dict[str, Any] | None:
  """A run's configuration as this version writes it; None if it is none at all.

  Older versions had the digest of a vocabulary in place of those of all files.
  """
  match config:
    case {"experiment": str(), "flags": dict(), "data": str(), "vocabulary": str()}:
      config = dict(config)
      config["files"] = {VOCABULARY: config.pop("vocabulary")}
    case {"experiment": str(), "flags": dict(), "data": str(), "files": dict()}:
      config = dict(config)
    case _:
      return None
  kinds = {"versions": dict, "splits": dict, "history": list, "measures": list}
  right = all(isinstance(config.get(key, kind()), kind) for key, kind in kinds.items())
  digests = config["files"].values()
  return config if right and all(isinstance(d, str) for d in digests) else None


def configuration(path: Path) -> dict[str, Any]:
  """The configuration of the run in a folder, as this version writes it.

  Raises:
    BadInput: there is none, or it is damaged.
  """
  if not (path / CONFIG).is_file():
    raise BadInput(f"{path} holds no {CONFIG}: give the folder of a run")
  try:
    config = current(json.loads((path / CONFIG).read_text("utf-8")))
  except (ValueError, RecursionError) as error:
    raise BadInput(f"{path / CONFIG} is not JSON ({error}): restore it") from None
  if config is None:
    raise BadInput(f"{path / CONFIG} is not the configuration of a run: restore it")
  return config
