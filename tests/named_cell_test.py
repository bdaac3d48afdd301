"""Cells as people write them: names, options, and what is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import jax
import pytest

from unroll.cells import CELLS, lstm, vanilla
from unroll.cells.named import named_cell, options
from unroll.types import BadInput

CPU = {**os.environ, "JAX_PLATFORMS": "cpu"}
ROOT = Path(__file__).parent.parent


def cell_of_every_kind(
  input_size: int,
  hidden_size: int,
  *,
  peephole: bool = False,
  depth: int = 2,
  leak: float = 0.5,
  norm: Literal["layer", "rms"] = "layer",
  longest: int | None = None,
  activation=abs,
):
  raise NotImplementedError


@pytest.fixture(autouse=True)
def registered(monkeypatch):
  monkeypatch.setitem(CELLS, "every", cell_of_every_kind)


GOOD = {
  "lstm": (lstm, {}),
  "lstm:forget_bias=2": (lstm, {"forget_bias": 2.0}),
  "rnn": (vanilla, {}),
  "every:peephole": (cell_of_every_kind, {"peephole": True}),
  "every: peephole , depth=3": (cell_of_every_kind, {"peephole": True, "depth": 3}),
  "every:peephole=false,leak=1e-3,norm=rms,longest=7": (
    cell_of_every_kind,
    {"peephole": False, "leak": 1e-3, "norm": "rms", "longest": 7},
  ),
}
BAD = {
  "lstn": "choose one of .*gru.*; did you mean lstm",
  "": "choose one of",
  "rnn:forget_bias=1": "rnn has no options",
  "lstm:": "lstm has forget_bias",
  "lstm:forget_bais=1": "lstm has forget_bias; did you mean forget_bias",
  "lstm:forget_bias": "give forget_bias a value: forget_bias=1.0",
  "lstm:forget_bias=big": "forget_bias=big: give a number",
  "lstm:forget_bias=nan": "forget_bias=nan: give a number",
  "lstm:forget_bias=1,forget_bias=2": "gives forget_bias twice",
  "every:depth=2.5": "depth=2.5: give a whole number",
  "every:norm=batch": "norm=batch: choose one of layer, rms",
  "every:peephole=1": "peephole=1: give true or false",
  "every:activation=abs": "every has peephole, depth, leak, norm, longest",
}


@pytest.mark.parametrize("spec", GOOD)
def test_a_spec_is_a_constructor_and_its_options(spec):
  assert named_cell(spec) == GOOD[spec]


@pytest.mark.parametrize("spec", BAD)
def test_what_a_cell_does_not_have_is_answered_with_what_it_has(spec):
  with pytest.raises(BadInput, match=f"^cell={spec}[: ].*{BAD[spec]}"):
    named_cell(spec)


@pytest.mark.parametrize("name", CELLS)
def test_every_option_has_a_default_that_is_a_value_of_it(name):
  for option in options(name).values():
    assert option.default is None or isinstance(option.default, option.type)


def rows_of_the_page() -> dict[str, tuple[str, str]]:
  """Of each cell in docs/cells.md, its parameters and its options, as they stand."""
  found = {}
  for line in (ROOT / "docs" / "cells.md").read_text().splitlines():
    if re.match(r"\| `\w", line):
      names, _, count, own, _ = (cell.strip() for cell in line[1:].split("|"))
      found |= dict.fromkeys(re.findall(r"`(\w+)`", names), (count, own))
  return found


PAGE = rows_of_the_page()


def test_the_page_of_cells_has_every_cell():
  assert set(PAGE) == set(CELLS) - {"every"}


@pytest.mark.parametrize("name", PAGE)
def test_the_page_of_cells_has_the_options_of_each(name):
  assert re.findall(r"`(\w+)`", PAGE[name][1]) == list(options(name))


@pytest.mark.parametrize("name", PAGE)
def test_the_page_of_cells_counts_parameters(name):
  d, h = 5, 8
  params = jax.eval_shape(CELLS[name](d, h).init, jax.random.key(0))
  counted = sum(leaf.size for leaf in jax.tree.leaves(params))
  known = {"D": d, "H": h, "M": 4 * h, "F": h - h // 4, "N": 128, "depth": 3}
  formula = re.sub(r"(?<=[\w)]) (?=[\w(])", " * ", PAGE[name][0]).replace("²", "**2")
  assert eval(formula, known) == counted


def test_to_make_a_cell_looks_for_no_device():
  """Their number, and other processes, may be told afterwards."""
  program = """
import jax
from unroll.cells import CELLS
for make in CELLS.values():
  make(2, 2)
jax.config.update("jax_num_cpu_devices", 2)
assert jax.device_count() == 2
"""
  subprocess.run([sys.executable, "-c", program], check=True, env=CPU)
