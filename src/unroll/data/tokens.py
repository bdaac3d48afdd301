"""Vocabularies of every tokenizer: learned from a training text, or read from JSON."""

import json
from pathlib import Path

from unroll.data import subwords
from unroll.data import text as text_lib
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

HELP = (
  f"{', '.join(sorted(text_lib.TOKENIZERS))}, bpe:N or unigram:N for N subwords "
  "learned from the training text, or the path of a tokenizer.json or of the "
  "vocab.json of a run"
)


def build(
  text: str,
  tokenizer: str,
  normalize: str = "none",
  *,
  min_count: int = 1,
  reserved: tuple[str, ...] = (),
) -> Vocabulary:
  """The vocabulary of a training text.

  Args:
    text: the training text alone.
    tokenizer: a name in `text.TOKENIZERS`, or of `subwords.build`.
    normalize: a name in `text.NORMALIZERS`.
    min_count: a token that is rarer becomes `<unk>`.
    reserved: tokens to have in any case, such as `<bos>`: subwords have them last.

  Raises:
    BadInput: an unknown name, or an option that the tokenizer cannot heed.
  """
  check(tokenizer, min_count)
  if tokenizer.endswith(".json") and (known := _of_run(tokenizer)):
    return known
  if subwords.is_subwords(tokenizer):
    return subwords.build(text, tokenizer, normalize).adding(reserved)
  return Vocabulary.build(
    text, tokenizer, normalize, min_count=min_count, reserved=reserved
  )


def check(tokenizer: str, min_count: int = 1) -> None:
  """Refuses a tokenizer that there is not, or that takes no minimum count.

  Raises:
    BadInput: it is one of these.
  """
  if min_count > 1 and (tokenizer == "byte" or subwords.is_subwords(tokenizer)):
    raise BadInput(
      f"min_count={min_count} makes tokens <unk>, which tokenizer={tokenizer} has "
      "not: drop it"
    )
  if tokenizer not in text_lib.TOKENIZERS and not subwords.is_subwords(tokenizer):
    raise BadInput(f"tokenizer={tokenizer}: choose {HELP}")


def _of_run(path: str) -> Vocabulary | None:
  """The vocabulary of a run's vocab.json; None of another file."""
  try:
    data = Path(path).expanduser().read_text("utf-8")
    fields = json.loads(data)
  except (OSError, ValueError, RecursionError):
    return None  # what is wrong with it is told where it is read as another file
  ours = isinstance(fields, dict) and "tokenizer" in fields
  return from_json(data, path) if ours else None


def from_json(data: str, where: str = "vocab.json") -> Vocabulary:
  """The vocabulary of a run, whatever its tokenizer.

  Args:
    data: the JSON.
    where: the file to name when something is wrong with it.

  Raises:
    BadInput: this is not what `to_json` writes.
  """
  try:
    fields = json.loads(data)
  except (ValueError, RecursionError) as error:
    raise BadInput(f"{where} is not JSON ({error}); restore it") from error
  if isinstance(fields, dict) and "model" in fields:
    return subwords.Subwords.from_json(data, where)
  return Vocabulary.from_json(data, where)
