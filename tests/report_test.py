"""The page of a sweep, and of a run, says what is in the folder, whatever that is."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launch import page, report
from launch.page.curves import curve, read
from launch.run import Tail
from tests import sweep_folder
from unroll.metrics import BITS_PER_CHAR, NATS, PERPLEXITY, Measure
from unroll.report.page import page as run_page

ROOT = Path(__file__).parents[1]
EVIL = "</script><img src=x onerror=alert(1)>&amp;\u2028<!--"


def data(html: str) -> dict:
  """What the page's script reads, out of the page's only two scripts."""
  opened = re.findall(r"<script([^>]*)>(.*?)</script>", html, re.DOTALL)
  assert [kind for kind, _ in opened] == [' type="application/json" id="data"', ""]
  return json.loads(opened[0][1])


def shown(sweep: Path) -> dict:
  return data(page.write(sweep).read_text("utf-8"))


def listed(sweep: Path, *trials: dict, **other: object) -> Path:
  sweep.mkdir(exist_ok=True)
  (sweep / "trials.json").write_text(json.dumps({**other, "trials": trials}))
  return sweep


def run(sweep: Path, name: str, metrics: bytes) -> dict:
  (sweep / name).mkdir(parents=True)
  (sweep / name / "metrics.jsonl").write_bytes(metrics)
  return {"seed": 0, "workdir": name, "summary": None}


def command(*argv: str) -> subprocess.CompletedProcess[str]:
  """`python -m launch.report`, to its end."""
  whole = [sys.executable, "-m", "launch.report", *argv]
  return subprocess.run(whole, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
  return sweep_folder.grid(tmp_path_factory.mktemp("grid"), steps=100)


def test_the_page_holds_the_sweep(grid):
  found = shown(grid)
  assert found["names"] == ["cell", "hidden", "clip_norm"]
  assert len(found["trials"]) == 36
  states = [trial["state"] for trial in found["trials"]]
  assert {state: states.count(state) for state in set(states)} == {
    "complete": 31,
    "failed": 2,
    "pruned": 1,
    "running": 1,
    "waiting": 1,
  }
  trial = found["trials"][0]
  runs = json.loads((grid / "trials.json").read_text())["trials"][0]["runs"]
  values = [run["summary"]["val/loss"] for run in runs]
  mean = sum(values) / 3
  variance = sum((value - mean) ** 2 for value in values) / 2
  assert trial["values"] == pytest.approx([mean])
  assert trial["deviations"] == pytest.approx([variance**0.5])
  assert trial["pages"][2] == {"seed": 2, "href": "runs/0000-seed2/report.html"}
  assert "not finite" in found["trials"][3]["error"]
  assert found["samples"][0]["slot"] == found["chosen"]["slot"]


@pytest.mark.slow
def test_a_sweep_that_was_really_run(tmp_path):
  sweep = tmp_path / "sweep"
  flags = ("--x=0.1,0.3,0.9", "--kind=good,bad", "--seeds=2", f"--sweepdir={sweep}")
  module = [sys.executable, "-m", "launch.sweep", "tests.toy", *flags]
  subprocess.run(module, capture_output=True, check=True, cwd=ROOT)
  found = shown(sweep)
  assert found["finished"]
  assert found["names"] == ["x", "kind"]
  [best, *_] = sorted(found["trials"], key=lambda t: t["values"][0] or 99)
  assert best["params"] == {"x": 0.3, "kind": "good"}
  assert best["deviations"] == pytest.approx([0.01 / 2**0.5])
  assert found["chosen"]["slot"] == best["slot"]
  steps, _, mean, low, high = found["curves"]["val/loss"][str(best["slot"])]
  assert steps == [1, 2, 3, 4, 5]
  assert mean == pytest.approx([1.005 + 1 / step for step in steps], rel=1e-4)
  assert high[0] - low[0] == pytest.approx(0.01)
  failed = [trial for trial in found["trials"] if trial["state"] == "failed"]
  assert len(failed) == 3
  assert failed[0]["error"] == "--kind=bad is not good: choose another"


def test_a_trial_at_work_has_a_curve(tmp_path):
  run(tmp_path, "runs/0007-seed3", b'{"step": 1, "val/loss": 2}\n')
  trial = {"slot": 7, "state": "running", "params": {"x": 1}, "runs": []}
  found = shown(listed(tmp_path, trial, objective=["val/loss"]))
  assert found["curves"]["val/loss"]["7"][2] == [2]
  assert found["trials"][0]["seeds"] == 1


def test_nothing_of_a_run_becomes_markup(tmp_path):
  one = run(tmp_path, f"runs/{EVIL.replace('/', '')}", b"")
  folder = tmp_path / one["workdir"]
  (folder / "sample.txt").write_text(EVIL)
  (folder / "report.html").write_text("")
  trial = {"slot": 0, "state": "complete", "params": {EVIL: EVIL}, "values": [1.0]}
  trial |= {"error": EVIL, "runs": [one]}
  sweep = listed(tmp_path, trial, experiment=EVIL, objective=[EVIL], flags={EVIL: EVIL})
  html = page.write(sweep).read_text("utf-8")
  assert "<img" not in html
  found = data(html)
  assert found["samples"][0]["text"] == EVIL
  assert found["trials"][0]["params"] == {EVIL: EVIL}
  assert re.fullmatch(r"[\w/.%-]+", found["trials"][0]["pages"][0]["href"])


def test_the_script_sets_no_markup():
  for name in page.SCRIPTS:
    script = (page.HERE / f"{name}.js").read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write", script)
    assert script.count("\n") <= 320


def test_the_page_fetches_nothing(grid):
  html = page.write(grid).read_text("utf-8")
  markup = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
  assert "default-src 'none'" in markup
  assert not re.search(r"https?:|@import|url\(", markup)


@pytest.mark.parametrize(
  "metrics",
  [
    b"",
    b"\n\n{",
    b"\xff\xfe\n[1]\n{}\n",
    b'{"step": 1, "val/loss": null}\n',
    b'{"step": 1, "val/loss": "high"}\n',
    b'{"step": 1, "val/loss": NaN}\n{"step": 2, "val/loss": 1e999}\n{"step": 3, "v',
  ],
)
def test_damaged_runs_have_a_page(tmp_path, metrics):
  one = run(tmp_path, "runs/0", metrics)
  gone = {"seed": 1, "workdir": "runs/1", "summary": {"val/loss": float("nan")}}
  trial = {"slot": 0, "state": "running", "params": {"x": 1}, "runs": [one, gone]}
  found = shown(listed(tmp_path, trial, objective=["val/loss"]))
  for columns in found["curves"].get("val/loss", {}).values():
    assert columns[2:] == [[None] * len(columns[0])] * 3


def test_a_sweep_without_trials_has_a_page(tmp_path):
  found = shown(listed(tmp_path))
  assert found["trials"] == found["names"] == found["samples"] == []


@pytest.mark.parametrize(
  ("files", "said"),
  [
    (None, "is no folder"),
    ({}, "holds no trials.json"),
    ({"config.json": "{}"}, "is a single run"),
    ({"trials.json": '{"tri'}, "is not JSON"),
    ({"trials.json": "[]"}, "is not a list of trials"),
    ({"trials.json": '{"trials": [3]}'}, "is not a list of trials"),
  ],
)
def test_what_is_no_sweep_is_refused(tmp_path, files, said):
  folder = tmp_path / "folder"
  if files is not None:
    folder.mkdir()
    for name, text in files.items():
      (folder / name).write_text(text)
  done = command(str(folder))
  assert done.returncode == 2
  assert done.stdout == ""
  assert re.fullmatch(r"error: [^\n]+\n", done.stderr)
  assert said in done.stderr
  assert not (folder / "report.html").exists()


@pytest.mark.parametrize("argv", [(), ("a", "b"), ("--what=1",), ("a", "--what=1")])
def test_one_folder_is_asked_for(argv):
  done = command(*argv)
  assert done.returncode == 2
  assert "give one folder" in done.stderr


def test_the_commands_of_other_viewers(grid, tmp_path):
  done = command(str(grid), f"--out={tmp_path}/p")
  assert done.returncode == 0
  assert done.stdout.splitlines()[0] == f"{tmp_path}/p"
  assert f"optuna-dashboard sqlite:///{grid}/study.db" in done.stdout
  assert f"tensorboard --logdir {grid}/runs" in done.stdout
  assert data((tmp_path / "p").read_text("utf-8"))["trials"]
  (tmp_path / "sweep.json").write_text('{"storage": "postgresql://u:secret@host/db"}')
  assert report.viewers(tmp_path)[0][1] == (
    "optuna-dashboard postgresql://u:secret@host/db"
  )


def test_a_password_stays_out_of_the_page(tmp_path):
  text = "python -m launch.sweep --storage=postgresql://me:secret@host/db --trials=3"
  assert shown(listed(tmp_path, command=text))["command"] == text.replace("secret", "…")


def test_the_report_needs_no_jax():
  code = "import sys, launch.report; sys.exit('jax' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_curve_is_the_mean_over_seeds():
  runs = [
    [{"step": s, "x": a * s, "seconds": s / 10} for s in range(2, 9, 2)] for a in (1, 3)
  ]
  steps, seconds, mean, low, high = curve(runs, "x", 200)
  assert steps == [2, 4, 6, 8]
  assert seconds == [0.2, 0.4, 0.6, 0.8]
  assert mean == [4, 8, 12, 16]
  assert low == [2, 4, 6, 8]
  assert high == [6, 12, 18, 24]
  assert curve(runs, "y", 200) is None


def test_a_long_curve_is_thinned_to_means():
  records = [{"step": s, "x": s % 2} for s in range(1, 10_001)]
  steps, seconds, mean, *_ = curve([records], "x", 200)
  assert len(steps) == 200
  assert mean == [0.5] * 200
  assert seconds == [None] * 200


def test_seeds_that_end_at_different_steps_have_a_curve_to_the_end():
  ends = {990: 3.0, 1000: 5.0, 1010: 7.0}
  runs = [[{"step": s, "x": x} for s in (500, end)] for end, x in ends.items()]
  steps, _, mean, low, high = curve(runs, "x", 200)
  assert steps == [500, 990, 1000]
  assert (low, mean, high) == ([3.0] * 3, [5.0] * 3, [7.0] * 3)


def test_a_seed_that_broke_off_no_longer_counts():
  long = [{"step": s, "x": 1.0} for s in range(1, 101)]
  short = [{"step": s, "x": 9.0} for s in range(1, 51)]
  steps, _, mean, *_ = curve([long, long, short], "x", 200)
  at = dict(zip(steps, mean))
  assert at[50] == pytest.approx(11 / 3, rel=1e-4)
  assert at[60] == at[100] == 1.0


def test_torn_lines_are_passed_over(tmp_path, capsys):
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(b'{"step": 1}\n{"step": "2"}\n\xff\n{"step": 3}\n{"st')
  assert read(path) == [{"step": 1}, {"step": 3}]
  told = f"{path}: 2 lines, the first of them 2, are damaged and passed over\n"
  assert capsys.readouterr().err == told
  assert read(tmp_path / "none") == []


STRANGE = [b'"x"', b"true", b"[1]", b"{}", b"null", b"NaN", b"1" + b"0" * 400]


@pytest.mark.parametrize("value", STRANGE)
def test_a_value_that_is_no_number_is_no_point(tmp_path, capsys, value):
  path = tmp_path / "metrics.jsonl"
  lines = b'{"step": 1, "x": 2.5}\n{"step": 2, "x": %b}\n{"step": 3, "x": 3.5}\n'
  path.write_bytes(lines % value)
  assert curve([read(path)], "x", 200)[2] in ([2.5, 3.5], [2.5, None, 3.5])
  assert [found for _, found in Tail(path, "x").new()] == [2.5, 3.5]


def test_a_run_has_a_page(tmp_path):
  config = {"experiment": "charlm", "flags": {"cell": EVIL, "hidden": ["32", "64"]}}
  (tmp_path / "config.json").write_text(json.dumps(config))
  (tmp_path / "sample.txt").write_text(EVIL)
  (tmp_path / "curves.png").write_bytes(b"\x89PNG")
  (tmp_path / "forecasts.png").write_bytes(b"\x89PNG")
  summary = {"val/bits_per_char": 1.2345, "parameters": 1234567, "finished": True}
  path = run_page(
    tmp_path,
    command=f"python {EVIL}",
    summary=summary,
    measures=(BITS_PER_CHAR, PERPLEXITY),
    shows=("sample.txt", "forecasts.png", "missing.txt"),
  )
  html = path.read_text("utf-8")
  assert path.name == "report.html"
  assert [2, 2, 0] == [html.count(t) for t in ("<img", "data:image/png", "<script")]
  for text in (
    "1.234<",
    "1,234,567<",
    "32,64<",
    "experiments.charlm<",
    "<h2>Sample<",
    "<h2>Forecasts<",
  ):
    assert text in html


def test_a_page_names_the_measures_it_is_given(tmp_path):
  summary = {
    f"{split}/{name}": number
    for split, tenth in (("val", 0.1), ("best/val", 0.2), ("train", 0.3))
    for number, name in enumerate(("bits_per_char", "loss", "score", "other"), 1)
    for number in [number + tenth]
  }
  score = Measure("score", "<b>", "higher", len, form=".1e")
  measures = (BITS_PER_CHAR, NATS, score)
  made = run_page(tmp_path, command="c", summary=summary, measures=measures)
  figures = re.findall(r"<b>(.*?)</b><span>(.*?)</span>", made.read_text("utf-8"))
  assert figures == [
    ("1.100", "bits per character, validation"),
    ("1.200", "at its best"),
    ("1.300", "training bits per character"),
    ("2.100", "loss, nats, validation"),
    ("2.300", "training loss, nats"),
    ("3.1e+00", "score, &lt;b&gt;, validation"),
    ("3.3e+00", "training score, &lt;b&gt;"),
  ]
  plain = run_page(tmp_path, command="c", summary=summary).read_text("utf-8")
  assert not re.findall(r"</b><span>", plain)


@pytest.mark.parametrize(
  "config",
  [
    "[1]",
    "{",
    "null",
    '{"flags": 3, "versions": [1]}',
    '{"experiment": {}}',
    "[" * 9999,
  ],
)
def test_a_run_has_a_page_whatever_its_configuration(tmp_path, config):
  (tmp_path / "config.json").write_text(config)
  html = run_page(tmp_path, command="c", summary={"steps": 7}).read_text("utf-8")
  assert "7<" in html and "Versions" not in html


def test_a_run_with_nothing_has_a_page(tmp_path):
  html = run_page(tmp_path, command="c", summary={}).read_text("utf-8")
  assert "not finished" in html
  assert "<img" not in html
