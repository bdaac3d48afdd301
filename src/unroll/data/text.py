"""Text into tokens and back: reading, normalising, tokenising.

`char` and `byte` give a string of one-character tokens, which `Vocabulary` encodes
with a table; `word` and `whitespace` give a list. A byte is written as the character
of the same number, so bytes are text over the alphabet `chr(0) ... chr(255)`.
"""

import codecs
import pathlib
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from unroll.types import BadInput

EOS = "<eos>"  # what a line break becomes among words
JOINER = "\uffed"  # begins a token that no space stands before, as OpenNMT has it
# What a joiner of the text itself becomes; no word and no mark is spelled so.
_LITERAL = {JOINER: f"\uffee{JOINER}"}
_LINE_BREAK = re.compile(r"\r\n?|\n")
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")  # Unicode's: controls, surrogates, separators

Value = TypeVar("Value")


class Tokenizer(NamedTuple):
  """Text into tokens and back."""

  split: Callable[[str], Sequence[str]]
  join: Callable[[Iterable[str]], str]


def _letters(text: str) -> str:
  return re.sub("[^A-Za-z]+", " ", text).lower()


def _split_bytes(text: str) -> str:
  return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _join_bytes(tokens: Iterable[str]) -> str:
  return "".join(tokens).encode("latin-1").decode("utf-8", "replace")


def _pattern(text: str, but: str = "") -> re.Pattern[str]:
  """What words, marks and line breaks of a text match; `but`: no bracket of this."""
  # \w knows no combining marks, and without them Hindi falls apart inside its words.
  marks = "".join(c for c in set(text) if unicodedata.category(c).startswith("M"))
  return re.compile(rf"{but}<[^<>\s]+>|[\w{re.escape(marks)}]+|\r\n?|\n|[^\w\s]")


def _split_words(text: str) -> list[str]:
  return [EOS if t[0] in "\r\n" else t for t in _pattern(text).findall(text)]


def _split_whitespace(text: str) -> list[str]:
  return _LINE_BREAK.sub(f" {EOS} ", text).split()


def _split_joined(text: str) -> list[str]:
  found, end = [], 0
  for match in _pattern(text, "(?!<eos>)").finditer(text):
    token = EOS if match[0][0] in "\r\n" else _LITERAL.get(match[0], match[0])
    near = end and end == match.start() and not text[end - 1].isspace()
    found.append(JOINER + token if near and not match[0].isspace() else token)
    end = match.end()
  return found


def _join_joined(tokens: Iterable[str]) -> str:
  literal = {token: mark for mark, token in _LITERAL.items()}
  parts = [""]
  for token in tokens:
    if token.startswith(JOINER):
      token = token.removeprefix(JOINER)
    elif token != EOS and parts[-1] not in ("", "\n"):
      parts.append(" ")
    parts.append("\n" if token == EOS else literal.get(token, token))
  return "".join(parts)


def _join_words(tokens: Iterable[str]) -> str:
  return re.sub(f" ?{EOS} ?", "\n", " ".join(tokens))


def _spaced(text: str) -> str:
  return re.sub("(?<=[^ ])[,.!?]", r" \g<0>", text.lower())


NORMALIZERS: dict[str, Callable[[str], str]] = {
  "none": str,
  "lower": str.lower,
  "spaced": _spaced,
  "letters": _letters,
}
TOKENIZERS: dict[str, Tokenizer] = {
  "char": Tokenizer(str, "".join),
  "byte": Tokenizer(_split_bytes, _join_bytes),
  "word": Tokenizer(_split_words, _join_words),
  "joined": Tokenizer(_split_joined, _join_joined),
  "whitespace": Tokenizer(_split_whitespace, _join_words),
}


def normalize(text: str, how: str) -> str:
  """Normalises a text: "none", "lower" for lower case, "spaced" for lower case with a
  space before each of , . ! ? that has none, or "letters" for lower-case a to z and
  single spaces.

  "letters" and "spaced" are the preprocessing of Zhang et al., Dive into Deep Learning,
  9.2 and 10.5.

  Raises:
    BadInput: there is no such normalisation.
  """
  return _choose(NORMALIZERS, how, "normalize")(text)


