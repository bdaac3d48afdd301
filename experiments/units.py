"""What the units of a language model follow, and a text coloured by what they do.

  python -m experiments.units --workdir=RUN
  python -m experiments.units --workdir=RUN --input=my.txt --length=5000

RUN is a recurrent run of charlm. The page `units.html` in its folder shows a part of
the validation text, or of a text of yours, coloured by how much each token surprised
the model, or by the state of one of its units; and it ranks the units that follow
quotes, brackets, the place in a line and other properties of the text.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import charlm
from experiments.parts import flows, kinds, text
from experiments.parts.flows import Model
from experiments.parts.text import Text
from experiments.session import door, modes
from experiments.session.settings import Page, Settings
from experiments.session.terminal import given, result
from unroll import loading, scan, states
from unroll.architecture import Architecture
from unroll.data.batches import Batch
from unroll.data.text import decode_text
from unroll.diagnose.following import followers, properties
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models.language import next_token_loss
from unroll.report import units
from unroll.report.units import Reading
from unroll.settings import setting
from unroll.types import BadInput

PAGE_OF = "units.html"  # in a run's folder


@dataclass(frozen=True)
class Units:
  """Units"""

  workdir: str = setting(
    "", "the folder of a recurrent run of charlm", kind="path", role="call"
  )
  checkpoint: str = setting(
    "best",
    "the checkpoint to look at: best, newest or a step",
    kind="checkpoint",
    role="call",
  )
  corpus: str = setting(
    "",
    "the text of the run, where that is a file that is no longer where the run read it",
    kind="path",
    role="call",
  )
  input: str = setting(
    "",
    "a text to read, a file or - for standard input; empty: the validation part",
    kind="path",
    role="call",
  )
  length: int = setting(2000, "tokens to read, at most", least=2, role="call")
  start: int = setting(0, "the token of the text to start at", least=0, role="call")
  json: bool = setting(False, "ends standard output with one JSON object", role="call")


def main(settings: Settings) -> None:
  """Reads, ranks and writes the page."""
  chosen = settings[Units]
  model, run = _opened(chosen)
  ids = _tokens(chosen, model, run)
  found = _read(model, run, ids)
  path = units.page(
    found,
    f"{Path(chosen.workdir).resolve().name}, step {model.at}",
    Path(chosen.workdir, PAGE_OF),
  )
  names = _names(found)
  told = {
    of: [[names[one.unit], round(one.correlation, 3)] for one in some]
    for of, some in found.followers.items()
  }
  for of, ((name, correlation), *_) in told.items():
    print(f"{of:24} {name:16} {correlation:6.2f}")
  print(path)
  nats = float(np.nanmean(found.nats))
  result({"nats": nats, "followers": told, "page": str(path)}, chosen.json)


def _opened(chosen: Units) -> tuple[Loaded, Settings]:
  if not chosen.workdir:
    raise BadInput("give `workdir`, the folder of a recurrent run of charlm")
  config = loading.configuration(Path(chosen.workdir))
  if config["experiment"] != charlm.PAGE.name:
    raise BadInput(
      f"workdir={chosen.workdir} is a run of experiments.{config['experiment']}: give "
      "one of charlm"
    )
  kinds.refuse_others(chosen.workdir, config)
  where = {"corpus": chosen.corpus} if chosen.corpus else {}
  of_call = {"workdir": chosen.workdir, "checkpoint": chosen.checkpoint}
  return modes.opened(Settings.of(charlm.PAGE, **of_call, **where), *where)


def _tokens(chosen: Units, model: Loaded, run: Settings) -> np.ndarray:
  """The ids to read, at least two."""
  if chosen.input:
    where = f"--input={chosen.input}"
    data = decode_text(given(chosen.input), where, model.vocabulary.tokenizer)
    ids = model.vocabulary.encode(data)
  else:
    ids = text.load(run[Text], model.vocabulary).tokens["val"]
  ids = ids[chosen.start : chosen.start + chosen.length]
  if ids.size < 2:
    raise BadInput(
      f"start={chosen.start}: from there on the text has {ids.size} tokens, and two "
      "are needed: start earlier, or give a longer text"
    )
  return ids


def _read(loaded: Loaded, run: Settings, ids: np.ndarray) -> Reading:
  """What the model does with a text, from a fresh state on."""
  module, params = loaded.module, loaded.params
  column = ids[:, None]
  weight = np.ones(column.shape, np.float32)
  batch = Batch(column, column, weight, np.zeros(column.shape, bool), None)
  model = Model(module, params, run[Architecture], next_token_loss)
  at = flows.stretch(model, batch)

  @jax.jit
  def passed(params: Any, own: Any, xs: Any, tokens: Any):
    every, _ = scan.unroll(at.cell, own, at.cell.carry(own, 1), xs, every=True)
    of = states.sizes(at.cell, own)
    size = len(tokens)
    rows = [part.reshape(size, -1) for part in states.parts(every)]
    _, logits = module.apply(params, tokens, initial_carry(module, params, 1))
    log_p = jax.nn.log_softmax(logits[:-1, 0].astype(jnp.float32))
    nats = -jnp.take_along_axis(log_p, tokens[1:], axis=1)[:, 0]
    return dict(zip(of, rows)), nats

  named, nats = jax.device_get(passed(params, model.own, at.xs, column))
  shown = {_shown(name): values for name, values in named.items()}
  words = _pieces(loaded, ids)
  side_by_side = np.concatenate([*shown.values()], axis=1)
  return Reading(
    words,
    np.concatenate([[np.nan], nats]),
    shown,
    followers(side_by_side, properties(words)),
  )


def _pieces(model: Loaded, ids: np.ndarray) -> list[str]:
  """The tokens as they stand in the text."""
  vocabulary, found = model.vocabulary, list[str]()
  for number in range(1, len(ids) + 1):
    # What a token adds to the text so far, as words get their space from what follows.
    near = ids[max(number - 2, 0) : number]
    whole, first = vocabulary.decode(near), vocabulary.decode(near[:-1])
    found.append(whole[len(first) :] if whole.startswith(first) else whole)
  return found


def _shown(name: str) -> str:
  """`layers/0/c` as people count: "layer 1 c"."""
  _, number, *state = name.split("/")
  return f"layer {int(number) + 1} {'/'.join(state)}"


def _names(found: Reading) -> list[str]:
  """What the units of all states side by side are called."""
  return [
    f"{name} {unit}" for name, of in found.states.items() for unit in range(of.shape[1])
  ]


PAGE = Page("units", main, (Units,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
