"""How gradients flow back through time in a language model, trained or at its start.

  python -m experiments.gradlab --workdir=RUN
  python -m experiments.gradlab --workdir=RUN --fresh
  python -m experiments.gradlab --workdir=RUN --lags=500 --exponents=16 --json

RUN is a run of experiments.charlm. Of the loss of one step: how large its gradient is
at the carries of each layer by how many steps lie between, at places of the validation
text; how fast it fades; the Lyapunov exponents of the states along that text; the
spectral radii of the recurrent matrices. `docs/gradients.md` explains them.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from experiments import charlm
from experiments.parts import flows, text
from experiments.parts.flows import Flows
from experiments.parts.text import Text
from experiments.session import door, modes
from experiments.session.settings import Page, Settings
from experiments.session.terminal import extra, result
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import diagnose, loading, memory
from unroll.architecture import Architecture
from unroll.loading import Loaded
from unroll.report.gradients import gradients
from unroll.settings import setting
from unroll.types import BadInput, Params


@dataclass(frozen=True)
class GradLab:
  """Gradients through time"""

  workdir: str = setting(
    "", "the folder of a run of experiments.charlm", kind="path", role="call"
  )
  checkpoint: str = setting(
    "best",
    "the checkpoint to look at: best, newest or a step",
    kind="checkpoint",
    role="call",
  )
  fresh: bool = setting(
    False, "looks at the parameters as the run started with them", role="call"
  )
  corpus: str = setting(
    "",
    "the text, where it is a file that is no longer where the run read it",
    kind="path",
    role="call",
  )
  lags: int = setting(200, "steps that a gradient flows back", least=1, role="call")
  exponents: int = setting(8, "Lyapunov exponents; 0: none", least=0, role="call")
  windows: int = setting(
    32, "places of the validation text to look at", least=1, role="call"
  )
  before: int = setting(
    100,
    "tokens that are read before a window, from a fresh state",
    least=0,
    role="call",
  )
  json: bool = setting(False, "ends standard output with one JSON object", role="call")


def main(settings: Settings) -> None:
  """Measures, prints a table and draws."""
  chosen = settings[GradLab]
  model, run = _opened(chosen)
  params = _fresh(model, run) if chosen.fresh else model.params
  at = flows.windows(
    _tokens(chosen, model, run), chosen.windows, chosen.before, chosen.lags
  )
  _check_size(settings, model, run, params)
  found = flows.measured(model.module, params, run[Architecture], at, chosen.exponents)
  state = "at the start" if chosen.fresh else f"step {model.at}"
  print(f"{chosen.workdir}, {state}, {chosen.windows} places of the validation text")
  print("\n".join(flows.tell(found)))
  name = "gradients_fresh.png" if chosen.fresh else "gradients.png"
  picture = Path(chosen.workdir, name)
  with extra(picture):
    shown = run.shown("cell", "layers", "hidden")
    gradients(
      found.norms, f"{picture.parent.resolve().name}, {state}: {shown}", picture
    )
    print(picture)
  result(_summary(found, 0 if chosen.fresh else model.at, picture), chosen.json)


def _opened(chosen: GradLab) -> tuple[Loaded, Settings]:
  """The model of the run, and the run's settings."""
  if not chosen.workdir:
    raise BadInput("give `workdir`, the folder of a run of experiments.charlm")
  config = loading.configuration(Path(chosen.workdir))
  if config["experiment"] != charlm.PAGE.name:
    raise BadInput(
      f"workdir={chosen.workdir} is a run of experiments.{config['experiment']}: give "
      "one of experiments.charlm"
    )
  if config["flags"].get("model", "recurrent") != "recurrent":
    raise BadInput(
      f"workdir={chosen.workdir} is a Transformer, which carries no state from step to "
      "step: give the run of a recurrent model"
    )
  where = {"workdir": chosen.workdir, "checkpoint": chosen.checkpoint}
  if chosen.corpus:
    where["corpus"] = chosen.corpus
  return modes.opened(Settings.of(charlm.PAGE, **where), "corpus")


def _fresh(model: Loaded, run: Settings) -> Params:
  """The parameters that the run started with."""
  if donor := run[Transfer].init_from:
    raise BadInput(
      f"`fresh`: this run started with the parameters of {donor}: look at those, or "
      "give another run"
    )
  key = jax.random.key(run[Training].seed)
  return jax.jit(model.module.init)(key, jnp.zeros((1, 1), jnp.int32))


def _tokens(chosen: GradLab, model: Loaded, run: Settings) -> NDArray[np.int32]:
  """The validation text, which is long enough."""
  data = text.load(run[Text], model.vocabulary)
  if data.digest != model.config["data"]:
    raise BadInput(
      f"{run.shown('corpus')} is not the text that {chosen.workdir} was trained on: "
      "give `corpus`, where it is now"
    )
  tokens, needed = data.tokens["val"], chosen.before + chosen.lags + 2
  if needed > tokens.size:
    raise BadInput(
      f"lags={chosen.lags} with before={chosen.before} takes {needed} tokens, and the "
      f"validation text has {tokens.size}: lower them"
    )
  return tokens


def _check_size(
  settings: Settings, model: Loaded, run: Settings, params: Params
) -> None:
  """Refuses what cannot be measured, or not in memory."""
  chosen = settings[GradLab]
  _, cell = flows.stack_of(model.module, run[Architecture])
  row = diagnose.changes(cell, params["params"]["recurrent"]["core"], 1, 1).size
  if chosen.exponents > row:
    raise BadInput(
      f"exponents={chosen.exponents}: the state of this model has {row} numbers, give "
      "at most as many"
    )
  # Changes, their gradient, and what the loop keeps of both.
  steps = chosen.lags + chosen.before + 1
  memory.check(16 * row * steps * chosen.windows, settings.shown("lags", "windows"))


def _summary(found: Flows, step: int, picture: Path) -> dict:
  fades = flows.decays(found.norms)
  states = {
    layer: {
      state: {"norms": values.tolist(), **fades[layer][state]._asdict()}
      for state, values in each.items()
    }
    for layer, each in found.norms.items()
  }
  return {
    "step": step,
    "layers": states,
    "exponents": found.exponents.mean(axis=0).tolist(),
    "spectral_radii": found.radii,
    "picture": str(picture),
  }


PAGE = Page("gradlab", main, (GradLab,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
