"""Completion of the command `unroll` in a shell: pages, and the flags of each."""

import subprocess
import sys
from collections.abc import Iterable

from experiments.session import front
from experiments.session.commandline import flag_of

SHELLS = ("bash", "zsh")
# Words before the cursor that end in `=` are left to the shell, which completes files.
SCRIPT = r"""_unroll() {
  local word="${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=()
  case "$word" in *=*) return ;; esac
  local known
  known="$(unroll completion "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)" || return
  COMPREPLY=($(compgen -W "$known" -- "$word"))
  case "${COMPREPLY[0]-}" in *=) compopt -o nospace 2>/dev/null ;; esac
}
complete -o default -F _unroll unroll
"""
ZSH = "autoload -Uz bashcompinit && bashcompinit\n"


def script(shell: str) -> str:
  """What a shell reads to complete `unroll`: `source <(unroll completion bash)`.

  Args:
    shell: one of `SHELLS`.
  """
  return ZSH * (shell == "zsh") + SCRIPT


def flags(module: str) -> list[str]:
  """The flags of a page, such as `--hidden=`; [] of a module that tells of none."""
  told = front.kept(module)
  if told is None:  # it tells of itself, and that is kept
    command = [sys.executable, "-m", module, "--helpxml"]
    subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    told = front.kept(module)
  found = []
  for heading in told.headings if told else ():
    for setting in heading.settings:
      name = flag_of(setting.name)
      found += [f"--{name}", f"--no{name}"] if setting.type is bool else [f"--{name}="]
  return sorted(found)


def words(before: list[str], pages: Iterable[str]) -> list[str]:
  """What may follow the words of a command after `unroll`.

  Args:
    before: the words up to the cursor.
    pages: what may come first.
  """
  return flags(f"experiments.{before[0]}") if before else sorted(pages)
