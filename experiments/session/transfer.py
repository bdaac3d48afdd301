"""What a run starts with of another, and how far each of its parameters is trained."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.session.folder import CHECKPOINTS, Folder
from experiments.session.settings import Settings
from experiments.session.task import Task
from experiments.session.terminal import say, warn
from unroll import checkpoint, specs, transfer
from unroll.loading import load
from unroll.settings import setting
from unroll.train import TrainState
from unroll.types import Array, BadInput, Params

Take = Callable[[Params], transfer.Taken]  # parameters as they start -> what was taken


@dataclass(frozen=True)
class Transfer:
  """Transfer from another run"""

  init_from: str = setting(
    "",
    "the folder of a run whose parameters this one starts with, where names and shapes "
    "fit; rows and columns go by what they stand for",
    kind="path",
  )
  freeze: tuple[str, ...] = setting(
    (),
    "parameters that are not trained, by the start of a name: embed,recurrent/core/0",
  )
  rates: tuple[str, ...] = setting(
    (), "multiples of the learning rate by the start of a name: embed:0.1,recurrent:0.5"
  )
  unfreeze: int = setting(
    0,
    "steps until the next layer joins in, from the output down to the embedding; 0: "
    "all at once",
    least=0,
  )

  def multiples(self) -> Callable[[Params, Array], Params] | None:
    """`optim.optimizer`'s `multiples`; None where all parameters are alike."""
    rates = self.by_name()
    if not rates and not self.unfreeze:
      return None
    return functools.partial(transfer.multiples, rates=rates, unfreeze=self.unfreeze)

  def by_name(self) -> Mapping[str, float]:
    """The multiples by the start of a name.

    Raises:
      BadInput: one is no number, or below 0.
    """
    found = dict.fromkeys(self.freeze, 0.0)
    for entry in self.rates:
      name, numbers = specs.split(entry, float)
      match numbers:
        case (float(number),) if name and 0 <= number < 1e6:
          found[name] = number
        case _:
          raise BadInput(f"rates={entry}: give NAME:MULTIPLE, such as embed:0.1")
    return found


def taking(settings: Settings, task: Task) -> Take | None:
  """What takes the parameters to start from; None: there are none, or it is under way.

  Raises:
    BadInput: there is no such run.
  """
  path, workdir = settings[Transfer].init_from, settings[Folder].workdir
  if not path or (
    workdir
    and checkpoint.steps(Path(workdir, CHECKPOINTS))
    and not settings[Folder].overwrite
  ):
    return None
  # The models of all kinds: a run that starts by itself needs none of them.
  from unroll.models.meanings import meanings
  from unroll.models.saved import kind

  model = load(path, warn=warn)
  donor = transfer.Donor(model.params, meanings(kind(model.config), model.files))
  own = meanings(task.model, task.files)
  return functools.partial(transfer.taken, donor=donor, own=own)


def begun(state: TrainState, take: Take | None) -> TrainState:
  """A state before the first step, with the parameters of another run.

  Args:
    state: as it would begin.
    take: of `taking`.
  """
  if take is None:
    return state
  taken = take(state.params)
  parts = [f"{name} {n:,} of {all_:,}" for name, (n, all_) in taken.parts.items()]
  told = [
    f"{len(taken.names)} of {len(taken.names) + len(taken.left)} parameters of the "
    "other run",
    *([f"in part: {', '.join(parts)}"] if parts else []),
    *([f"its own: {', '.join(taken.left)}"] if taken.left else []),
  ]
  say(f"starts with {'; '.join(told)}")
  return started(state, taken.params)


def started(state: TrainState, params: Params) -> TrainState:
  """A state before the first step, with other parameters and their moving average."""
  average = state.opt_state.average
  if average is not None:
    average = jax.tree.map(lambda a, p: jnp.array(p, a.dtype), average, params)
  return state._replace(
    params=params, opt_state=state.opt_state._replace(average=average)
  )


def check(params: Params, settings: Settings, take: Take | None) -> None:
  """Refuses what cannot be taken, or names that are none, before anything is written.

  Raises:
    BadInput: nothing fits, or no parameter has a name.
  """
  transfer.check(params, settings[Transfer].by_name())
  if take is None:
    return
  empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), params)
  if not take(empty).names:
    raise BadInput(
      f"init_from={settings[Transfer].init_from}: no parameter has the name and shape "
      "of one here; give the same hidden, embedding and cell"
    )
