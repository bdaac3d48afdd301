"""The bench: what it counts, how it races, what it prints, how it refuses."""

import contextlib
import importlib
import json
import math
import os
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from commands import Command, run

from bench import (
  classify,
  lags,
  loss,
  memory,
  newton,
  rtrl,
  sentences,
  starts,
  table,
  timing,
  translate,
)
from bench.libraries import unroll as ours
from bench.race import Contestant, Row, race
from bench.shapes import Shape
from bench.suites import MODULES, SUITES
from unroll import remat
from unroll.types import BadInput

TINY = Shape(2, 3, 4, 5, "lstm")
BUILDS = [
  *(TINY._replace(cell=cell) for cell in ("rnn", "gru", "lstm")),
  TINY._replace(cell="gru", layers=2),
  TINY._replace(layers=2, bidirectional=True),
]


def test_statistics():
  assert timing.summary([[3.0, 1.0], [2.0, 7.0, 5.0]]) == (1.0, 3.0)
  assert math.isclose(timing.geometric_mean([0.5, 2.0, 8.0]), 2.0)
  assert math.isclose(memory.slope([1, 10, 100], [9, 5, 50 * math.sqrt(10)]), 1.5)


def test_a_round_is_some_calls_but_not_too_many():
  calls = []
  seconds = timing.repeated(timing.Timed(lambda: calls.append(0), units=4))
  assert len(seconds) == len(calls) == timing.MOST_CALLS
  slow = timing.Timed(lambda: time.sleep(0.3))
  assert len(timing.repeated(slow)) == timing.LEAST_CALLS


def test_the_fastest_way_is_taken():
  ways = {"slow": 0.02, "fast": 0.0, "middling": 0.01}
  chosen = timing.fastest(
    {name: timing.Timed(lambda s=s: time.sleep(s)) for name, s in ways.items()}
  )
  assert chosen.note == {"configuration": "fast"}


def test_work_is_counted_as_published():
  model = Shape(64, 64, 64, 512, "lstm", layers=2)
  assert round(model.flops(model.model_weights) / 64**2 / 1e6, 1) == 19.9
  layer = Shape(32, 64, 128, 512, "gru")
  assert layer.flops(layer.weights) == 3 * 2 * 64 * 32 * (128 + 512) * 3 * 512
  both = layer._replace(bidirectional=True, layers=2)
  assert both.weights == 2 * ((128 + 512) + (1024 + 512)) * 3 * 512


def check_gradients(gradients, shape):
  """They are those of every weight that is counted, and of the inputs."""
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(gradients)]
  # Both biases of a GRU are one [2, 3H] in Keras.
  matrices = [leaf for leaf in leaves if leaf.ndim == 2 and len(leaf) > 2]
  assert sum(leaf.size for leaf in matrices) == shape.weights
  (inputs,) = [leaf for leaf in leaves if leaf.ndim == 3]
  assert sorted(inputs.shape) == sorted((shape.steps, shape.batch, shape.inputs))
  for leaf in leaves:
    if leaf.ndim > 1:
      assert np.isfinite(leaf).all() and np.any(leaf)


@pytest.mark.parametrize("shape", BUILDS[::2], ids=lambda shape: shape.core)
def test_a_layer_gives_the_gradients_that_are_counted(shape):
  check_gradients(ours.layer(shape).call(), shape)


def test_half_precision_products_are_what_is_measured():
  half = TINY._replace(dtype="bfloat16")
  found, exact = (jax.tree.leaves(ours.layer(shape).call()) for shape in (half, TINY))
  check_gradients(found, half)
  for a, b in zip(found, exact, strict=True):
    assert a.dtype == np.float32 and not np.array_equal(a, b)
    np.testing.assert_allclose(a, b, atol=0.1 * np.abs(b).max())
  assert 2 * half.model_bytes == TINY.model_bytes == 4 * TINY.model_weights


