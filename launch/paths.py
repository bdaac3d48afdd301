"""Flags that name a file or a folder: `~` is a home, whatever the shell does."""

from absl import flags

from unroll import files

# A flag is of the module that calls a function of this one, not of this one.
flags.disclaim_key_flags()

_SQLITE = "sqlite:///"


class _Path(flags.ArgumentParser[str]):
  def parse(self, argument: str) -> str:
    prefix = _SQLITE if argument.startswith(_SQLITE) else ""
    return prefix + files.expanded(argument.removeprefix(prefix))


def DEFINE_path(name: str, default: str, help: str) -> None:
  """A flag with a path, or the URL of an SQLite file."""
  flags.DEFINE(_Path(), name, default, help, serializer=flags.ArgumentSerializer())
