"""What a message of the library reads like where its arguments are flags."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.session.messages import with_flags

SOURCES = sorted((Path(__file__).parents[1] / "src" / "unroll").rglob("*.py"))
FLAGS = ("batch", "clip_norm", "embedding", "split", "tie_embeddings")

MESSAGES = {
  # An argument with its value, wherever a word starts.
  "batch=9: give less": "--batch=9: give less",
  "give less (batch=9)": "give less (--batch=9)",
  "one line\nbatch=9": "one line\n--batch=9",
  "clip_norm=-1 and batch=0": "--clip_norm=-1 and --batch=0",
  "batch=…": "--batch=…",
  # An argument alone.
  "lower `batch` or `clip_norm`": "lower --batch or --clip_norm",
  "`tie_embeddings` needs embedding=8": "--tie_embeddings needs --embedding=8",
  # What is no flag here.
  "length=9: give `overlap`, or `batch`": "length=9: give overlap, or --batch",
  "minibatch=9, batches=9, my_batch=9": "minibatch=9, batches=9, my_batch=9",
  "batch == 9, the batch of 9": "batch == 9, the batch of 9",
  "as `x @ w`": "as `x @ w`",
  # What only looks like an argument: a flag's value, a path, a call, a quotation.
  "--split=0.9,batch=9": "--split=0.9,batch=9",
  "--batch=9 --batch": "--batch=9 --batch",
  "runs/batch=9 and runs.batch=9": "runs/batch=9 and runs.batch=9",
  "truncated(batch=9)": "truncated(batch=9)",
  "'batch=9' or \"batch=9\"": "'batch=9' or \"batch=9\"",
}


@pytest.mark.parametrize("message", MESSAGES)
def test_arguments_become_flags(message: str) -> None:
  assert with_flags(message, FLAGS) == MESSAGES[message]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_with_flags_stays_as_it_is(message: str) -> None:
  assert with_flags(MESSAGES[message], FLAGS) == MESSAGES[message]


def flags_named(source: str) -> Iterator[str]:
  """The flags that strings of a file name, also as f"--{name}"; XLA's are allowed."""
  for node in ast.walk(ast.parse(source)):
    match node:
      case ast.JoinedStr(values=parts):
        text = "".join(
          part.value if isinstance(part, ast.Constant) else "name" for part in parts
        )
      case ast.Constant(value=str(text)):
        pass
      case _:
        continue
    for word in text.split():
      name = word.lstrip("(`\"'")
      if name.startswith("--") and name[2:3].isalpha() and not name.startswith("--xla"):
        yield name


@pytest.mark.parametrize(
  ("source", "named"),
  [
    ("def f():\n  'The rate, see --rate.'", {"--rate."}),
    ("raise BadInput(f'--{name}={value}: give less')", {"--name=name:"}),
    ("f'lower {n} (--rate) ' '--batch'", {"--rate)", "--batch"}),
    ("'--xla_flag=1', 'a -- b', '---', x --y", set()),
  ],
)
def test_a_flag_is_seen(source: str, named: set[str]) -> None:
  assert set(flags_named(source)) == named


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_library_names_no_flag(path: Path) -> None:
  assert not list(flags_named(path.read_text("utf-8")))
