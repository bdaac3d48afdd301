"""Programs in ONNX, run by onnxruntime and OpenVINO: the numbers are ours.

Each is run with two lengths and two batch sizes, from a state that it has reached, with
sequences of many lengths and one of length 0.
"""

import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from serving_test import (
  BOTH,
  FLAGS,
  LAYERS,
  PAIRS,
  SCALER,
  SHAPE,
  WORDS,
  drawn,
  files,
  model,
  opened,
)
from tables import D, H, parameters

from bench.runtimes import RUNTIMES
from experiments import export
from experiments.session.settings import Settings
from unroll import cells, compose, layers, loading
from unroll.cells import CELLS
from unroll.compose import Wiring
from unroll.data import pairs
from unroll.data.lexicon import Lexicon
from unroll.data.vocabulary import VOCABULARY
from unroll.exporting import exported, onnxfile, rounding
from unroll.exporting.program import following, of_layer
from unroll.exporting.runs import kinds, of_run
from unroll.models import saved
from unroll.regularizers import zoneout
from unroll.types import BadInput

# OpenVINO starts a process of its own.
QUIET = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
PEERS = ("onnxruntime", "openvino")
pytestmark = [pytest.mark.peers, QUIET]
OPERATOR = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}


def agree(program, atol=1e-4):
  """Compares both runtimes with our own program."""
  written = onnxfile.onnx_file(program)
  runs = {name: RUNTIMES[name](written.data) for name in PEERS}
  for given, expected in onnxfile.cases(program):
    for runtime, run in runs.items():
      found = run(given)
      for name, own in expected.items():
        said = f"{name} in {runtime}"
        assert found[name].shape == own.shape, said
        np.testing.assert_allclose(found[name], own, atol=atol, err_msg=said)
  return written


@pytest.mark.parametrize("kind", ["sequence", "step"])
@pytest.mark.parametrize("name", CELLS)
def test_every_cell(name, kind):
  cell = CELLS[name](D, H)
  written = agree(of_layer(cell, parameters(cell), D, kind))
  whole = OPERATOR.get(name, "Scan")
  assert written.scans == ["step" if kind == "step" else whole]


STACKS = {
  "deep": layers.stacked(CELLS["lstm"](D, H), CELLS["gru"](H, 5)),
  "skip": layers.stacked(
    CELLS["rnn"](D, H), CELLS["gru"](D + H, H), wiring=Wiring(skip=True, dropout=0.5)
  ),
  "residual": layers.stacked(
    CELLS["gru"](D, D), CELLS["cifg"](D, D), wiring=Wiring(residual=True)
  ),
  "learned_carry": layers.stacked(compose.learned_carry(CELLS["lstm"](D, H))),
  "heads": layers.stacked(compose.heads([CELLS["lstm"](D, 2), CELLS["lstm"](D, 2)])),
  "zoneout": layers.stacked(zoneout(CELLS["lstm"](D, H), 0.2)),
  "bidirectional": layers.bidirectional(CELLS["lstm"](D, H), CELLS["gru"](D, 3)),
  "both_scans": layers.bidirectional(CELLS["mgu"](D, H), CELLS["cifg"](D, 3)),
}
SCANS = {
  "deep": ["LSTM", "GRU"],
  "skip": ["RNN", "GRU"],
  "residual": ["GRU", "Scan"],
  "learned_carry": ["LSTM"],
  "heads": ["Scan"],
  "zoneout": ["Scan"],
  "bidirectional": ["LSTM", "GRU"],
  "both_scans": ["Scan", "Scan"],
}


@pytest.mark.parametrize("name", STACKS)
def test_layers(name):
  layer = STACKS[name]
  written = agree(of_layer(layer, parameters(layer), D))
  assert written.scans == SCANS[name]


def loaded(kind):
  """A model as of a run, with parameters that nobody trained."""
  _, params, built = model(kind)
  name = {"series": "classify"}.get(kind, kind)
  return opened(name, FLAGS.get(kind, LAYERS), built, params)


