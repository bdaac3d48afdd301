"""How `make docs` makes pages of these files and of the docstrings: Sphinx's settings.

The reference is written anew each time, into `docs/reference`: a page for every module
of the package, or for a package that says in `__all__` what is public.
"""

import collections
import importlib
import pkgutil
import re
from pathlib import Path

import unroll

project = "unroll"
html_title = "unroll"
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
default_role = "code"  # one backquote, as the docstrings have it
autodoc_member_order = "bysource"
html_show_copyright = False
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # signatures have them
# What a function returns is told in words, which are no types.
suppress_warnings = ["ref.python"]
autodoc_default_options = {"members": True}

REFERENCE = Path(__file__).parent / "reference"
# Outside of backquotes these are signs of reStructuredText, and none in docstrings.
CODE = re.compile(r"(`+[^`]*`+)")
SECTION = re.compile(r"(Args|Returns|Yields|Raises|Attributes):")
# An argument that is called by a letter, `units: H.`, is no first point of a list.
LETTER = re.compile(r"(?<=: )([A-Z])(?=\.$)")
SIGNS = re.compile(r"([|*\\])|(?<=\w)(_)(?!\w)")


def _modules():
  """The modules that have a page, with the first line of what each says of itself."""
  found, public = {}, set()
  for one in pkgutil.walk_packages(unroll.__path__, "unroll."):
    if any(one.name.startswith(f"{package}.") for package in public):
      continue
    module = importlib.import_module(one.name)
    if hasattr(module, "__all__"):
      public.add(one.name)
    found[one.name] = (module.__doc__ or "").partition("\n")[0]
  return found


def _write_reference(app):
  REFERENCE.mkdir(exist_ok=True)
  modules = _modules()
  lines = ["# Reference", "", "What is public, by module, from its docstrings.", ""]
  lines += ["| module | |", "|---|---|"]
  for name, about in modules.items():
    lines.append(f"| [`{name}`]({name}.rst) | {about} |".replace("| |", "| &nbsp; |"))
    title = [name, "=" * len(name), "", f".. automodule:: {name}", ""]
    (REFERENCE / f"{name}.rst").write_text("\n".join(title), "utf-8")
  lines += ["", "```{toctree}", ":hidden:", "", *modules, "```", ""]
  (REFERENCE / "index.md").write_text("\n".join(lines), "utf-8")


def _prose(app, what, name, obj, options, lines):
  """Escapes what is no markup; what is indented before the arguments is an equation."""
  made, inside = [], False
  sections = [n for n, line in enumerate(lines) if SECTION.fullmatch(line)]
  for number, line in enumerate(lines):
    deeper = line.startswith("  ") and number < min(sections, default=len(lines))
    if deeper and not inside:
      made += ["", "::", ""]
    elif inside and line and not deeper:
      made.append("")
    inside = deeper or (inside and not line)
    parts = [line] if inside else CODE.split(line)
    if not inside:
      parts[::2] = [SIGNS.sub(r"\\\g<0>", part) for part in parts[::2]]
      parts[-1] = LETTER.sub(r"\1\\", parts[-1])
    made.append("".join(parts))
  lines[:] = made


def _skip(app, what, name, obj, skip, options):
  """Leaves out the fields of a NamedTuple, which its docstring describes."""
  return True if isinstance(obj, type(collections.namedtuple("A", "a").a)) else None


def setup(app):
  """Connects the above."""
  app.connect("builder-inited", _write_reference)
  app.connect("autodoc-process-docstring", _prose, priority=100)
  app.connect("autodoc-skip-member", _skip)
