"""How gradients flow back through time in a recurrent model, trained or at its start.

  python -m experiments.gradlab --workdir=RUN
  python -m experiments.gradlab --workdir=RUN --fresh
  python -m experiments.gradlab --workdir=RUN --lags=500 --products=1,10,100 --json
  python -m experiments.gradlab --workdir=RUN --curvature=16 --descent=30
  python -m experiments.gradlab --workdir=RUN --schemes=tbptt:16,snap1,uoro:8,artbp:16
  python -m experiments.gradlab --cells=rnn,rnn@uniform,gru,lstm --lengths=10,30,60

RUN is a run of charlm, classify, forecast, memory or music whose layers read from left
to right. Of the loss of one step, or of a sequence at its end: how large its gradient
is at the carries of each layer by how many steps lie between, on sequences of the
validation part; how fast it fades; the Lyapunov exponents of the states along them;
what the gates keep of a state; singular values of products of Jacobians; the spectra of
the recurrent matrices; how the loss bends along its gradient and across it.
`docs/gradients.md` explains them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from experiments import charlm, classify, forecast, memory, music
from experiments.parts import biases, curvatures, findings, flows, kinds, ratios
from experiments.parts.flows import Model, Stretch
from experiments.parts.kinds import KINDS, Places
from experiments.session import door, modes
from experiments.session.settings import Page, Settings
from experiments.session.terminal import extra, result
from experiments.session.training import Training, Truncation
from experiments.session.transfer import Transfer
from unroll import gradients, loading, states
from unroll.architecture import Architecture
from unroll.loading import Loaded
from unroll.memory import check
from unroll.models import saved
from unroll.report import gradients as pictures
from unroll.settings import setting
from unroll.types import BadInput, Params

PAGES = {one.PAGE.name: one.PAGE for one in (charlm, classify, forecast, memory, music)}


@dataclass(frozen=True)
class GradLab:
  """Gradients through time"""

  workdir: str = setting(
    "", "the folder of a run, such as one of charlm", kind="path", role="call"
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
    "the text, or other data, where they are a file that is no longer where the run "
    "read it",
    kind="path",
    role="call",
  )
  lags: int = setting(200, "steps that a gradient flows back", least=1, role="call")
  exponents: int = setting(8, "Lyapunov exponents; 0: none", least=0, role="call")
  products: tuple[int, ...] = setting(
    (),
    "lags of which the singular values of the product of Jacobians are taken, such as "
    "1,10,100; empty: none",
    least=1,
    role="call",
  )
  curvature: int = setting(
    0,
    "random directions across the gradient of all steps, of which the curvature of the "
    "loss is taken beside that along it; 0: none",
    least=0,
    role="call",
  )
  descent: int = setting(
    0,
    "steps of gradient descent, with and without clipping, on whose way it is taken "
    "how smooth the loss is; with curvature",
    least=0,
    role="call",
  )
  rate: float = setting(1.0, "of descent", least=0, role="call")
  clip: float = setting(
    0.25, "the norm that descent clips gradients to", least=0, role="call"
  )
  windows: int = setting(
    32, "sequences of the validation part to look at, at most", least=1, role="call"
  )
  before: int = setting(
    100,
    "steps that are read first, from a fresh state: of a text before a window; the "
    "exponents do not count them",
    least=0,
    role="call",
  )
  schemes: str = setting(
    "",
    "instead of flows: truncation schemes, each as charlm has them, of which the "
    "gradient is compared with the full one",
    role="call",
  )
  draws: int = setting(
    32, "gradients of a scheme that draws, to see its mean", least=2, role="call"
  )
  cells: tuple[str, ...] = setting(
    (),
    "instead of a run: cells as they start, CELL[:OPTIONS][@START] such as "
    "rnn@uniform,lstm:forget_bias=2, of which the gradients at the first and the last "
    "of T inputs are compared",
    role="call",
  )
  lengths: tuple[int, ...] = setting(
    (10, 30, 60), "T for cells", least=1, most=10_000, role="call"
  )
  starts: int = setting(
    10,
    "draws of a cell's parameters, of which a geometric mean is taken",
    least=1,
    role="call",
  )
  json: bool = setting(False, "ends standard output with one JSON object", role="call")


def main(settings: Settings) -> None:
  """Measures, prints a table and draws."""
  chosen = settings[GradLab]
  if chosen.cells:
    _compare(chosen)
    return
  loaded, run = _opened(chosen)
  if chosen.schemes:
    _schemes(chosen, loaded, run)
    return
  model, whole = _model(chosen, loaded, run), _batch(chosen, loaded, run)
  batch = kinds.last(whole)
  at = flows.stretch(model, batch)
  _check_size(settings, model, at)
  found = flows.measured(
    model,
    batch,
    at,
    lags=chosen.lags,
    settle=chosen.before,
    k=chosen.exponents,
    products=chosen.products,
  )
  state = "at the start" if chosen.fresh else f"step {loaded.at}"
  where = f"{at.end.size} sequences of the validation part"
  print(f"{chosen.workdir}, {state}, {where}")
  bent = _bent(chosen, model, whole, run)
  print("\n".join([*findings.tell(found), *(curvatures.tell(bent) if bent else ())]))
  name = "gradients_fresh.png" if chosen.fresh else "gradients.png"
  picture = Path(chosen.workdir, name)
  with extra(picture):
    shown = run.shown("cell", "layers", "hidden")
    pictures.gradients(
      found.norms,
      f"{picture.parent.resolve().name}, {state}: {shown}",
      picture,
      gates=found.gates,
      products=found.products,
      eigenvalues=found.eigenvalues,
      descents=bent and bent.descents,
    )
    print(picture)
  told = findings.summary(found)
  if bent:
    told["curvature"] = curvatures.summary(bent)
  step = 0 if chosen.fresh else loaded.at
  result({"step": step, **told, "picture": str(picture)}, chosen.json)


def _bent(
  chosen: GradLab, model: Model, whole: Any, run: Settings
) -> curvatures.Found | None:
  """How the loss of all steps bends, if that was asked for."""
  if not chosen.curvature:
    if chosen.descent:
      raise BadInput(
        f"descent={chosen.descent} is with `curvature`: give how many directions"
      )
    return None
  length = None
  if run.page is charlm.PAGE:
    length = run[Truncation].scheme().chunks.length
  asked = (chosen.curvature, chosen.descent, chosen.rate, chosen.clip)
  return curvatures.measured(model, whole, length, curvatures.Asked(*asked))


def _compare(chosen: GradLab) -> None:
  """Prints how much of a gradient is left at the first step, of cells as they start."""
  if chosen.workdir:
    raise BadInput(f"workdir={chosen.workdir} with `cells`: give one of them")
  if not chosen.lengths:
    raise BadInput("`lengths` is empty: give the numbers of steps, such as 10,30,60")
  layers = {spec: ratios.layer(spec) for spec in ratios.specs(chosen.cells)}
  found = ratios.tell(layers, chosen.lengths, chosen.starts)
  result({"lengths": list(chosen.lengths), "ratios": found}, chosen.json)


def _schemes(chosen: GradLab, loaded: Loaded, run: Settings) -> None:
  """Prints how far gradients of truncation schemes are from the full one."""
  specs = gradients.listed(chosen.schemes)
  for spec in specs:
    gradients.named_scheme(spec)
  if run.page is not charlm.PAGE:
    raise BadInput(
      f"schemes={chosen.schemes} with {chosen.workdir}, a run of {run.page.name}: "
      "schemes are compared in runs of charlm"
    )
  tokens = biases.tokens(run, loaded, chosen.windows, chosen.lags)
  found = biases.measured(
    specs,
    run,
    lambda settings: charlm._task(settings, loaded.files),
    _fresh(loaded, run) if chosen.fresh else loaded.params,
    biases.Along(tokens, chosen.windows, chosen.draws),
  )
  print(f"{chosen.workdir}: {chosen.windows} sequences of {chosen.lags} steps")
  print("\n".join(biases.tell(found)))
  result({"schemes": biases.summary(found)}, chosen.json)


def _opened(chosen: GradLab) -> tuple[Loaded, Settings]:
  """The model of the run, and the run's settings."""
  if not chosen.workdir:
    raise BadInput(
      "give `workdir`, the folder of a run, such as one of charlm; or `cells`"
    )
  config = loading.configuration(Path(chosen.workdir))
  kinds.refuse_others(chosen.workdir, config)
  name, where = config["experiment"], dict[str, str]()
  if chosen.corpus:
    if not KINDS[name].file:
      raise BadInput(f"corpus={chosen.corpus}: a run of {name} reads no file: drop it")
    where[KINDS[name].file] = chosen.corpus
  of_call = {"workdir": chosen.workdir, "checkpoint": chosen.checkpoint}
  return modes.opened(Settings.of(PAGES[name], **of_call, **where), *where)