TAGGERS = ({}, {"output": "softmax", "cell": "lstm", "char_hidden": 0})
KINDS = (
  "language",
  "cloze",
  "music",
  "classify",
  "series",
  "memory",
  "transcribe",
  "frames",
)


@pytest.mark.parametrize("kind", KINDS)
def test_models(kind):
  written = agree(of_run(loaded(kind)))
  assert set(written.scans) == {"Scan" if kind == "frames" else "GRU"}


@pytest.mark.parametrize("changed", TAGGERS)
def test_taggers(changed):
  flags = {**LAYERS, **changed}
  built = saved.built("tag", flags, files("tag"))
  params = drawn(built)
  one = opened("tag", flags, built, params)
  program = of_run(one)
  written = agree(program)
  assert written.scans == [{"gru": "GRU", "lstm": "LSTM"}[flags["cell"]]] * (
    4 if built.module.spelling else 2
  ) + ["Scan"] * (2 * built.module.crf)
  # As `predict` says it.
  lexicon = Lexicon.from_json(built.files[saved.LEXICON])
  words, characters = lexicon.read(WORDS[2])
  given = {"words": words[:, None], "characters": characters[:, None]}
  given = {name: given[name] for name in program.inputs}
  given[onnxfile.LENGTHS] = np.array([len(words)], np.int32)
  found = RUNTIMES["onnxruntime"](written.data)(given)["labels"][:, 0]
  assert [lexicon.labels[n] for n in found] == one.predict(params, [WORDS[2]])[0]


TRANSFORMER = {
  **{"model": "transformer", "blocks": 1, "model_width": 8, "attention_heads": 2},
  **{"dtype": "float32", "embedding": 8, "tie_embeddings": False, "context": 4},
}


@pytest.mark.parametrize(
  "kind, half",
  [("language", "sequence"), ("cloze", "sequence"), ("translate", "step")],
)
def test_transformers(kind, half):
  flags = {**TRANSFORMER, **(BOTH if kind == "cloze" else {})}
  built = saved.built(kind, flags, files(kind))
  params = drawn(built)
  one = opened(kind, flags, built, params)
  program = of_run(one, half)
  agree(program)
  if half == "step":
    assert str(program.states["state.keys.0"].shape.shape) == "(b, 2, p, 4)"
    return
  # The run's own cache is a ring, and its own tokens are hidden in a loop.
  tokens = np.arange(9, dtype=np.int32)[:, None] % 5
  states = {name: state.initial[None] for name, state in program.states.items()}
  run, found = jax.jit(program.run), []
  for part in (tokens[:6], tokens[6:]) if states else (tokens,):
    out, after = run({"tokens": part}, np.ones(part.shape, bool), states)
    states = {name: after[following(name)] for name in states}
    found.append(out["logits"])
  carry = one.initial_carry(params, 1)
  expected = jax.jit(one.apply)(params, carry, tokens)[1]
  np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)


def test_weights_of_8_bits():
  flags = {**FLAGS["language"], "cell": "lstm", "hidden": (64,)}
  built = saved.built("language", flags, files("language"))
  one = opened("language", flags, built, drawn(built))
  tokens = np.random.default_rng(2).integers(
    0, len(built.vocabulary), (30, 2), np.int32
  )
  for kind in kinds(one):
    program = of_run(one, kind)
    large = onnxfile.onnx_file(program, rounded=True).data
    assert onnxfile.difference(large, program) < 1e-5
    small = rounding.rounded(large)
    assert len(small) < 0.45 * len(large)
    # Rows of many lengths too: with what holds a state they would be off by 0.09.
    assert 0 < rounding.largest(small, program) < 0.06
    before, after = (rounding.nats(data, program, tokens) for data in (large, small))
    carry = one.initial_carry(one.params, 2)
    logs = jax.nn.log_softmax(one.apply(one.params, carry, tokens[:-1])[1])
    own = -np.take_along_axis(np.asarray(logs), tokens[1:, :, None], axis=2).mean()
    assert abs(before - own) < 1e-5 and 0 < abs(after - own) < 0.05


