"""Weights out of a run to another framework, or in, as a run of charlm.

  python -m experiments.convert --workdir=RUN --to=torch:model.safetensors
  python -m experiments.convert --workdir=RUN --to=keras:model.weights.h5
  python -m experiments.convert --from=torch:model.pt --vocabulary=words.txt \\
    --tokenizer=whitespace --corpus=book.txt --to=RUN

The frameworks are torch, keras, linen, nnx, haiku, equinox, and numpy for our own
arrays; the files .safetensors, .npz, .pt, .weights.h5, .msgpack and .eqx, in also
.keras. What comes in is told by the names and shapes of its arrays; `docs/interop.md`
says which names go out, and what cannot.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import charlm
from experiments.parts import text
from experiments.parts.text import Batches, Text
from experiments.session import door, folder, trainer, transfer
from experiments.session.folder import Folder
from experiments.session.settings import Page, Settings
from experiments.session.task import Task
from experiments.session.terminal import result, say, warn
from experiments.session.training import Training, Truncation
from unroll import checkpoint, convert, files, loading, names
from unroll.architecture import Architecture, Precision
from unroll.cells.named import named_cell
from unroll.convert import keras_config, language, parity, tokens
from unroll.convert.framework import Framework
from unroll.convert.language import Language
from unroll.data.vocabulary import VOCABULARY, Vocabulary
from unroll.loading import Loaded
from unroll.penalties import Penalties
from unroll.settings import described, setting, shown
from unroll.transformer import Transformer
from unroll.types import BadInput, Params

# Pages whose models go out, and what such a model has.
OUT = ("charlm", "classify", "memory", "music")
PARTS = {"embed", "recurrent", "output", "output_bias"}
# Settings of a run whose layers compute something else than a plain stack, by what
# they are of one.
PLAIN = {
  "model": "recurrent",
  "heads": 1,
  "residual": False,
  "skip": False,
  "learned_carry": False,
  "zoneout": [],
}


@dataclass(frozen=True)
class Convert:
  """Weights in and out"""

  from_: str = setting(
    "",
    "weights that come in, FRAMEWORK:FILE, such as torch:model.safetensors",
    kind="path",
    role="call",
  )
  to: str = setting(
    "",
    "with from, the folder of a new run; with workdir, FRAMEWORK:FILE to write",
    kind="path",
    role="call",
  )
  vocabulary: str = setting(
    "",
    "file of the tokens of what comes in, in the order of their numbers: a token a "
    "line, a JSON list, a JSON object of numbers, or a run's vocab.json",
    kind="path",
    role="call",
  )


def main(settings: Settings) -> None:
  """Takes weights in, or gives them out, and tells how far both compute the same."""
  chosen, run = settings[Convert], settings[Folder].workdir
  if bool(chosen.from_) == bool(run) or not chosen.to:
    raise BadInput(
      "give workdir=RUN and to=FRAMEWORK:FILE for weights out, or "
      "from=FRAMEWORK:FILE and to=RUN for weights in"
    )
  if chosen.from_:
    _in(settings)
  else:
    _out(settings)


def _out(settings: Settings) -> None:
  """Writes the weights of a run."""
  chosen, workdir = settings[Convert], settings[Folder].workdir
  there, file = _named("to", chosen.to)
  convert.files.check(file)
  loaded = loading.load(workdir, checkpoint=settings[Folder].checkpoint, warn=warn)
  model = _model_of(loaded, there, workdir)
  arrays = language.written(there, model)
  convert.files.write(file, arrays)
  count = sum(array.size for array in arrays.values())
  print(f"{file}: {len(arrays)} arrays, {count:,} numbers, step {loaded.at}")
  for name, array in arrays.items():
    print(f"  {name:40} {'x'.join(map(str, array.shape))}")
  found = _tell(there, model)
  told = {"file": str(file), "step": loaded.at, "arrays": list(arrays), **found}
  result(told, settings[Folder].json)


def _model_of(loaded: Loaded, there: Framework, workdir: str) -> Language:
  """The model of a run, if it is an embedding, recurrent layers and a read-out."""
  flags, kind = loaded.config["flags"], loaded.config["experiment"]
  if kind not in OUT:
    raise BadInput(
      f"workdir={workdir} is a run of {kind}: those of {', '.join(OUT)} go out, whose "
      "models are an embedding, recurrent layers and a read-out"
    )
  for name, plain in PLAIN.items():
    if (value := flags.get(name, plain)) != plain:
      raise BadInput(
        f"this run has {name}={shown(value)}, and the recurrent layers of {there.name} "
        "are a plain stack of cells: no file of arrays can say so"
      )
  if more := loaded.params["params"].keys() - PARTS:
    raise BadInput(
      f"the model of this run has {', '.join(sorted(more))} as well, which no layer of "
      f"{there.name} is: train one without it"
    )
  cell, sides = flags["cell"].partition(":")[0], 1 + flags.get("bidirectional", False)
  return language.of_params(cell, jax.device_get(loaded.params), sides)


def _in(settings: Settings) -> None:
  """Makes a run of weights, as its trainer would, before the first step."""
  chosen = settings[Convert]
  there, file = _named("from", chosen.from_)
  # One without checkpoints is of a call that could not write them: it goes on.
  kept = checkpoint.steps(Path(chosen.to, loading.CHECKPOINTS))
  if kept and not settings[Folder].overwrite:
    raise BadInput(f"to={chosen.to} holds a run: give a new folder, or `overwrite`")
  arrays, cell = convert.files.read(file), keras_config.cell_of(file)
  if "cell" in settings.given:
    cell = settings[Architecture].cell
    named_cell(cell)  # to refuse what is none
  model = language.read(there, arrays, cell.partition(":")[0])
  vocabulary, rows = _vocabulary(settings, len(model.bias))
  model = model.reordered(rows)
  texts = {VOCABULARY: vocabulary.to_json()}
  run = _run_of(settings, model, vocabulary)
  params = _params(run, model, vocabulary)

  def task(settings: Settings, _: Mapping[str, str] | None) -> Task:
    return charlm._task(settings, texts)

  trainer.train(run, task, functools.partial(transfer.started, params=params))
  say(f"to train it further: {folder.command(run)} --workdir={chosen.to} --steps=N")
  _tell(there, model)


def _named(flag: str, given: str) -> tuple[Framework, Path]:
  """The framework and the file of a flag."""
  name, colon, file = given.partition(":")
  if not colon or not file:
    known = ", ".join(convert.FRAMEWORKS)
    raise BadInput(f"{flag}={given}: give FRAMEWORK:FILE, of {known}")
  return convert.framework(name), Path(files.expanded(file))


def _vocabulary(settings: Settings, size: int) -> tuple[Vocabulary, np.ndarray]:
  """The vocabulary of what comes in, and the number that each token had."""
  file, own = settings[Convert].vocabulary, settings[Text]
  if not file and own.tokenizer != "byte":
    raise BadInput(
      f"give `vocabulary`, a file of the {size} tokens of this model in the order of "
      "their numbers"
    )
  found: Any = []
  if file:
    try:
      found = tokens.read(Path(file).read_bytes(), file)
    except OSError as error:
      raise BadInput(f"vocabulary={file} cannot be read ({error.strerror})") from None
  vocabulary, rows = tokens.numbered(found, own.tokenizer, own.normalize)
  if np.sum(rows >= 0) != size:
    raise BadInput(
      f"vocabulary={file} has {np.sum(rows >= 0)} tokens, and the model {size}: give "
      "all of its tokens, in the order of their numbers"
    )
  return vocabulary, rows


def _run_of(settings: Settings, model: Language, vocabulary: Vocabulary) -> Settings:
  """The settings of a run of charlm that has this model."""
  theirs, values = model.settings, settings.values("run", "changing", "data")
  for name in theirs.keys() & settings.given.keys() - {"cell"}:
    if values[name] != theirs[name]:
      given, found = shown(values[name]), shown(theirs[name])
      raise BadInput(f"{name}={given}: these weights have {found}: drop it")
  own = {name: values[name] for name in settings.given if name in values}
  run = Settings.of(charlm.PAGE, **{**own, **theirs})
  wanted = settings[Text].tokenizer
  built = text.load(run.replaced(tokenizer=wanted)[Text]).vocabulary
  # Otherwise the run goes on with the vocabulary in its own folder.
  same = built.to_json() == vocabulary.to_json()
  to = settings[Convert].to
  run = run.replaced(tokenizer=wanted if same else str(Path(to, VOCABULARY)))
  of_call = {n: getattr(settings[Folder], n) for n in described(Folder)}
  return run.adopted({**of_call, "workdir": to, "steps": 0})


def _params(run: Settings, model: Language, vocabulary: Vocabulary) -> Params:
  """The parameters of the run, of the weights."""
  module = charlm._model(run, vocabulary)
  example = np.zeros((1, 1), np.int32)
  like = jax.eval_shape(module.init, jax.random.key(0), example)
  try:
    return names.rebuilt(model.params(), like, ())
  except ValueError as error:
    raise BadInput(
      f"these weights are not those of the layers that are asked for ({error})"
    ) from None


def _tell(there: Framework, model: Language) -> dict[str, float]:
  """Prints how far the layers compute the same as the framework's."""
  run = parity.run_of(there)
  if run is None:
    warn(f"parity with {there.name} is not measured: no layers of it are here")
    return {}
  found = parity.difference(there, model.stack, run)
  told = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
  say(f"largest differences from {there.name}, random input with masks: {told}")
  return found


PAGE = Page(
  "convert",
  main,
  (
    Convert,
    Text,
    Batches,
    Architecture,
    Transformer,
    Penalties,
    Precision,
    Truncation,
    Training,
    Folder,
  ),
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