def test_half_precision_products_of_the_output_layer_are_what_is_measured():
  def gradients(dtype):
    gradient, arguments = ours._output_layer(TINY._replace(dtype=dtype))
    return gradient(*arguments)[1]

  found, exact = gradients("bfloat16"), gradients("float32")
  for a, b in zip(found, exact, strict=True):
    assert a.dtype == np.float32 and not np.array_equal(a, b)
    np.testing.assert_allclose(a, b, atol=0.1 * np.abs(b).max())


@pytest.mark.slow
def test_a_batch_spread_over_devices_gives_the_same_gradients():
  script = """
import jax, json, sys
from bench.libraries import unroll
from bench.shapes import Shape
from unroll.devices import divide
assert divide(sys.argv[1], 4, 8) == jax.device_count() == int(sys.argv[1])
gradients = unroll.layer(Shape(4, 3, 4, 5, "lstm")).call()
assert gradients[1].sharding.num_devices == jax.device_count()
print(json.dumps([leaf.tolist() for leaf in jax.tree.leaves(gradients)]))
"""
  environment = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
  }
  one, two = (
    json.loads(
      subprocess.check_output([sys.executable, "-c", script, count], env=environment)
    )
    for count in ("1", "2")
  )
  for a, b in zip(one, two, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ("suite", "options"),
  [
    *((suite, {}) for suite in ("step", "forward", "generate", "compile", "classify")),
    ("memory", {"plan": "sqrt"}),
    *(("loss", {"part": part, "sliced": True}) for part in loss.PARTS),
  ],
)
@pytest.mark.slow
def test_our_part_of_a_suite_runs(suite, options):
  timed = getattr(ours, suite)(TINY, **options)
  assert timing.once(timed)[0] > 0 and timing.once(timed)[0] > 0


@pytest.mark.slow
def test_a_start_says_what_its_time_went_to():
  row = race(starts.contestants([])[1:], "start", TINY, 1, fresh=True)
  (found,) = row.results.values()
  assert found["tracing"] < 0.3 * found["median"] and found["the step"] > 0
  lines = starts.table([row]).splitlines()
  assert lines[2].startswith("| whole | ")
  parts = ["import of JAX", "import of the page", "tracing", "lowering", "the step"]
  assert all(any(line.startswith(f"| {part} |") for line in lines) for part in parts)


def measured(minimum, median):
  return {"minimum": minimum, "median": median}


def test_table():
  big, small = Shape(2, 10, 30, 70, "lstm"), TINY._replace(cell="rnn", layers=2)
  gigaflops = 1e-9 * big.flops(big.weights)
  rows = [
    Row(
      big,
      {
        "machine": measured(0.01, 0.02),
        "unroll": measured(0.02 * gigaflops, 1.0),
        "torch": measured(0.08 * gigaflops, 2.0),
        "keras": measured(0.01 * gigaflops, 2.0),
      },
    ),
    Row(
      small,
      {
        "machine": measured(0.02, 0.02),
        "unroll": measured(1.5, 2.0),
        "torch": measured(1.5, 123.456),
        "keras": {"error": "no"},
      },
    ),
  ]
  layer = SUITES["layer"]
  assert table.ceiling(layer, rows) == 100
  lines = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in table.table(layer, rows).splitlines()
  ]
  units = ["unroll, ms", "torch, ms", "keras, ms", "GF/s", "of the machine's"]
  assert lines[0] == [
    *("B, T, D, H", "cell", *units, "torch / unroll", "keras / unroll")
  ]
  assert lines[2][:2] == ["2, 10, 30, 70", "lstm"]
  assert lines[2][5:] == ["50.0", "50%", "4.00", "0.50"]
  assert lines[3][:5] == [
    *("2, 3, 4, 5", "rnn, 2 layers", "1,500 (2,000)", "1,500 (123,456)", "-")
  ]
  assert lines[3][-2:] == ["1.00", "-"]
  assert [line[-2:] for line in lines[4:]] == [["2.00", "0.50"], ["1.00", "0.50"]]


