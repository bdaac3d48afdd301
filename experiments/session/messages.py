"""The library's messages, with the arguments that are flags here written as flags.

`unroll` names an argument, `batch=9: …` or `` `batch` ``. A person who runs a page gave
the flag `--batch=9`, and reads of that.
"""

import re
from collections.abc import Collection

# An argument alone, or with its value. A word starts after a space or an open bracket:
# what stands inside a path, a quotation, a call or another flag's value is no argument.
QUOTED = re.compile(r"`([a-z]\w*)`")
GIVEN = re.compile(r"(?:(?<!\S)|(?<=(?<!\w)[(\[]))([a-z]\w*)=")


def with_flags(message: str, names: Collection[str]) -> str:
  """Writes the arguments in a message as the flags of the same names.

  `name=` becomes `--name=`, and `` `name` `` becomes `--name`. A name that is no flag
  stays as it is, without backquotes.

  Args:
    message: one sentence of the library, or of a page, whose flags stay flags.
    names: of the flags that a person may give.
  """

  def quoted(match: re.Match[str]) -> str:
    return f"--{match[1]}" if match[1] in names else match[1]

  def given(match: re.Match[str]) -> str:
    return f"--{match[0]}" if match[1] in names else match[0]

  return QUOTED.sub(quoted, GIVEN.sub(given, message))
