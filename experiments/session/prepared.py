"""What is compiled for a run, and kept for those that may use it as well.

A process that runs many pages (`session.standby`) keeps some; others keep nothing.
What a run needs of its own is what an arm has (`unroll.train.Arm`), which is an input
of the program: a kept program gives each run the numbers of the run alone.
"""

import contextlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from experiments.session import identity
from experiments.session.alone import Alone
from experiments.session.pieces import Pieces
from experiments.session.programs import Programs
from experiments.session.settings import Settings
from experiments.session.task import Task
from experiments.session.together import Together
from unroll.train import Arm, TrainState

Place = Alone | Together
OWN = {*Arm._fields, "workdir"}  # the settings of a run that its program does not know
# Those that the loop around its programs knows.
LOOP = {"steps", "epochs", "minutes", "patience", "eval_every", "checkpoint_every"}
CALL = {"keep", "json", "overwrite", "quiet", "verbose"}
_kept: OrderedDict[str, "Prepared"] = OrderedDict()
_most = 0


class Prepared(NamedTuple):
  """A run up to its program.

  Attributes:
    place: where its arrays lie, which compiles and keeps the programs.
    pieces: of the program.
    shapes: of a fresh state.
  """

  place: Place
  pieces: Pieces
  shapes: TrainState


@contextlib.contextmanager
def keeping(most: int) -> Iterator[None]:
  """Keeps the programs of the last few kinds of runs, while the context lasts."""
  global _most
  _most = most
  try:
    yield
  finally:
    _most = 0
    _kept.clear()


def prepared(settings: Settings, task: Task, make: Callable[[], Prepared]) -> Prepared:
  """What `make` gives, or gave for a run that has the same program.

  Args:
    settings: of the run.
    task: of the run, whose data may be others under the same settings.
    make: compiles nothing yet.
  """
  if not _most:
    return make()
  name = _name(settings, task, OWN)
  if name not in _kept:
    _kept[name] = make()
  _kept.move_to_end(name)
  while len(_kept) > _most:
    _kept.popitem(last=False)
  return _kept[name]


def programs(settings: Settings, task: Task) -> Programs:
  """What makes a run's programs, of which those of an earlier run may be kept."""
  return Programs(_name(settings, task, OWN | LOOP | CALL))


def _name(settings: Settings, task: Task, without: set[str]) -> str:
  """What tells a run from others, but for some of its settings."""
  values = settings.values("run", "changing", "data", "call")
  shared = {name: value for name, value in values.items() if name not in without}
  config = identity.identity(settings, task)
  config.pop("flags")
  return json.dumps([shared, config], sort_keys=True)