@pytest.mark.slow
def test_who_fails_does_not_stop_the_others():
  contestants = [
    Contestant("nobody", "nowhere"),
    Contestant("unroll", "unroll", devices=2),
    Contestant("odd", "unroll", {"nonsense": 1}),
  ]
  results = race(contestants, "layer", TINY, rounds=2).results
  assert results["nobody"]["error"].startswith("ModuleNotFoundError: No module named")
  assert "nonsense" in results["odd"]["error"]
  rounds = results["unroll"]["seconds"]
  assert len(rounds) == 2 and results["unroll"]["minimum"] == min(map(min, rounds))


def test_a_process_that_dies_is_reported(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "--xla_no_such_flag=1")
  results = race([Contestant("unroll", "unroll")], "layer", TINY, rounds=1).results
  assert "xla_no_such_flag" in results["unroll"]["error"]


@pytest.mark.slow
def test_the_command_prints_a_table_and_writes_what_it_measured(tmp_path):
  done = run(
    tmp_path,
    "bench",
    *("--grid=2x3x4x5x2", "--cells=rnn", "--rounds=2", "--devices=1"),
    "--out=bench.json",
  )
  assert done.code == 0, done.err
  assert "| 2, 3, 4, 5 | rnn, 2 layers |" in done.out
  assert "python -m bench --grid=2x3x4x5x2" in done.out
  report = json.loads((tmp_path / "bench.json").read_text())
  assert report["suite"] == "layer" and "jax" in report["versions"]
  assert [row["layers"] for row in report["rows"]] == [2]
  machine, unroll = (
    report["rows"][0]["results"][name] for name in ("machine", "unroll")
  )
  assert len(unroll["seconds"]) == 2 and unroll["resident_bytes"] > 2**20
  assert 0 < machine["minimum"] <= machine["median"]


def test_memory_is_shown_plan_by_plan(tmp_path):
  def result(seconds, needed):
    return {
      **{"seconds": [[seconds, 3 * seconds]], "minimum": seconds},
      **{"needed_bytes": needed, "resident_bytes": 2**30},
    }

  rows = [
    Row(
      TINY._replace(steps=steps),
      {
        "none": result(steps, steps * 2**20) if steps < 10**4 else {"error": "no"},
        "sqrt": result(1.25 * steps, steps**0.5 * 2**20),
        "recursive": result(2 * steps, 2**20),
      },
    )
    for steps in (100, 1000, 10000)
  ]
  lines = memory.table(rows).splitlines()[2:]
  expected = "| 1,000 | sqrt | 1,250 (2,500) | 1.25 | 31.7 MiB | 1.0 GiB |"
  assert len(lines) == 9 and lines[4] == expected
  assert lines[6] == "| 10,000 | none | - | - | - | - |"
  memory.plot(rows, tmp_path / "memory.png")
  assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_the_loss_is_shown_by_vocabulary():
  def result(seconds, needed):
    return {"seconds": [[seconds]], "minimum": seconds, "needed_bytes": needed}

  racing = loss.contestants(devices=2)
  assert [(each.options["sliced"], each.devices) for each in racing] == [
    *((False, 2), (True, 2)) * 2
  ]
  results = {
    each.name: result(0.4 / (n + 1), (4 - n) * 2**20) for n, each in enumerate(racing)
  }
  results["step, at once"] = {"error": "no memory"}
  lines = loss.table([Row(TINY._replace(vocabulary=1000), results)]).splitlines()
  assert lines[2:] == [
    "| 1,000 | output layer | 400 (400) | 200 (200) | 2.00 | 4.0 MiB | 3.0 MiB |",
    "| 1,000 | training step | - | 100 (100) | - | - | 1.0 MiB |",
  ]


