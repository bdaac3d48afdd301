"""What one can run: `python -m experiments`, or `unroll` once it is installed.

unroll                       lists the pages, a line each
unroll charlm --minutes=5    is python -m experiments.charlm --minutes=5
unroll sweep charlm --seeds=3, unroll train, unroll sweep_report: those of `launch`

source <(unroll completion bash)   completes pages and flags; zsh likewise
"""

import ast
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).parent
# Those of `launch`: what each is, and its module.
LAUNCH = {
  "sweep": ("Runs a page for many settings, here, on Ray or on Slurm.", "sweep"),
  "train": ("Trains one model in many processes.", "train"),
  "sweep_report": ("Writes the page of a sweep.", "report"),
}


def pages() -> dict[str, str]:
  """The first sentence about each page, by its name; read without importing it."""
  found = {}
  for path in sorted(HERE.glob("[a-z]*.py")):
    about = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    found[path.stem] = about.partition("\n")[0]
  return found


def main() -> None:
  """The command `unroll`: lists the pages, or runs one."""
  from experiments.session import front, start

  name, *arguments = sys.argv[1:] or [""]
  if name in ("", "--help", "-h", "help"):
    others = {name: about for name, (about, _) in LAUNCH.items()}
    _list("unroll NAME --help lists the flags of a page", others)
    return
  if name == "completion":
    _complete(arguments)
    return
  if name == "--version":
    from experiments.session.commandline import version

    print(version())
    return
  module = f"experiments.{name}"
  if name in LAUNCH:
    module = f"launch.{LAUNCH[name][1]}"
    arguments = [f"experiments.{a}" if a in pages() else a for a in arguments]
  elif name not in pages():
    _refuse(f"unroll has no page {name!r}", "unroll lists them")
  arguments = [_recipe(argument) for argument in arguments]
  start.protect()
  front.answer(module, arguments)
  sys.argv[1:] = arguments
  runpy.run_module(module, run_name="__main__", alter_sys=True)


def _complete(arguments: list[str]) -> None:
  """The script of a shell, or the words that may follow those of a command."""
  from experiments.session import completion

  if arguments[:1] and arguments[0] in completion.SHELLS:
    print(completion.script(arguments[0]), end="")
  else:
    print(*completion.words(arguments, [*pages(), *LAUNCH]), sep="\n")


def _recipe(argument: str) -> str:
  """A flag file of this package, wherever the package is installed."""
  flag, _, path = argument.partition("=")
  own = HERE.parent / path
  if flag != "--flagfile" or Path(path).exists() or not own.is_file():
    return argument
  return f"{flag}={own}"


def _list(last: str, others: dict[str, str]) -> None:
  for name, about in {**pages(), **others}.items():
    print(f"{name:12} {about}")
  print(f"\n{last}")


def _refuse(found: str, instead: str) -> NoReturn:
  print(f"error: {found}: {instead}", file=sys.stderr)
  sys.exit(2)


def _module(arguments: Sequence[str]) -> None:
  if arguments:
    found = f"python -m experiments takes no {arguments[0]!r}"
    _refuse(found, "give a page as experiments.NAME")
  _list("python -m experiments.NAME --help lists the flags of a page", {})


if __name__ == "__main__":
  _module(sys.argv[1:])
