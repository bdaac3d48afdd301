"""Kinds of flags that absl lacks: a path, and a checkpoint of a run."""

from absl import flags

from unroll import files

# A flag is of the module that calls a function of this one, not of this one.
flags.disclaim_key_flags()


class _Path(flags.ArgumentParser[str]):
  def parse(self, argument: str) -> str:
    super().parse(argument)  # to refuse what is no text
    return files.expanded(argument)


class _Checkpoint(flags.ArgumentParser["str | int"]):
  def parse(self, argument: str | int) -> str | int:
    if argument in ("best", "newest"):
      return argument
    if isinstance(argument, str) and not argument.isdecimal():
      raise ValueError("give best, newest or the number of a step")
    return int(argument)


def DEFINE_path(name: str, default: str, help: str) -> None:
  """A flag that names a file or a folder: `~` is a home, whatever the shell does."""
  flags.DEFINE(_Path(), name, default, help, serializer=flags.ArgumentSerializer())


def DEFINE_checkpoint(name: str, default: str, help: str) -> None:
  """A flag that chooses a checkpoint: best, newest, or an int for that of a step."""
  serializer: flags.ArgumentSerializer[str | int] = flags.ArgumentSerializer()
  flags.DEFINE(_Checkpoint(), name, default, help, serializer=serializer)
