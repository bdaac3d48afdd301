"""Every page: what it says of itself, and what it hands to the trainer."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import run
from scipy.io import wavfile

from experiments.session.door import flag_of
from experiments.session.settings import Page, Settings
from unroll.settings import described

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "experiments").glob("[!_]*.py"))
# All in one process, as a notebook has them.
# Those that hand a task to the trainer: n-grams are counted, others read a run.
NO_TASK = (
  *("balancing", "convert", "copying", "cosines", "export", "gradlab", "ngram", "play"),
  *("report", "units"),
  "watch",
)
TRAINED = [name for name in NAMES if name not in NO_TASK]
PAGES = {name: importlib.import_module(f"experiments.{name}").PAGE for name in NAMES}
SMALL = {
  "charlm": {"corpus": "book.txt", "hidden": (4,), "batch": 2},
  "cloze": {"corpus": "book.txt", "hidden": (4,), "batch": 2, "truncation": "tbptt:8"},
  "classify": {"data": "lines.tsv", "hidden": (4,), "batch": 2},
  "forecast": {"series": "sine", "window": 12, "horizon": 3, "hidden": (4,)},
  "frames": {"size": 8, "context": 3, "horizon": 2, "channels": (2,), "batch": 2},
  "music": {"scores": "scores.json", "hidden": (4,), "batch": 2},
  "memory": {"task": "dyck", "length": 12, "hidden": (4,)},
  "translate": {"train": "pairs.tsv", "hidden": (4,), "layers": 1, "buckets": 1},
  "tag": {"train": "words.txt", "hidden": (4,), "layers": 1, "buckets": 1},
  "caption": {"scenes": 20, "channels": (2, 2), "hidden": (4,), "layers": 1},
  "transcribe": {"data": "said.csv", "hidden": (4,), "layers": 1, "buckets": 1},
}


def task_of(name, folder):
  (folder / "book.txt").write_text("the quick brown fox jumps over it. " * 60)
  lines = (f"{number} {'odd' if number % 2 else 'even'}" for number in range(60))
  text = "\n".join(line.replace(" ", "\t") for line in ("text label", *lines))
  (folder / "lines.tsv").write_text(text)
  pieces = [[[60, 64], [], [67]], [[60], [62]]]
  (folder / "scores.json").write_text(json.dumps({"train": pieces, "valid": pieces}))
  values = dict(SMALL[name])
  (folder / "pairs.tsv").write_text("".join(f"a {n}\t{n} b\n" for n in range(40)))
  wavfile.write(folder / "a.wav", 8000, np.arange(2000, dtype=np.int16))
  (folder / "said.csv").write_text("file,text\n" + "a.wav,x y\n" * 20)
  (folder / "words.txt").write_text("a\tX\n\n" * 20)
  for setting in ("corpus", "data", "scores", "train"):
    if setting in values:
      values[setting] = str(folder / values[setting])
  module = importlib.import_module(f"experiments.{name}")
  settings = Settings.of(PAGES[name], **values)
  return module._task(settings, None), settings


def test_pages_are_listed_without_jax():
  listed = [
    sys.executable,
    "-c",
    "import experiments.__main__, sys; print(*sys.modules)",
  ]
  assert "jax" not in subprocess.check_output(listed, cwd=ROOT, text=True).split()
  found = subprocess.check_output(
    [sys.executable, "-m", "experiments"], cwd=ROOT, text=True
  )
  for name in NAMES:
    about = importlib.import_module(f"experiments.{name}").__doc__.partition("\n")[0]
    assert f"{name:12} {about}\n" in found


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_called_by_its_file(name):
  page = PAGES[name]
  assert isinstance(page, Page) and page.name == name
  groups = [described(group) for group in page.groups]
  # No two groups have a setting of one name: a flag has one meaning.
  assert len(page.settings) == sum(map(len, groups))
  for group in page.groups:
    assert group.__doc__ and "\n" not in group.__doc__, group
  for setting in page.settings.values():
    assert setting.help and not setting.help.endswith("."), setting.name


@pytest.mark.parametrize("name", NAMES)
def test_help_shows_every_flag_under_its_heading(name, tmp_path):
  done = run(tmp_path, name, "--help")
  assert done.code == 0 and done.err == ""
  places = [done.out.index(f"\n{group.__doc__}:\n") for group in PAGES[name].groups]
  assert places == sorted(places)
  for setting in map(flag_of, PAGES[name].settings):
    assert f"  --{setting}" in done.out or f"  --[no]{setting}" in done.out


@pytest.mark.parametrize("name", TRAINED)
def test_a_sweep_goes_by_the_first_measure(name, tmp_path):
  """What a page says before there are data is what its task measures."""
  task, _ = task_of(name, tmp_path)
  first = task.measures[0]
  assert PAGES[name].objective == (first.name, first.better)
  assert {"val"} <= task.evaluations.keys()


def test_a_task_is_made_before_jax_looks_for_its_devices(tmp_path):
  """The trainer makes the cores devices only once it knows how wide the layers are."""
  script = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import pages_test
from pathlib import Path
from jax._src import xla_bridge
for name in pages_test.TRAINED:
  pages_test.task_of(name, Path({str(tmp_path)!r}))
  assert not xla_bridge.backends_are_initialized(), name
"""
  subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", TRAINED)
def test_another_value_is_other_settings(name):
  settings = Settings.of(PAGES[name])
  other = settings.replaced(seed=5)
  assert settings.values("run")["seed"] == 0 and other.values("run")["seed"] == 5
  assert other.given == {"seed": "--seed=5"} and settings.given == {}
  assert other.adopted({"batch": 3}).given == other.given


def test_a_run_without_a_folder_gets_a_new_one(tmp_path):
  """Wherever it is started, also beside files of the user."""
  flags = ["--series=sine", "--window=12", "--horizon=3", "--hidden=4", "--layers=1"]
  (tmp_path / "notes.txt").touch()
  done = run(tmp_path, "forecast", *flags, "--steps=2", "--json")
  assert done.code == 0, done.err
  assert (tmp_path / done.json["workdir"] / "config.json").is_file()
  assert done.json["workdir"].startswith("runs/forecast/")


def test_versions_are_told(tmp_path):
  done = run(tmp_path, "memory", "--version")
  assert done.code == 0
  assert done.out.startswith("unroll 0.1.0, jax ") and "Python 3." in done.out
