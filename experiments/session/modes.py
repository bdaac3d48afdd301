"""What a page does by its mode: train, evaluate, or use a finished run."""

from collections.abc import Callable

from experiments.session import folder, trainer
from experiments.session.armfile import refuse_arms
from experiments.session.folder import Folder
from experiments.session.settings import Settings
from experiments.session.task import Build
from experiments.session.terminal import warn
from unroll.loading import Loaded, load


def run(settings: Settings, build: Build, **others: Callable[[Settings], None]) -> None:
  """Trains or evaluates a task, or does what the page adds.

  Args:
    settings: of the call.
    build: makes the task.
    **others: by its mode, what the page adds.
  """
  mode = settings.values("call")["mode"]
  if mode == "train":
    trainer.train(settings, build)
    return
  refuse_arms(settings)
  if mode == "eval":
    trainer.evaluate(settings, build)
  else:
    others[mode](settings)


def opened(settings: Settings, *own: str) -> tuple[Loaded, Settings]:
  """The model of `workdir` and `checkpoint`, and the settings of its run.

  Args:
    settings: of the call.
    *own: settings that the call may have beside those that may change.
  """
  path, settings = folder.existing(settings, own)
  return load(path, checkpoint=settings[Folder].checkpoint, warn=warn), settings
