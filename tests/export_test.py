"""The page that exports a run, and StableHLO that JAX alone can run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import run
from tables import D, H, close, parameters

from experiments import export
from experiments.session.settings import Settings
from unroll import cells, layers, load, scan
from unroll.exporting import exported, rounding
from unroll.exporting.onnxfile import LENGTHS, cases
from unroll.exporting.program import of_layer
from unroll.exporting.runs import of_run
from unroll.scan import whole
from unroll.types import BadInput

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "export.md").read_text("utf-8")
(ALONE,) = re.findall(
  r"```python\n(import json[^`]*?jax.export.*?)```", PAGE, re.DOTALL
)
(NODE,) = re.findall(r"```javascript\n(.*?)```", PAGE, re.DOTALL)


def trained(folder):
  """A run of charlm in `run`, of a few steps."""
  (folder / "book.txt").write_text("the quick brown fox jumps over it. " * 60)
  small = ["--corpus=book.txt", "--hidden=8", "--embedding=8", "--batch=4"]
  done = run(folder, "charlm", *small, "--steps=30", "--workdir=run")
  assert done.code == 0, done.err


def test_a_scan_is_kept_whole():
  cell = cells.lstm(D, H)
  params, xs = parameters(cell), jnp.zeros((5, 2, D))

  def loop(xs):
    return scan.unroll(cell, params, cell.carry(params, 2), xs)

  expected = jax.eval_shape(loop, xs)
  with whole.kept():
    program, shapes = jax.make_jaxpr(loop, return_shape=True)(xs)
  names = [eqn.primitive.name for eqn in program.eqns]
  assert names.count("unroll") == 1 and not {"while", "scan"} & set(names)
  assert [leaf.shape for leaf in jax.tree.leaves(shapes)] == [
    leaf.shape for leaf in jax.tree.leaves(expected)
  ]
  again = [eqn.primitive.name for eqn in jax.make_jaxpr(loop)(xs).eqns]
  assert "unroll" not in again


@pytest.mark.peers  # with flatbuffers, which JAX writes programs with
@pytest.mark.parametrize("kind", ["sequence", "step"])
def test_stablehlo_of_any_length_and_batch(kind):
  layer = layers.stacked(cells.gru(D, H), cells.min_lstm(H, H))
  program = of_layer(layer, parameters(layer), D, kind)
  called = jax.export.deserialize(bytearray(exported.exported(program))).call
  for given, expected in cases(program):
    states = {name: given[name] for name in program.states}
    lengths = [given[LENGTHS]] if kind == "sequence" else []
    outputs, after = called({"xs": given["xs"]}, *lengths, states)
    close({**outputs, **after}, expected, rtol=1e-5)


@pytest.mark.parametrize(
  "values, said",
  [
    ({"to": "a.onnx"}, "give `workdir`, the folder of a run"),
    ({"workdir": "x", "to": "a.txt"}, r"to=a\.txt: give a file that ends in \.onnx or"),
    ({"workdir": "x", "to": "a.jax"}, r"holds no config\.json"),
    (
      {"workdir": "x", "to": "a.jax", "quantise": "int8"},
      r"quantise=int8 is of a file that ends in \.onnx",
    ),
  ],
)
def test_what_the_page_refuses(values, said, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(BadInput, match=said):
    export.main(Settings.of(export.PAGE, **values))
  assert not list(tmp_path.iterdir())


def test_8_bits_need_onnxruntime(monkeypatch):
  monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
  with pytest.raises(BadInput, match="8 bits need the package onnxruntime"):
    rounding.rounded(b"")


@pytest.mark.peers
def test_jax_alone_runs_a_run(tmp_path):
  """The program of `docs/export.md`, in a process that finds no unroll."""
  trained(tmp_path)
  done = run(tmp_path, "export", "--workdir=run", "--to=model.jax", "--json")
  assert done.code == 0, done.err
  assert done.json["bytes"] == (tmp_path / "model.jax").stat().st_size
  (tmp_path / "alone.py").write_text(
    f"{ALONE}\nimport importlib.util\nassert not importlib.util.find_spec('unroll')\n"
  )
  environment = {**os.environ, "PYTHONPATH": "", "JAX_PLATFORMS": "cpu"}
  found = subprocess.run(
    [sys.executable, "-P", "alone.py", "model.jax"],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
  )
  if "AssertionError" in found.stderr:
    pytest.skip("unroll is installed beside this Python")
  assert found.returncode == 0, found.stderr
  loaded = load(tmp_path / "run")
  tokens = loaded.vocabulary.encode("the ")
  program = of_run(loaded)
  states = {n: state.initial[None] for n, state in program.states.items()}
  valid = np.ones((len(tokens), 1), bool)
  outputs, _ = program.run({"tokens": tokens[:, None]}, valid, states)
  best = loaded.vocabulary.tokens[int(np.argmax(outputs["logits"][-1, 0]))]
  assert found.stdout == f"{best!r}\n"
  told = json.loads((tmp_path / "model.jax.json").read_text())
  assert [one["input"] for one in told["states"]] == list(program.states)


@pytest.mark.peers
def test_node_runs_a_run(tmp_path):
  """The program of `docs/export.md`, where Node finds onnxruntime-node."""
  found = shutil.which("node")
  looks = "require('onnxruntime-node')"
  if not found or subprocess.run([found, "-e", looks], capture_output=True).returncode:
    pytest.skip("Node finds no onnxruntime-node: set NODE_PATH")
  trained(tmp_path)
  flags = ["--workdir=run", "--to=step.onnx", "--program=step", "--json"]
  done = run(tmp_path, "export", *flags)
  assert done.code == 0 and done.json["difference"] < 1e-5, done.err
  (tmp_path / "read.js").write_text(NODE)
  command = [found, "read.js", "step.onnx", "the ", "20"]
  said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
  assert said.returncode == 0, said.stderr
  loaded = load(tmp_path / "run")
  carry, text = loaded.initial_carry(loaded.params, 1), "the "
  for place in range(20):
    token = loaded.vocabulary.encode(text[place])
    carry, logits = loaded.step(loaded.params, carry, token)
    if place + 1 == len(text) < 20:
      text += loaded.vocabulary.tokens[int(np.argmax(logits[0]))]
  assert said.stdout == text + "\n"
