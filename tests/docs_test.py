"""The documents: what they link to is there, and the code of the how-to pages runs."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "WORKSPACE.md", *(ROOT / "docs").rglob("*.md")]
DOCUMENTS = [d for d in DOCUMENTS if not {"_build", "reference"} & {*d.parts}]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
TREE = re.compile(r"```\{toctree\}\n(.*?)```", re.DOTALL)
PAGES = {
  path.stem: code
  for path in [ROOT / "docs" / "start.md", *(ROOT / "docs" / "howto").glob("*.md")]
  if (code := "\n".join(CODE.findall(path.read_text("utf-8"))))
}


def slug(heading: str) -> str:
  """The anchor of a heading."""
  return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_linked_is_there(path: Path) -> None:
  for link in LINK.findall(path.read_text("utf-8")):
    name, _, anchor = link.partition("#")
    if name.startswith(("http:", "https:")) or name == "../reference/index.md":
      continue  # the reference is made of the docstrings
    if name == "reference/index.md":
      continue
    target = (path.parent / name) if name else path
    assert target.exists(), f"{path.name} links to {link}"
    if anchor:
      headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
      assert anchor in map(slug, headings), f"{path.name} links to {link}"


def test_every_document_is_in_a_table_of_contents() -> None:
  docs = ROOT / "docs"
  found = set()
  for path in docs.rglob("*.md"):
    for tree in TREE.findall(path.read_text("utf-8")):
      for line in tree.splitlines():
        if line and not line.startswith(":") and "reference" not in line:
          found |= {*path.parent.glob(f"{line}.md")}
  others = {d for d in DOCUMENTS if d.is_relative_to(docs)} - found
  assert others == {docs / "index.md"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_code_of_a_page_runs(name: str, tmp_path: Path) -> None:
  code = PAGES[name]
  if "RUN" in code:
    flags = ["--steps=4", "--hidden=8", "--layers=1", f"--workdir={tmp_path / 'run'}"]
    command = [sys.executable, "-m", "experiments.charlm", *flags]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    code = code.replace('"RUN"', repr(str(tmp_path / "run")))
  # As its reader runs it: not with the strictness of other tests.
  with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
    exec(code, {})
