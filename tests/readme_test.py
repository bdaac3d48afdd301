"""What the documents show runs: examples, and commands whose flags exist."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from experiments.session.door import flag_of
from unroll.settings import parsed

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
FOUND = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
EXAMPLES = [e for e in FOUND if "RUN" not in e]  # those of a run: loading_test.py

DOCUMENTS = [ROOT / "README.md", ROOT / "WORKSPACE.md", *(ROOT / "docs").rglob("*.md")]
RECIPES = sorted((ROOT / "experiments" / "recipes").glob("*/*.flags"))
COMMAND = re.compile(r"python -m experiments\.(\w+)([^\n`#]*)")
COMMANDS = [
  (page, command)
  for document in DOCUMENTS
  for page, command in COMMAND.findall(document.read_text("utf-8").replace("\\\n", ""))
]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_readme_run(example):
  names = {}
  exec(example, names)
  assert names["ys"].shape == (100, 32, 256) and names["value"].shape == ()


def test_there_is_an_example():
  assert EXAMPLES


def check(page, flags):
  """Asserts that a page has the flags, and that they may have such values."""
  known = importlib.import_module(f"experiments.{page}").PAGE.settings
  settings = {flag_of(name): setting for name, setting in known.items()}
  for flag in flags:
    name, equals, value = flag.removeprefix("--").partition("=")
    if name == "flagfile":
      assert (ROOT / value).is_file(), flag
    elif not equals:
      assert settings[name.removeprefix("no")].type is bool, flag
    elif "$" not in value:  # a variable of a loop
      parsed(settings[name], value)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_that_is_shown_has_flags_of_its_page(page, command):
  check(page, [word for word in shlex.split(command) if word.startswith("--")])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_has_flags_of_its_page(recipe):
  lines = recipe.read_text("utf-8").splitlines()
  flags = [line for line in lines if line and not line.startswith("#")]
  assert all(flag.startswith("--") for flag in flags)
  check(recipe.parent.name, flags)


def test_there_are_commands_of_every_page():
  pages = {path.stem for path in (ROOT / "experiments").glob("[!_]*.py")}
  assert {page for page, _ in COMMANDS} == pages