def test_stablehlo_of_a_decoder():
  program = of_run(loaded("translate"), "step")
  call = jax.export.deserialize(bytearray(exported.exported(program))).call
  for given, expected in onnxfile.cases(program):
    inputs = {name: given[name] for name in program.inputs}
    found, after = call(inputs, {name: given[name] for name in program.states})
    for name, own in {**found, **after}.items():
      np.testing.assert_allclose(own, expected[name], atol=1e-5, err_msg=name)


FORECASTS = {
  "recurrent": {},
  "linear": {"model": "linear"},
  "mlp": {"model": "mlp", "normalise": "instance"},
  "feedback": {"head": "feedback", "inputs": 0},
  "window_feedback": {"head": "feedback", "model": "linear", "inputs": 0},
  "shared": {"shared": True, "normalise": "instance"},
  "quantiles": {"loss": "quantile", "quantiles": [0.1, 0.5, 0.9]},
  "known": {"known": 3},
}


@pytest.mark.parametrize("name", FORECASTS)
def test_forecasters(name):
  flags = {**LAYERS, **FORECASTS[name]}
  shape = {**SHAPE, **{n: flags.pop(n) for n in SHAPE.keys() & flags.keys()}}
  columns = shape["targets"] + shape["inputs"]
  scaler = {part: values[:columns] for part, values in SCALER.items()}
  own = {saved.SERIES: json.dumps({"shape": shape, "scaler": scaler})}
  built = saved.built("forecast", flags, own)
  params = drawn(built)
  one = opened("forecast", flags, built, params)
  program = of_run(one)
  agree(program)
  # In the units of the columns, as `predict` has them.
  given, expected = next(onnxfile.cases(program))
  found = one.predict(params, given["past"], given.get("known"))
  np.testing.assert_allclose(expected["forecast"], found, rtol=1e-4, atol=1e-4)


# Of a run's kind: settings, and the half that is tried.
HALVES = {
  "translate": ({"cell": "lstm"}, "encoder"),
  "copies": ({"coverage": True, "layers": 2}, "step"),
  "last": ({"attention": "last", "bidirectional": False}, "step"),
  "caption": ({}, "encoder"),
}


@pytest.mark.parametrize("name", HALVES)
def test_halves(name):
  changed, half = HALVES[name]
  kind = "caption" if name == "caption" else "translate"
  own = files(kind)
  if name == "copies":
    own = pairs.Reader.build(PAIRS, "whitespace", copy=True).files()
  flags = {**LAYERS, **FLAGS.get(kind, {}), **changed}
  built = saved.built(kind, flags, own)
  one = opened(kind, flags, built, drawn(built))
  assert kinds(one) == ("encoder", "step")
  encoder, step = (of_run(one, kind) for kind in kinds(one))
  agree({"encoder": encoder, "step": step}[half])
  made = jax.eval_shape(encoder.run, encoder.inputs, encoder.valid, {})[0]
  assert {"token", *made} == {*step.inputs, *step.states} - {"copies"}
  with pytest.raises(BadInput, match="export program=encoder and program=step"):
    of_run(one)


def test_the_page_translates_as_we_do(tmp_path, monkeypatch, capsys):
  """The program of `docs/export.md`."""
  page = (Path(__file__).parents[1] / "docs" / "export.md").read_text("utf-8")
  (program,) = re.findall(r"```python\n(import[^`]*def opened.*?)```", page, re.DOTALL)
  one, text = loaded("translate"), "the dog saw a zebra"
  monkeypatch.setattr(loading, "load", lambda *_, **__: one)
  whole = str(tmp_path / "model.onnx")
  export.main(Settings.of(export.PAGE, workdir="run", to=whole))
  capsys.readouterr()
  given = [str(tmp_path / f"model.{kind}.onnx") for kind in kinds(one)]
  assert {path.name for path in tmp_path.iterdir()} == {
    f"model.{kind}.onnx{end}" for kind in kinds(one) for end in ("", ".json")
  }
  monkeypatch.setattr(sys, "argv", ["", *given, text])
  exec(compile(program, "export.md", "exec"), {})
  ((expected,),) = one.generate(one.params, [text])
  assert capsys.readouterr().out == expected.text + "\n" and len(expected.tokens) > 3


