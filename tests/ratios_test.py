"""How much of a gradient is left at the first step of cells as they start."""

import numpy as np
import pytest
from commands import run

from experiments.parts import ratios
from unroll.types import BadInput


def test_options_of_a_cell_may_have_commas_as_cells_do():
  parts = ["lru:shortest=0.9", "longest=0.99", "rnn@uniform", "lstm:forget_bias=2"]
  found = ["lru:shortest=0.9,longest=0.99", "rnn@uniform", "lstm:forget_bias=2"]
  assert ratios.specs(parts) == found
  assert ratios.layer("gru:forget_bias=1@orthogonal").init == "orthogonal"
  with pytest.raises(BadInput, match=r"`cells` has rn: cell=rn: choose one of"):
    ratios.layer("rn")
  with pytest.raises(BadInput, match=r"`cells` has rnn@two: init=two: choose one of"):
    ratios.layer("rnn@two")


def test_the_middle_of_starts_is_geometric():
  assert ratios.middle(np.array([[1e-20, 1], [1e-10, 0]])) == pytest.approx([1e-15, 0])


@pytest.mark.slow
def test_an_identity_keeps_all_of_a_gradient():
  found = ratios.ratios(ratios.layer("linear_rnn@identity"), (3, 7), 2)
  np.testing.assert_allclose(found, np.ones((2, 2)), rtol=1e-6)


@pytest.mark.slow
def test_the_command(tmp_path):
  flags = ["--cells=rnn@uniform,lstm:forget_bias=3", "--lengths=2,40", "--starts=1"]
  done = run(tmp_path, "gradlab", *flags, "--json")
  assert done.code == 0, done.err
  first, *lines, _ = done.out.splitlines()
  assert first.endswith("T = 40")
  assert [line.split()[0] for line in lines] == ["rnn@uniform", "lstm:forget_bias=3"]
  short, long = done.json["ratios"]["rnn@uniform"]
  assert done.json["lengths"] == [2, 40] and long < 1e-6 < short < 1
  assert done.json["ratios"]["lstm:forget_bias=3"][1] > 1e-3
  done = run(tmp_path, "gradlab", *flags, "--workdir=a")
  assert done.err == "error: --workdir=a with --cells: give one of them\n"
