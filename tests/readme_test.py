"""What the README shows runs."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
FOUND = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
EXAMPLES = [e for e in FOUND if "RUN" not in e]  # others: loading_test.py


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_readme_run(example):
  names = {}
  exec(example, names)
  assert names["ys"].shape == (100, 32, 256) and names["value"].shape == ()


def test_there_is_an_example():
  assert EXAMPLES
