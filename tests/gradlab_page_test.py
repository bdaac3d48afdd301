"""The page that looks into the gradients of a run."""

import json
import math

import pytest

from experiments import gradlab
from experiments.session.messages import with_flags
from experiments.session.settings import Settings
from tests.commands import run
from unroll.types import BadInput

SMALL = ["--corpus=book.txt", "--hidden=4", "--batch=2", "--truncation=tbptt:8"]
LOOK = {"lags": 12, "before": 5, "windows": 3, "exponents": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A run whose parameters stay as they start, and a text."""
  folder = tmp_path_factory.mktemp("gradlab")
  (folder / "book.txt").write_text("the quick brown fox jumps over it. " * 60)
  (folder / "other.txt").write_text("another text " * 60)
  steps = ["--steps=2", "--learning_rate=0", "--seed=3", "--workdir=run"]
  done = run(folder, "charlm", *SMALL, *steps)
  assert done.code == 0, done.err
  return folder


@pytest.fixture
def look(folder, monkeypatch, capsys):
  """The page in this process: values -> what it prints, and its JSON."""
  monkeypatch.chdir(folder)

  def look(**values):
    gradlab.main(Settings.of(gradlab.PAGE, json=True, **LOOK, **values))
    *lines, last = capsys.readouterr().out.splitlines()
    return lines, json.loads(last)

  return look


@pytest.mark.slow
def test_a_run_that_learned_nothing_is_as_it_started(folder, look):
  lines, found = look(workdir="run")
  _, fresh = look(workdir="run", fresh=True, products=(1, 5), curvature=2, descent=3)
  assert found["step"] > 0 and fresh["step"] == 0
  assert found["exponents"] == pytest.approx(fresh["exponents"], rel=1e-4)
  for layer, radii in found["spectral_radii"].items():
    assert radii["w_h"] == pytest.approx(fresh["spectral_radii"][layer]["w_h"])
    largest = [
      max(abs(complex(*v)) for v in of) for of in found["eigenvalues"][layer]["w_h"]
    ]
    assert radii["w_h"] == pytest.approx(largest)
  assert [*found["layers"]] == ["layer 1", "layer 2"]
  for layer, states in found["layers"].items():
    assert [*states] == ["c", "h"]
    for name, state in states.items():
      start = fresh["layers"][layer][name]["norms"]
      assert state["norms"] == pytest.approx(start, rel=1e-4)
      assert len(state["norms"]) == 13 and min(state["norms"]) > 0
      half = math.log(0.5) / math.log(state["rate"])
      assert state["half_life"] == pytest.approx(half)
  assert len(found["exponents"]) == 2
  gates = found["gates"]["layer 2"]["c"]
  assert 1 < min(gates["scales"]) and gates["open"] == 0  # the forget gates' bias is 1
  assert lines[7].startswith("kept by a gate") and lines[8].startswith("layer 1 c")
  bent = fresh["curvature"]
  assert bent["turned"] >= abs(bent["along"]) > 0 and len(bent["across"]) == 2
  for way in (bent["descents"]["clipped"], bent["descents"]["unclipped"]):
    assert len(way["losses"]) == len(way["smoothness"]) == 3
    assert way["losses"][0] == pytest.approx(bent["loss"], rel=1e-5)
  assert max(bent["descents"]["clipped"]["lengths"]) <= 0.25 * 1.001
  assert "curvature" not in found
  assert found["log_singular_values"] == {}
  assert [*fresh["log_singular_values"]] == ["1", "5"]
  last = fresh["log_singular_values"]["5"]
  assert last["smallest"] < last["largest"] < 5
  assert len(found["spectral_radii"]["layer 2"]["w_h"]) == 4
  for picture in ("gradients.png", "gradients_fresh.png"):
    assert (folder / "run" / picture).stat().st_size
  assert "half-life" in lines[1] and lines[2].startswith("layer 1 c")


@pytest.mark.slow
@pytest.mark.parametrize(
  ("page", "flags", "lags"),
  [
    ("memory", ["--task=dyck", "--length=20"], 19),
    ("forecast", ["--series=sine", "--window=12", "--horizon=3"], 11),
    ("classify", ["--data=lines.tsv"], 7),
    ("music", ["--scores=scores.json"], 2),
  ],
)
def test_other_runs_are_looked_into_as_well(folder, look, page, flags, lags):
  text = "\n".join(f"{' '.join('abcdefgh'[: 2 + n % 7])}\t{n % 2}" for n in range(60))
  (folder / "lines.tsv").write_text(f"text\tlabel\n{text}")
  pieces = [[[60, 64], [], [67]], [[60], [62]]]
  (folder / "scores.json").write_text(json.dumps({"train": pieces, "valid": pieces}))
  small = ["--hidden=4", "--layers=1", "--steps=2", "--learning_rate=0"]
  done = run(folder, page, *flags, *small, f"--workdir={page}")
  assert done.code == 0, done.err
  _, found = look(workdir=page)
  _, fresh = look(workdir=page, fresh=True, curvature=2, descent=2)
  norms = found["layers"]["layer 1"]["c"]["norms"]
  assert norms == pytest.approx(fresh["layers"]["layer 1"]["c"]["norms"], rel=1e-4)
  assert len(norms) == min(lags, LOOK["lags"]) + 1 and min(norms) > 0
  losses = fresh["curvature"]["descents"]["unclipped"]["losses"]
  assert losses[0] > 0 and math.isfinite(losses[1])
  assert found["exponents"] == pytest.approx(fresh["exponents"], rel=1e-4)


def refused(said, **values):
  with pytest.raises(BadInput) as caught:
    gradlab.main(Settings.of(gradlab.PAGE, **{**LOOK, **values}))
  message = with_flags(str(caught.value), set(gradlab.PAGE.settings))
  assert said in message and "\n" not in message


@pytest.mark.slow
@pytest.mark.parametrize(
  ("said", "values"),
  [
    ("--lags=300 with --before=5 takes 307 tokens", {"lags": 300}),
    ("state of this model has 16 numbers", {"exponents": 17}),
    ("--descent=3 is with --curvature", {"descent": 3}),
    ("other.txt is not what run was trained on", {"corpus": "other.txt"}),
  ],
)
def test_what_a_run_does_not_have_is_refused(folder, monkeypatch, said, values):
  monkeypatch.chdir(folder)
  refused(said, workdir="run", **values)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("said", "page", "flags"),
  [
    ("is a run of experiments.tag, whose layers do not only read", "tag", {}),
    ("is a Transformer", "charlm", {"model": "transformer"}),
    ("has model=mlp", "forecast", {"model": "mlp"}),
    ("reads its own forecasts", "forecast", {"head": "feedback"}),
    ("also read from right to left", "classify", {"bidirectional": True}),
  ],
)
def test_a_run_of_another_kind_is_refused(tmp_path, said, page, flags):
  config = {"experiment": page, "flags": flags, "data": "", "files": {}}
  (tmp_path / "config.json").write_text(json.dumps(config))
  refused(said, workdir=str(tmp_path))


def test_the_command_ends_with_code_2(tmp_path):
  refused("give --workdir, the folder of a run")
  done = run(tmp_path, "gradlab", "--workdir=nowhere")
  assert done.code == 2 and done.out == ""
  assert done.err == "error: nowhere holds no config.json: give the folder of a run\n"


@pytest.mark.slow
def test_schemes_are_compared_with_the_full_gradient(folder, look):
  lines, found = look(
    workdir="run", schemes="full,tbptt:1,4,rtrl,snap1,uoro:4", draws=3
  )
  schemes = found["schemes"]
  for name in ("full", "rtrl"):
    assert schemes[name]["groups"]["all"]["cosine"] == pytest.approx(1, abs=1e-5)
  for name in ("tbptt:1,4", "snap1", "uoro:4"):
    assert 0 < schemes[name]["groups"]["all"]["cosine"] < 0.9999
    assert schemes[name]["groups"]["output"]["cosine"] == pytest.approx(1, abs=1e-4)
  assert schemes["uoro:4"]["groups"]["layer 1"]["deviation"] > 0.1
  assert schemes["rtrl"]["kept"] > schemes["snap1"]["kept"] > schemes["full"]["kept"]
  assert [line.split()[0] for line in lines[2:]] == [*schemes]


@pytest.mark.slow
def test_schemes_of_another_page_are_refused(folder, monkeypatch):
  with pytest.raises(BadInput, match="choose full"):
    gradlab.main(Settings.of(gradlab.PAGE, workdir=str(folder / "run"), schemes="no"))
