"""Every flag that names a file or a folder takes `~` for a home."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from unroll import files
from unroll.types import BadInput

ROOT = Path(__file__).parents[1]
RUN = {"arms", "init_from", "workdir"}
NAMED = {
  "experiments.balancing": {"picture"},
  "experiments.caption": {*RUN, "captions", "data", "input"},
  "experiments.charlm": {*RUN, "corpus", "input", "online", "tokenizer"},
  "experiments.classify": {*RUN, "data", "input", "test", "tokenizer", "val"},
  "experiments.cloze": {*RUN, "corpus", "tokenizer"},
  "experiments.convert": {"from", "to", "vocabulary", "corpus", "tokenizer", "workdir"},
  "experiments.export": {"to", "workdir"},
  "experiments.forecast": {*RUN, "csv", "online"},
  "experiments.frames": {*RUN, "data", "input", "output"},
  "experiments.gradlab": {"corpus", "workdir"},
  "experiments.memory": RUN,
  "experiments.music": {*RUN, "output", "primer", "scores"},
  "experiments.play": {"export", "workdir"},
  "experiments.tag": {*RUN, "input", "test", "train", "val"},
  "experiments.translate": {
    *RUN,
    *("input", "test", "test_target", "train", "train_target", "val", "val_target"),
  },
  "experiments.transcribe": {*RUN, "data", "input", "test", "val"},
  "experiments.units": {"corpus", "input", "workdir"},
  "experiments.report": {"workdir"},
  "experiments.watch": {"workdir"},
  "experiments.ngram": {"arpa", "corpus", "input", "tokenizer", "workdir"},
  "bench.__main__": {"out", "plot"},
  "bench.exported": {"workdir"},
  "bench.recipe": {"recipe"},
  "bench.ngram": {"corpus", "tokenizer"},
  "launch.report": {"out"},
  "launch.sweep": {"storage", "sweepdir"},
  "launch.train": {"workdir"},
}
# What each text flag of modules makes of ~/x, and what its help says: a line each, from
# a process of its own, forked where what all import is there.
TELL = """
import importlib, json, os, sys
import flax.linen, grain, jax, matplotlib.pyplot, optax, orbax.checkpoint
from absl import flags

def tell(name):
  module = importlib.import_module(name)
  if hasattr(module, "PAGE"):
    from experiments.session.door import prepare
    prepare(module.PAGE)
  rooms = flags.FLAGS.flags_by_module_dict().items()
  found = [
    (flag.name, flag.parser.parse("~/x"), flag.help)
    for room, some in rooms
    if room.startswith(("bench", "experiments", "launch", "unroll"))
    for flag in some if flag.parser.flag_type() in ("string", "str")
    and flag.name != "checkpoint" and not getattr(flag.parser, "enum_values", None)
  ]
  print(json.dumps(found), flush=True)

for name in sys.argv[1:]:
  child = os.fork()
  if not child:
    tell(name)
    os._exit(0)
  assert os.waitpid(child, 0)[1] == 0
"""


def told(*arguments):
  environment = {
    **os.environ,
    **{"HOME": "/home/me", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
  }
  done = subprocess.run(
    [sys.executable, "-W", "ignore", "-c", *arguments],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout


@pytest.fixture(scope="module")
def flags_of():
  """The flags of every module."""
  lines = told(TELL, *NAMED).splitlines()
  return dict(zip(NAMED, map(json.loads, lines), strict=True))


@pytest.mark.parametrize("module", NAMED)
def test_a_home_in_every_flag_that_names_a_file(module, flags_of):
  flags = flags_of[module]
  assert {name for name, found, _ in flags if found == "/home/me/x"} == NAMED[module]
  for name, found, text in flags:
    if re.search(r"\b(files?|folders?|page|PNG)\b", text):
      assert found == "/home/me/x", name


@pytest.mark.parametrize(
  "given, expected",
  [
    ("sqlite:///~/x.db", "sqlite:////home/me/x.db"),
    ("sqlite:///x.db", "sqlite:///x.db"),
    ("~/x.journal", "/home/me/x.journal"),
    ("postgresql+psycopg://~/x", "postgresql+psycopg://~/x"),
  ],
)
def test_a_storage(given, expected):
  code = (
    "import sys, launch.sweep as s; "
    "print(s.FLAGS['storage'].parser.parse(sys.argv[1]), end='')"
  )
  assert told(code, given) == expected


def test_paths(monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  for path in ("", "-", "x", "./~x", "a/~/b", "/~"):
    assert files.expanded(path) == path
  assert files.expanded("~") == "/home/me" and files.expanded("~/a") == "/home/me/a"
  with pytest.raises(BadInput, match=r"no home ~nobody-here: write \./~nobody-here/a"):
    files.expanded("~nobody-here/a")