def tokenizer(name: str) -> Tokenizer:
  """The tokenizer of that name.

  - "char": Unicode code points, as they are: no composition, no change of line ends.
  - "byte": the UTF-8 bytes, whatever the text.
  - "word": words, single punctuation marks, `<eos>` for a line break; tokens in angle
    brackets such as `<unk>` stay whole.
  - "joined": as "word", and a token that no white space stands before, but the first,
    begins with a joiner, U+FFED: text whose white space is single spaces comes back as
    it was. As in OpenNMT's tokenizer (Klein et al. 2017).
  - "whitespace": what stands between white space, `<eos>` for a line break; for text
    that is tokenised already.

  Raises:
    BadInput: there is no such tokenizer.
  """
  return _choose(TOKENIZERS, name, "tokenizer")


def read_text(path: pathlib.Path, tokenizer: str = "char") -> str:
  """Reads a text file as it is, line ends and all.

  Args:
    path: a regular file.
    tokenizer: "byte" takes any bytes, every other one takes UTF-8 only.

  Returns:
    The text; bytes that are not UTF-8 are there as surrogate escapes.

  Raises:
    BadInput: missing, unreadable, not a regular file, empty, or not UTF-8.
  """
  try:
    if not stat.S_ISREG(path.stat().st_mode):
      raise BadInput(f"{path} is not a regular file; `corpus` takes a text file")
    data = path.read_bytes()
  except OSError as error:
    raise BadInput(
      f"{path} cannot be read ({error.strerror}); `corpus` takes a readable text file"
    ) from error
  if not data:
    raise BadInput(f"{path} is empty (0 bytes); `corpus` takes a file that holds text")
  return decode_text(data, str(path), tokenizer)


def decode_text(data: bytes, where: str, tokenizer: str = "char") -> str:
  """Decodes the bytes of a text file; `where` names the file in `BadInput`.

  A byte-order mark at the start is no character of the text; "byte" keeps its bytes.
  """
  if tokenizer == "byte":
    return data.decode("utf-8", "surrogateescape")
  try:
    return data.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    # Without a mark, which the codec leaves out of its offsets.
    start = error.start + len(data) - len(error.object)
    raise BadInput(
      f"{where} is not UTF-8: byte {data[start]:#04x} at offset {start}; "
      "convert the file to UTF-8, or take its bytes as they are with tokenizer=byte"
    ) from error


def read_lines(data: bytes, where: str, tokenizer: str = "char") -> list[str]:
  """The lines of a text file, blank ones too, without their ends.

  A line feed ends a line, alone or after a carriage return, and nothing else does: a
  form feed or U+2028 is a character of its line. A byte-order mark is none.

  Args:
    data: the file.
    where: what to name in `BadInput`.
    tokenizer: what will read them: "byte" takes lines that are not UTF-8.

  Raises:
    BadInput: not UTF-8.
  """
  lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
  if not lines[-1]:
    lines.pop()
  errors = "surrogateescape" if tokenizer == "byte" else "strict"
  texts = []
  for number, line in enumerate(lines, 1):
    try:
      texts.append(line.removesuffix(b"\r").decode("utf-8", errors))
    except UnicodeDecodeError as error:
      raise BadInput(
        f"{where}, line {number} is not UTF-8: byte {line[error.start]:#04x} at offset "
        f"{error.start}; convert it to UTF-8"
      ) from None
  return texts


def one_line(text: str) -> str:
  """A text as one line: line breaks and other control characters as escapes."""
  return "".join(
    c.encode("unicode_escape").decode() if unicodedata.category(c) in _CONTROLS else c
    for c in text
  )


def _choose(table: Mapping[str, Value], name: str, argument: str) -> Value:
  if name not in table:
    raise BadInput(f"{argument}={name} is not one of {', '.join(table)}")
  return table[name]