@pytest.mark.parametrize("order", [sentences.shuffled, sentences.windowed])
def test_an_epoch_of_sentences_has_each_once(order):
  given = sentences.sentences(TINY._replace(batch=7, steps=19), "")
  rows = list(order(given, 7))
  assert sorted(np.concatenate(rows)) == list(range(sentences.BATCHES * 7))
  assert {len(each) for each in rows} == {7}
  lengths = np.array([len(tokens) for tokens in given.tokens])
  assert lengths.min() >= 1 and abs(lengths.mean() - 19) < 1
  padded = sum(7 * lengths[each].max() for each in rows) / lengths.sum()
  assert padded < 1.15 if order is sentences.windowed else padded > 1.5


def test_no_sentences_are_fetched(monkeypatch, tmp_path):
  monkeypatch.setenv("UNROLL_DATA", str(tmp_path))
  assert sentences.there() == ""
  (tmp_path / "sst2").mkdir()
  for part in ("train", "dev", "test"):
    (tmp_path / f"sst2/{part}.tsv").touch()
  assert sentences.there() == "sst2"


def test_classifiers_are_shown_library_by_library():
  racing = classify.contestants(2, ["torch", "keras"], False)
  assert [(each.library, each.devices, each.keeps) for each in racing] == [
    *(("unroll", 2, True), ("torch", 1, False), ("torch", 1, False)),
    ("keras", 1, False),
  ]
  assert racing[1].options != racing[2].options
  ours = {"minimum": 2.0, "median": 3.0, "first": 41.0, "configuration": "8 buckets"}
  results = {
    "unroll": {**ours, "padding": 0.0949},
    "torch, packed": {**ours, "minimum": 3.5, "configuration": "shuffled"},
    "keras": {"error": "no"},
  }
  assert classify.table([Row(TINY, results)]).splitlines()[2:] == [
    "| unroll | 2.00 (3.00) | 1.00 | 41.0 | 9.5% | 8 buckets |",
    "| torch, packed | 3.50 (3.00) | 1.75 | 41.0 | - | shuffled |",
    "| keras | - | - | - | - | - |",
  ]


REFUSED = {
  "--peers=jaxrnn": "--peers=jaxrnn: --suite=layer does not race it; choose of torch",
  "--suite=compile --peers=torch": "--suite=compile does not race it; drop it",
  "--cells=foo": "--cells=foo: choose of rnn, gru, lstm",
  "--suite=memory --cells=gru": "no such row of its own; give the shapes with --grid",
  "--grid=1x2": "--grid=1x2: give whole numbers from 1 up as BxTxDxH",
  "--grid=1x2x0x4": "--grid=1x2x0x4: give whole numbers",
  "--grid=1x2x3x4x5x6": "--grid=1x2x3x4x5x6: give whole numbers",
  "--devices=two": "--devices=two: choose auto or one of 1",
  "--suite=memory --devices=2": "--suite=memory runs on one of them; drop it",
  "--suite=classify --grid=1x2x3x4": "--suite=classify has one model",
  "--suite=loss --cells=gru": "the rows of --suite=loss differ in vocabulary",
  "--plot=a.png": "--plot is for --suite=memory",
  "--nokeep_memory": "--nokeep_memory is for the peers: name some with --peers",
  "--suite=memory --dtype=bfloat16": "--suite=memory measures unroll in float32 only",
  "--dtype=half": "--dtype",
  "--rounds=0": "--rounds=0",
  "--out=nowhere/bench.json": "No such file or directory (nowhere/bench.json)",
}


def test_what_is_wrong_is_said_in_a_sentence(tmp_path):
  commands = {argv: Command(tmp_path, "bench", *argv.split()) for argv in REFUSED}
  for argv, command in commands.items():
    done = command.wait()
    assert done.code == 2 and REFUSED[argv] in done.err, (argv, done.err)
    assert done.err.count("\n") == 1 and not done.out


