"""Influence balancing, from the command line."""

import json

import pytest
from commands import run


@pytest.mark.slow
def test_short_truncation_diverges_and_the_others_do_not(tmp_path):
  schemes = "tbptt:1,10,tbptt:1,41,rtrl,uoro:10,artbp:20"
  done = run(tmp_path, "balancing", f"--schemes={schemes}", "--json")
  assert done.code == 0, done.err
  found = json.loads(done.out.splitlines()[-1])["schemes"]
  assert found["tbptt:1,10"]["diverged"] and found["tbptt:1,10"]["theta"] is None
  for name in ("rtrl", "uoro:10", "artbp:20"):
    assert abs(found[name]["theta"] + 1 / 6) < 1e-3, name
  assert -1 / 6 < found["tbptt:1,41"]["theta"] < 0.2
  assert (tmp_path / "balancing.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("schemes", ["tbptt", "snap1", ""])
def test_another_scheme_is_refused(tmp_path, schemes):
  done = run(tmp_path, "balancing", f"--schemes={schemes}", "--steps=10")
  assert done.code == 2 and done.err.count("\n") == 1