@pytest.mark.parametrize(
  "cell",
  [
    cells.vanilla(D, H, activation=jax.nn.relu),
    cells.vanilla(D, H, activation=jax.nn.sigmoid),
    cells.gru_reset_before(D, H),
    cells.lstm_peephole(D, H),
  ],
)
def test_what_is_nearly_an_operator_is_none(cell):
  written = onnxfile.onnx_file(of_layer(cell, parameters(cell), D))
  assert written.scans == ["Scan"]


@pytest.mark.parametrize("runtime", PEERS)
@pytest.mark.parametrize("name", ["lstm", "mgu"])
def test_lengths_beyond_a_batch(name, runtime):
  cell = CELLS[name](D, H)
  program = of_layer(cell, parameters(cell), D)
  run = RUNTIMES[runtime](onnxfile.onnx_file(program).data)
  *_, (given, _) = onnxfile.cases(program)
  most = np.array([7, 7, 0], np.int32)
  expected = run({**given, onnxfile.LENGTHS: most})
  found = run({**given, onnxfile.LENGTHS: np.array([9, 7, -1], np.int32)})
  for name, own in expected.items():
    np.testing.assert_array_equal(found[name], own)


def test_a_file_tells_how_states_start():
  import onnx

  cell = compose.learned_carry(CELLS["lstm"](D, H))
  params = parameters(cell)
  data = onnxfile.onnx_file(of_layer(cell, params, D)).data
  told = {p.key: p.value for p in onnx.load_from_string(data).metadata_props}
  states = json.loads(told["states"])
  assert [one["input"] for one in states] == ["state.c", "state.h"]
  assert [one["output"] for one in states] == ["next.c", "next.h"]
  np.testing.assert_allclose(states[0]["initial"], params.carry.c, rtol=1e-6)


def test_a_file_has_the_vocabulary_of_its_run():
  import onnx

  run = loaded("language")
  data = onnxfile.onnx_file(of_run(run)).data
  told = {p.key: p.value for p in onnx.load_from_string(data).metadata_props}
  assert told["vocabulary"] == run.files[VOCABULARY]
  assert told["model"] == "language" and told["program"] == "sequence"


def test_a_file_that_computes_something_else_is_refused(monkeypatch):
  program = of_run(loaded("language"))
  data = onnxfile.onnx_file(program).data
  assert onnxfile.difference(data, program) < 1e-5
  monkeypatch.setattr(onnxfile, "NEAR", -1.0)
  with pytest.raises(BadInput, match=r"onnxruntime .* computes logits otherwise"):
    onnxfile.difference(data, program)


def test_a_step_that_needs_its_batch_size():
  """It multiplies one row, B times; of a body OpenVINO knows no size from outside."""
  cell = CELLS["rnn"](D, H)

  def step(params, carry, z):
    carry, y = cell.step(params, carry, z)
    return carry, y + jnp.broadcast_to(params.b, y.shape) @ params.w_h

  own = cell._replace(step=step, derivative=None)
  agree(of_layer(own, parameters(cell), D))


def test_what_has_no_export_is_named():
  cell = CELLS["rnn"](D, H)
  special = cell._replace(step=lambda p, c, z: (c, jax.lax.igamma(z, z)))
  with pytest.raises(BadInput, match="operation igamma of this model has no export"):
    onnxfile.onnx_file(of_layer(special, parameters(cell), D))
  sorting = cell._replace(step=lambda p, c, z: (c, jax.numpy.sort(z, axis=0)))
  with pytest.raises(BadInput, match="a sort of several arrays, or along T or B"):
    onnxfile.onnx_file(of_layer(sorting, parameters(cell), D))