@pytest.mark.parametrize("cell", ["lstm", "mgu", "indrnn"])
def test_a_plain_scan_does_the_same_work_as_ours(cell):
  shape = TINY._replace(cell=cell)
  ours, plain = (
    importlib.import_module(f"bench.libraries.{name}").cells(shape).call()
    for name in ("unroll", "scan")
  )
  for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_linear_recurrence_is_the_same_work_for_all():
  found = [
    importlib.import_module(f"bench.libraries.{name}").recurrence(TINY).call()
    for name in ("unroll", "scan", "associative")
  ]
  for other in found[1:]:
    np.testing.assert_allclose(found[0], other, rtol=1e-4, atol=1e-5)


@pytest.fixture
def lenient(monkeypatch):
  """Other libraries broadcast and cast as JAX lets them."""
  monkeypatch.setenv("KERAS_BACKEND", "jax")
  with contextlib.ExitStack() as stack:
    stack.enter_context(jax.numpy_rank_promotion("allow"))
    stack.enter_context(jax.numpy_dtype_promotion("standard"))
    yield


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", SUITES["layer"].peers)
def test_a_peer_does_the_same_work(name, lenient):
  pytest.importorskip(MODULES[name])
  peer = importlib.import_module(f"bench.libraries.{name}")
  for shape in BUILDS:
    check_gradients(peer.layer(shape).call(), shape)
    peer.forward(shape).call()


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["torch", "linen"])
def test_a_peer_multiplies_in_half_precision(name, lenient):
  pytest.importorskip(MODULES[name])
  peer = importlib.import_module(f"bench.libraries.{name}")
  shape = TINY._replace(dtype="bfloat16")
  gradients = peer.layer(shape).call()
  check_gradients(gradients, shape)
  for leaf in jax.tree.leaves(gradients):
    assert str(leaf.dtype).endswith("float32")


@pytest.mark.peers
@pytest.mark.parametrize(
  ("name", "suite"),
  [(name, suite) for suite in SUITES for name in SUITES[suite].peers],
)
def test_a_peer_is_raced(name, suite):
  pytest.importorskip(MODULES[name])
  racing = [Contestant(name, name)]
  if suite in translate.SUITES:
    racing = translate.contestants(1, [name], True)
  if suite == "start":
    racing = starts.contestants([name])[2:]
  results = race(racing, suite, TINY, rounds=1, fresh=SUITES[suite].fresh).results
  for each in racing:
    assert results[each.name].get("minimum", 0) > 0, results[each.name]


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("ways", [1, 2])
def test_sentences_end_alike_packed_and_padded(ways):
  torch = pytest.importorskip("torch")
  peer = importlib.import_module("bench.libraries.torch")
  shape = TINY._replace(bidirectional=ways == 2)
  given = sentences.sentences(shape, "")
  packed, padded = peer._Packed(shape, given), peer._Padded(shape, given)
  padded.embed.load_state_dict(packed.embed.state_dict())
  own = packed.core.state_dict()
  for core, end in zip(padded.cores, ["", "_reverse"]):
    core.load_state_dict({name: own[name + end] for name in core.state_dict()})
  texts = [torch.from_numpy(tokens).long() for tokens in given.tokens[:9]]
  assert len({len(text) for text in texts}) > 2
  found = [each(texts).detach().numpy() for each in (packed, padded)]
  assert found[0].shape == (9, ways * shape.hidden)
  np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


RECIPE = [
  *("--corpus=text.txt", "--normalize=letters", "--partition=random", "--stride=1"),
  *("--truncation=tbptt:8", "--eval_window=8", "--batch=64", "--hidden=16"),
  *("--embedding=0", "--optimizer=sgd", "--learning_rate=4", "--epochs=9"),
]


def learnt(folder, lines, *argv):
  """The recipe of some lines in PyTorch, in a folder with a text."""
  (folder / "text.txt").write_text("abcdefghij " * 60)
  (folder / "mine.flags").write_text("# a recipe\n" + "\n".join(lines) + "\n")
  return Command(folder, "bench.recipe", "--recipe=mine.flags", *argv).wait()


