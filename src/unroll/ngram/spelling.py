"""Tokens as the words of an ARPA file, which white space separates."""

import re
import unicodedata

from unroll.errors import BadInput

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
_ESCAPED = re.compile("<U\\+([0-9A-F]{4,6})>")


def spelled(token: str, end: str) -> str:
  """A token as a word: white space and controls as `<U+0020>`, a line end as `</s>`.

  Args:
    token: of the vocabulary.
    end: its token of a line end.

  Raises:
    BadInput: the token is a word that ARPA files have another use for.
  """
  if token == end:
    return END
  if token in (START, END) or _ESCAPED.fullmatch(token):
    raise BadInput(
      f"the token {token} means something else in an ARPA file: train on a text "
      "without it"
    )
  return "".join(
    f"<U+{ord(c):04X}>" if c.isspace() or unicodedata.category(c)[0] == "C" else c
    for c in token
  )


def token(word: str, end: str) -> str:
  """The token that a word stands for; see `spelled`."""
  if word == END:
    return end
  return _ESCAPED.sub(_unescaped, word)


def _unescaped(match: re.Match[str]) -> str:
  number = int(match[1], 16)
  return chr(number) if number <= 0x10FFFF else match[0]
