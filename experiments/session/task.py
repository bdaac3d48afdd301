"""A task: what a page hands to the trainer, which knows nothing else of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from experiments.session.settings import Settings
from unroll import remat, scan
from unroll.data.batches import Source
from unroll.gradients import ChunkLoss, Scheme
from unroll.loading import Loaded
from unroll.metrics import Measure
from unroll.train import Arm
from unroll.types import Array, Carry, Key, Params, Sums


class Kept(Protocol):
  """What a run's folder has to know of what it keeps; the words are those of `Task`."""

  @property
  def data(self) -> str: ...
  @property
  def model(self) -> str: ...
  @property
  def files(self) -> Mapping[str, str]: ...
  @property
  def splits(self) -> Mapping[str, int]: ...
  @property
  def shows(self) -> tuple[str, ...]: ...
  @property
  def measures(self) -> tuple[Measure, ...]: ...


class Evaluation(NamedTuple):
  """How a split is evaluated.

  Attributes:
    sources: name -> source; the first gives the numbers that are known by the split
      alone, the others their first measure.
    facts: sums known beforehand, such as what a target stands for.
  """

  sources: Mapping[str, Source]
  facts: Mapping[str, Sums] = {}


class Size(NamedTuple):
  """How large the arrays of a training step are, for devices and malloc.

  Attributes:
    width: H of the widest layer.
    units: numbers that all layers make of a step of a sequence, together.
    steps: T of a batch; infinite where it is not known yet.
  """

  width: int
  units: int
  steps: float


MakeCarry = Callable[[Params, int], Carry]
MakeLoss = Callable[[remat.Plan, scan.Backward], ChunkLoss]
Around = Callable[[Scheme], tuple[MakeCarry, MakeLoss] | None]


class Watch(NamedTuple):
  """What is looked at while a model is trained.

  Attributes:
    every: updates between two looks.
    measure: (parameters, carry, batch) -> scalars by name, of the batch that the next
      update is taken on.
  """

  every: int
  measure: Callable[[Params, Carry, Any], Mapping[str, Array]]


class Task(NamedTuple):
  """What is trained, on what data, and how it is measured.

  Attributes:
    init: key -> parameters.
    carry: (parameters, B) -> the carry that sequences start with.
    loss: (plan, backward) -> its chunk loss.
    around: scheme -> carry and loss as above, of the model with the cells and the
      feedback that it asks for and the same parameters; None, or of none, where the
      model has no such cells.
    train: (seed, columns) -> training batches, or only some of their columns.
    evaluations: split -> how it is evaluated; "val" while training. None: a run is
      judged online, by what it predicted before each update.
    measures: what people read of the sums; the first chooses the best checkpoint.
    size: how large a training step is.
    data: sha256 of the data.
    model: its kind, by which `unroll.load` builds it again.
    files: name -> text of what accompanies the run in its folder.
    splits: name -> number of targets, so that other splits are other runs.
    counted: the plural of what a target is.
    sized_by: the settings that make the model as large as it is.
    shows: names of the text files and pictures that are made of a finished run, for its
      page.
    check: refuses what can be known to fail once devices are there, before anything
      is written.
    judge: (parameters, split) -> numbers by the names of measures, made on the host;
      for what must be decoded to be judged.
    watch: what is looked at between updates.
    show: (settings, its best model, its folder): what people are shown of a finished
      run beside its curves and its page.
  """

  init: Callable[[Key], Params]
  carry: MakeCarry
  loss: MakeLoss
  train: Callable[[int, slice], Source]
  evaluations: Mapping[str, Evaluation]
  measures: tuple[Measure, ...]
  size: Size
  data: str
  model: str
  files: Mapping[str, str] = {}
  splits: Mapping[str, int] = {}
  counted: str = "targets"
  sized_by: tuple[str, ...] = ()
  shows: tuple[str, ...] = ()
  check: Callable[[], None] = lambda: None
  judge: Callable[[Params, str], Mapping[str, float]] | None = None
  watch: Watch | None = None
  show: Callable[[Settings, Loaded, Path], None] | None = None
  around: Around | None = None


class Member(NamedTuple):
  """One of the runs that are trained side by side; alone there is one.

  Attributes:
    settings: its own.
    arm: what of them the program takes as inputs.
    source: its training batches.
    path: its folder.
  """

  settings: Settings
  arm: Arm
  source: Source
  path: Path


# (settings, files of a run that is there already, or None) -> task.
Build = Callable[[Settings, Mapping[str, str] | None], Task]