@pytest.mark.peers
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_recipe_is_learnt_in_torch(cell, tmp_path):
  lines = [*RECIPE, f"--cell={cell}"]
  done = learnt(tmp_path, lines, "--seeds=3,4", "--schedule=step:75,0.1")
  assert done.code == 0 and "error" not in done.err, done.err
  lines = [line.replace(",", "").split() for line in done.out.splitlines()]
  assert [line[:2] for line in lines] == [["seed", "3:"], ["seed", "4:"]]
  assert all(line[4:7] == ["after", "9", "epochs"] for line in lines)
  perplexities = [float(line[3]) for line in lines]
  assert len(set(perplexities)) == 2 and max(perplexities) < 8, done.out


@pytest.mark.peers
@pytest.mark.parametrize(
  ("lines", "argv", "words"),
  [
    (["--optimizer=adam"], [], "has --optimizer=adam: only sgd is written here"),
    (["--learned_carry"], [], "mine.flags: --learned_carry is not written here"),
    (["--dropout=0.5"], [], "mine.flags: --dropout=0.5 is not written here"),
    (["--cell=irnn"], [], "cell=irnn, hidden=16: PyTorch has layers of one width"),
    ([], ["--seeds=-1"], "--seeds=-1: give whole numbers from 0"),
  ],
)
def test_a_recipe_that_is_not_for_torch_is_refused(lines, argv, words, tmp_path):
  done = learnt(tmp_path, [*RECIPE, *lines], *argv)
  assert done.code == 2 and words in done.err and not done.out, done.err
  assert done.err.count("\n") == 1


def asked_for(**values):
  return newton.Measured(**{"lengths": (3,), **values})


@pytest.mark.slow
def test_iterations_and_times_of_newton_s_method_are_told():
  lines = list(newton._iterations(asked_for(cells=("rnn@0.5", "lstm")), 2))
  assert [line[0] for line in lines] == ["rnn@0.5", "lstm"]
  for _, counts in lines:
    assert all(1 <= int(count) <= 3 for count in counts.split(" / "))
  [line] = newton._times(asked_for(cells=("rnn",), hidden=(2,)), "rnn")
  assert line[:2] == ["2", "3"] and len(line) == 2 + len(newton.WAYS)


def test_a_spectral_radius_is_that_of_the_matrix_of_each_gate():
  _, params = newton._cell("gru@3", 4)
  for gate in np.split(np.asarray(params.w_h), 3, axis=1):
    assert np.isclose(np.max(np.abs(np.linalg.eigvals(gate))), 3, rtol=1e-5)


@pytest.mark.parametrize("name", ["rnm", "lru", "rnn@x", "co_rnn@2@3"])
def test_cells_without_a_loop_or_a_radius_are_refused(name):
  with pytest.raises(BadInput, match=f"cells={name}: "):
    newton._cell(name, 2)


def test_norms_by_lag_are_measured_beside_a_backward_pass():
  chosen = lags.Measured(("rnn",), steps=6, hidden=3, batch=2)
  whole, norms = lags._lines(chosen, "rnn", remat.every(2))
  assert whole[:2] == ["rnn", "gradient"] and norms[1] == "norms by lag"
  for shown in norms[2:]:
    assert float(shown.split("(")[1].rstrip(")")) > 0


def test_rtrl_is_measured_beside_backpropagation_and_agrees_with_it():
  chosen = rtrl.Measured(("min_gru",), (2, 3), steps=6, hidden=3, batch=2)
  whole, *others = rtrl._lines(chosen, "min_gru")
  assert whole[:2] == ["min_gru", "all"] and [line[1] for line in others] == ["2", "3"]
  assert all(float(line[-1]) < 1e-5 for line in others)
