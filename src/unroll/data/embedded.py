"""Texts that every CPython carries: a corpus without a download."""

import pathlib
import pydoc_data.topics
import sys
import sysconfig

STDLIB_LIMIT = 4_000_000  # characters


def pydoc() -> str:
  """The language reference behind `help()`: English prose and examples."""
  topics = pydoc_data.topics.topics
  return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


def stdlib() -> str:
  """Python source: the top-level modules of the standard library, by name."""
  folder = pathlib.Path(sysconfig.get_path("stdlib"))
  sources: list[str] = []
  size = 0
  for path in sorted(folder / f"{name}.py" for name in sys.stdlib_module_names):
    try:
      source = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
      continue  # a package, a builtin, or in an encoding of its own
    size += len(source)
    if size > STDLIB_LIMIT:
      break
    sources.append(source)
  return "\n".join(sources)


EMBEDDED = {"pydoc": pydoc, "stdlib": stdlib}
LICENCE = "PSF-2.0"