def _model(chosen: GradLab, loaded: Loaded, run: Settings) -> Model:
  """The model of the run, with its parameters or those that it started with."""
  flags, kind = loaded.config["flags"], KINDS[run.page.name]
  params = _fresh(loaded, run) if chosen.fresh else loaded.params
  return Model(
    loaded.module, params, run[Architecture], lambda model: kind.loss(model, flags)
  )


def _fresh(loaded: Loaded, run: Settings) -> Params:
  """The parameters that the run started with."""
  if donor := run[Transfer].init_from:
    raise BadInput(
      f"`fresh`: this run started with the parameters of {donor}: look at those, or "
      "give another run"
    )
  config, key = loaded.config, jax.random.key(run[Training].seed)
  built = saved.built(saved.kind(config), config["flags"], loaded.files)
  return jax.jit(built.module.init)(key, built.example)


def _batch(chosen: GradLab, loaded: Loaded, run: Settings) -> Any:
  """Sequences of the validation part of the data that the run was trained on."""
  kind = KINDS[run.page.name]
  digest, sequences = kind.read(run, loaded)
  if digest != loaded.config["data"]:
    raise BadInput(
      f"{run.shown(kind.file)} is not what {chosen.workdir} was trained on: give "
      "`corpus`, where that is now"
    )
  return sequences(Places(chosen.windows, chosen.before, chosen.lags))


def _check_size(settings: Settings, model: Model, at: Stretch) -> None:
  """Refuses what cannot be measured, or not in memory."""
  chosen = settings[GradLab]
  row = sum(states.sizes(at.cell, model.own).values())
  if chosen.exponents > row:
    raise BadInput(
      f"exponents={chosen.exponents}: the state of this model has {row} numbers, give "
      "at most as many"
    )
  # Carries, their gradient, and what the loop keeps of a step for both.
  check(16 * row * at.valid.size, settings.shown("lags", "windows"))
  if chosen.products:
    # The basis, the products and their inverse, each before and after a step.
    check(48 * row**2 * flows.FEW, settings.shown("products"))


PAGE = Page("gradlab", main, (GradLab,))

if __name__ == "__main__":
  door.run(PAGE, __doc__)
