"""The package as pip installs it: pages, sweeps, recipes and page files are in it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("src", "experiments", "launch", "pyproject.toml", "setup.cfg", "README.md")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
  """A folder with what a wheel of the package installs."""
  source = tmp_path_factory.mktemp("source")
  skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
  for part in (*PARTS, "LICENSE"):
    if (ROOT / part).is_dir():
      shutil.copytree(ROOT / part, source / part, ignore=skipped)
    else:
      shutil.copy(ROOT / part, source / part)
  command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps"]
  subprocess.run(
    [*command, "--no-build-isolation", "-w", str(source), str(source)], check=True
  )
  (wheel,) = source.glob("*.whl")
  folder = tmp_path_factory.mktemp("installed")
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(folder)
  return folder


def call(installed: Path, place: Path, *arguments: str) -> str:
  """What the command `unroll` prints, called from another folder."""
  environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
  start = "import sys; from experiments.__main__ import main; sys.exit(main())"
  done = subprocess.run(
    [sys.executable, "-c", start, *arguments],
    cwd=place,
    env=environment,
    text=True,
    capture_output=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.slow
def test_what_is_installed_trains_and_sweeps(installed: Path, tmp_path: Path) -> None:
  there = {p.relative_to(installed) for p in installed.rglob("*") if p.is_file()}
  for top, folder in (("src", "src"), ("experiments", "."), ("launch", ".")):
    for path in (ROOT / top).rglob("*"):
      if path.is_file() and path.suffix != ".pyc" and ".egg-info" not in str(path):
        assert path.relative_to(ROOT / folder) in there
  assert "\nmemory  " in call(installed, tmp_path)
  assert call(installed, tmp_path, "--version").startswith("unroll 0.")
  small = ["--steps=2", "--hidden=4", "--layers=1"]
  script = call(installed, tmp_path, "completion", "bash")
  assert script == call(installed, tmp_path, "completion", "zsh").partition("\n")[2]
  pages = call(installed, tmp_path, "completion").split()
  assert {"charlm", "memory", "report", "sweep", "sweep_report"} <= {*pages}
  flags = call(installed, tmp_path, "completion", "memory", "--hidden=3").split()
  assert {"--hidden=", "--json", "--nojson", "--task="} <= {*flags}
  asked = "COMP_WORDS=(unroll memory --hid); COMP_CWORD=2; _unroll; echo $COMPREPLY"
  bash = ["bash", "-c", f"unroll() {{ echo {' '.join(flags)}; }}; {script}{asked}"]
  assert subprocess.check_output(bash, text=True).strip() == "--hidden="
  recipe = "--flagfile=experiments/recipes/memory/copy_500.flags"
  call(installed, tmp_path, "memory", recipe, *small, "--length=9", "--workdir=run")
  assert (tmp_path / "run" / "config.json").is_file()
  sweep = ["sweep", "memory", *small, "--seeds=2", "--sweepdir=sweep", "--workers=1"]
  call(installed, tmp_path, *sweep)
  assert (tmp_path / "sweep" / "report.html").is_file()
