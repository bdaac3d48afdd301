"""Weights in forms of other frameworks and back: bit for bit, or refused."""

import json
import zipfile

import jax
import ml_dtypes
import numpy as np
import pytest

from unroll import cells, convert, layers
from unroll.cells.named import named_cell
from unroll.convert import files, keras_config, language, stacks
from unroll.convert.tables import FRAMEWORKS, OURS, framework
from unroll.types import BadInput

D, H = 3, 4
DRAW = np.random.default_rng(0)
HELD = [(name, cell) for name, one in FRAMEWORKS.items() for cell in one.cells]


def noise(*shape):
  return (0.4 * DRAW.normal(size=shape)).astype(np.float32)


def stack_of(cell, widths=(H, H), directions=1, inner=True):
  """Random layers; `inner`: with a bias that the reset gate meets."""
  spec = f"{cell}:memory=6" if cell == "lstm_projected" else cell
  make, given = named_cell(spec)
  reads = [D, *(directions * width for width in widths[:-1])]

  def own(*sizes):
    like = jax.eval_shape(make(*sizes, **given).init, jax.random.key(0))
    drawn = jax.tree.map(lambda leaf: noise(*leaf.shape), like)
    return drawn if inner or cell != "gru" else drawn._replace(b_n=0 * drawn.b_n)

  each = [tuple(own(*both) for _ in range(directions)) for both in zip(reads, widths)]
  params = each if directions == 2 else [one for (one,) in each]
  return stacks.of_params(cell, params, directions)


def same(one, other):
  assert one.cell == other.cell and len(one.layers) == len(other.layers)
  for ours, theirs in zip(one.layers, other.layers, strict=True):
    for a, b in zip(ours, theirs, strict=True):
      assert a.keys() == b.keys()
      for name in a:
        np.testing.assert_array_equal(a[name], b[name], name)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("name, cell", HELD)
def test_layers_come_back_bit_for_bit(name, cell, directions):
  there = framework(name)
  stack = stack_of(cell, directions=directions, inner=name != "nnx")
  arrays = stacks.written(there, stack)
  assert all(array.flags.c_contiguous for array in arrays.values())
  back, rest = stacks.read(there, arrays, cell)
  assert not rest
  if (name, cell) == ("haiku", "lstm"):  # whose forget gate has a hidden bias of 1
    for layer, other in zip(stack.layers, back.layers, strict=True):
      for a, b in zip(layer, other, strict=True):
        np.testing.assert_allclose(b["b"], a["b"], rtol=0, atol=2e-7)
        b["b"][:] = a["b"]
  same(back, stack)


@pytest.mark.parametrize("name, cell", HELD)
def test_arrays_tell_their_cell_unless_another_has_the_same(name, cell):
  arrays = stacks.written(framework(name), stack_of(cell, inner=name != "nnx"))
  found, _ = stacks.read(framework(name), arrays)
  alike = framework(name).cells[found.cell]
  assert alike == framework(name).cells[cell]


def test_ours_are_the_cells_of_the_library():
  for cell, form in OURS.items():
    params = jax.eval_shape(cells.CELLS[cell](D, H).init, jax.random.key(0))
    assert {slot.name for slot in form.slots} == set(params._fields)


def test_gates_stand_where_each_library_has_them():
  """The first unit of each gate, told by its number: i, f, g, o are 0, 1, 2, 3."""
  stack = stack_of("lstm", (1,))
  own = dict(stack.layers[0][0])
  own["b"] = np.arange(4, dtype=np.float32)
  own["w_x"] = np.tile(own["b"], (D, 1))
  own["w_h"] = own["b"][None] + 10
  stack = stack._replace(layers=((own,),))

  def arrays(name):
    return stacks.written(framework(name), stack)

  assert arrays("torch")["rnn.weight_ih_l0"][:, 0].tolist() == [0, 1, 2, 3]
  assert arrays("torch")["rnn.bias_ih_l0"].tolist() == [0, 1, 2, 3]
  assert not arrays("torch")["rnn.bias_hh_l0"].any()
  assert arrays("keras")["layers/lstm/cell/vars/1"][0].tolist() == [10, 11, 12, 13]
  assert arrays("linen")["rnns_0/cell/hg/bias"].tolist() == [2]
  assert arrays("nnx")["rnns/0/cell/dense_h/bias"].tolist() == [0, 1, 2, 3]
  assert arrays("equinox")["cells/0/weight_hh"][:, 0].tolist() == [10, 11, 12, 13]
  haiku = arrays("haiku")
  assert haiku["lstm/linear/w"].tolist() == [*[[0, 2, 1, 3]] * D, [10, 12, 11, 13]]
  assert haiku["lstm/linear/b"].tolist() == [0, 2, 0, 3]  # f: 1, of which 1 is hidden


def test_a_grus_gates_and_biases():
  own = dict(stack_of("gru", (1,)).layers[0][0])
  own["b"], own["b_n"] = np.arange(3, dtype=np.float32), np.full(1, 9, np.float32)
  stack = stacks.Stack("gru", ((own,),))
  torch = stacks.written(framework("torch"), stack)
  assert torch["rnn.bias_ih_l0"].tolist() == [0, 1, 2]
  assert torch["rnn.bias_hh_l0"].tolist() == [0, 0, 9]
  keras = stacks.written(framework("keras"), stack)
  assert keras["layers/gru/cell/vars/2"].tolist() == [[1, 0, 2], [0, 0, 9]]


def test_haikus_update_gate_means_the_opposite():
  own = dict(stack_of("gru_reset_before", (1,)).layers[0][0])
  own["b"] = np.arange(1, 4, dtype=np.float32)
  stack = stacks.Stack("gru_reset_before", ((own,),))
  assert stacks.written(framework("haiku"), stack)["gru/b"].tolist() == [-2, 1, 3]


@pytest.mark.parametrize(
  "name, cell, said",
  [
    ("nnx", "gru", "no bias within the product .* torch and keras and linen"),
    ("haiku", "gru", "its GRU resets before the product.* torch and keras"),
    ("torch", "gru_reset_before", "resets after the product; keras and haiku"),
    ("haiku", "rnn", "ends in ReLU"),
    ("keras", "lstm_projected", "no recurrent projection; torch can hold it"),
    ("equinox", "mgu_reset_after", "of ours it has gru, lstm; linen can"),
  ],
)
def test_what_cannot_be_held_is_refused_with_what_can(name, cell, said):
  with pytest.raises(BadInput, match=said):
    stacks.written(framework(name), stack_of(cell))


def test_a_projection_that_does_not_narrow():
  stack = stack_of("lstm_projected", (6,))  # of a memory of 6
  with pytest.raises(BadInput, match="memory=6: its layer takes a state of 6 only"):
    stacks.written(framework("torch"), stack)


def test_two_biases_become_one_and_layers_may_have_none():
  stack = stack_of("lstm", (H,))
  torch = framework("torch")
  arrays = stacks.written(torch, stack)
  arrays["rnn.bias_hh_l0"] = noise(4 * H)
  found, _ = stacks.read(torch, arrays)
  expected = stack.layers[0][0]["b"] + arrays["rnn.bias_hh_l0"]
  np.testing.assert_array_equal(found.layers[0][0]["b"], expected)
  bare = {name: array for name, array in arrays.items() if "bias" not in name}
  assert not stacks.read(torch, bare)[0].layers[0][0]["b"].any()


def test_names_may_begin_as_they_like():
  torch, stack = framework("torch"), stack_of("lstm", (H, 2))
  arrays = stacks.written(torch, stack)
  assert "rnns.1.weight_ih_l0" in arrays  # of different widths: a module each
  renamed = {f"module.{name}": array for name, array in arrays.items()}
  same(stacks.read(torch, renamed)[0], stack)
  cells = {
    name.replace("rnns", "cells").replace("_l0", ""): a for name, a in arrays.items()
  }
  same(stacks.read(torch, cells)[0], stack)  # of nn.LSTMCell
  dropped = {
    name.replace("rnns.1.", "rnns.1.module.").replace(
      "weight_hh_l0", "weight_hh_l0_raw"
    )
    if "rnns.1" in name
    else name: array
    for name, array in arrays.items()
  }
  dropped["rnns.1.module.weight_hh_l0"] = noise(8, 2)  # awd-lstm-lm: the masked one
  found, rest = stacks.read(torch, dropped)
  same(found, stack)
  assert not rest


def test_keras_by_the_names_of_variables():
  stack, there = stack_of("gru"), framework("keras")
  names = {"vars/0": "kernel:0", "vars/1": "recurrent_kernel:0", "vars/2": "bias:0"}
  arrays = stacks.written(there, stack)
  renamed = {n[:-6] + names[n[-6:]]: array for n, array in arrays.items()}
  same(stacks.read(there, renamed, "gru")[0], stack)


@pytest.mark.parametrize(
  "kind, settings, found",
  [
    ("SimpleRNN", {"activation": "relu"}, "relu_rnn"),
    ("SimpleRNN", {}, "rnn"),
    ("LSTM", {"activation": "tanh"}, "lstm"),
    ("GRU", {"reset_after": False}, "gru_reset_before"),
    ("GRU", {"reset_after": True}, "gru"),
    ("LSTM", {"recurrent_activation": "hard_sigmoid"}, "recurrent_activation=hard_"),
    ("LSTM", {"go_backwards": True}, "top has go_backwards=True"),
    ("GRU", {"activation": "relu"}, "activation=relu, and the cells here tanh"),
  ],
)
def test_what_a_keras_file_says_of_its_layers(kind, settings, found, tmp_path):
  layer = {"class_name": kind, "config": {"name": "top", **settings}}
  config = {"class_name": "Sequential", "config": {"layers": [layer, {"a": [1]}]}}
  with zipfile.ZipFile(tmp_path / "a.keras", "w") as file:
    file.writestr("config.json", json.dumps(config))
  if found in OURS:
    assert keras_config.cell_of(tmp_path / "a.keras") == found
  else:
    with pytest.raises(BadInput, match=found):
      keras_config.cell_of(tmp_path / "a.keras")
  assert keras_config.cell_of(tmp_path / "a.npz") == ""


def test_the_names_of_fastai():
  """Its AWD-LSTM, whose raw weights stand beside the layer that holds masked ones."""
  model = model_of(tied=True)
  arrays = language.written(framework("torch"), model)
  theirs = {"0.encoder_dp.emb.weight": model.table}
  for name, array in arrays.items():
    part, _, rest = name.partition(".")
    if part == "rnns":
      number, slot = rest.split(".")
      theirs[f"0.rnns.{number}.module.{slot}"] = array
    else:
      theirs[f"{int(part == 'decoder')}.{name}"] = array
  for number in range(2):
    masked = f"0.rnns.{number}.module.weight_hh_l0"
    theirs[f"0.rnns.{number}.weight_hh_l0_raw"] = theirs[masked]
    theirs[masked] = 0 * theirs[masked]
  equal(language.read(framework("torch"), dict(sorted(theirs.items()))), model)


def test_ten_layers_follow_each_other_as_numbers_do():
  stack = stack_of("rnn", (2,) * 11)
  for name in ("torch", "keras", "linen", "nnx"):
    arrays = stacks.written(framework(name), stack)
    same(stacks.read(framework(name), dict(sorted(arrays.items())))[0], stack)


@pytest.mark.parametrize(
  "arrays, said",
  [
    ({"a": noise(3, 4)}, "no recurrent layer of torch is among 1 arrays such as a"),
    (
      stacks.written(framework("torch"), stack_of("gru", (H,)))
      | {f"{name}.": array for name, array in {"x": noise(2)}.items()}
      | {
        name.replace("rnn.", "top."): array
        for name, array in stacks.written(
          framework("torch"), stack_of("lstm", (H,))
        ).items()
      },
      "of different kinds, rnn/0: gru, top/0: lstm",
    ),
  ],
)
def test_arrays_that_are_no_stack(arrays, said):
  with pytest.raises(BadInput, match=said):
    stacks.read(framework("torch"), arrays)


def test_layers_that_do_not_fit_each_other():
  arrays = stacks.written(framework("torch"), stack_of("lstm", (H, H)))
  arrays["rnn.weight_ih_l1"] = noise(4 * H, H + 1)
  with pytest.raises(BadInput, match="layer 1 reads 5 numbers and the layer below"):
    stacks.read(framework("torch"), arrays)
  with pytest.raises(BadInput, match="cell=gru: by their names and shapes it is lstm"):
    stacks.read(framework("torch"), arrays, "gru")


def test_heads_and_learned_carries_stay():
  ((own,),) = stack_of("lstm", (2,)).layers
  with pytest.raises(BadInput, match="heads and learned"):
    stacks.of_params("lstm", [(own, own)])
  with pytest.raises(BadInput, match="cell=indrnn is of no other framework"):
    stacks.of_params("indrnn", [])


def model_of(cell="lstm", vocabulary=7, embedding=D, tied=False, inner=True):
  stack = stack_of(cell, (H, embedding if tied else H), inner=inner)
  table = noise(vocabulary, embedding)
  kernel = table.T if tied else noise(H, vocabulary)
  return language.Language(table, stack, kernel, noise(vocabulary), tied)


def equal(one, other):
  same(one.stack, other.stack)
  assert one.tied == other.tied
  assert (one.table is None) == (other.table is None)
  for a, b in zip(one[0:1] + one[2:4], other[0:1] + other[2:4], strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("tied", [False, True], ids=["", "tied"])
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_language_model_comes_back(name, tied):
  there = framework(name)
  cell = "gru_reset_before" if name == "haiku" else "gru"
  model = model_of(cell, tied=tied, inner=name != "nnx")
  arrays = language.written(there, model)
  equal(language.read(there, dict(sorted(arrays.items())), cell), model)
  settings = language.read(there, arrays, cell).settings
  assert settings["hidden"] == ((H, D) if tied else (H,))
  assert settings["embedding"] == D and settings["layers"] == 2


def test_a_table_as_wide_as_the_read_out_goes_by_its_name():
  torch, stack = framework("torch"), stack_of("rnn", (D,))
  model = language.Language(noise(7, D), stack, noise(D, 7), np.zeros(7, "f"))
  arrays = language.written(torch, model)
  del arrays["decoder.bias"]
  equal(language.read(torch, arrays), model)


def test_one_hot_models_have_no_table():
  torch = framework("torch")
  model = language.Language(None, stack_of("rnn", (H,)), noise(H, D), noise(D))
  arrays = language.written(torch, model)
  assert "encoder.weight" not in arrays
  found = language.read(torch, arrays)
  assert found.table is None and found.settings["embedding"] == 0


@pytest.mark.parametrize("hidden", [H, 7])
def test_as_many_tokens_as_the_vectors_are_wide(hidden):
  torch, stack = framework("torch"), stack_of("rnn", (hidden,))
  stack = stack.reading(lambda _: noise(7, hidden))
  model = language.Language(noise(7, 7), stack, noise(hidden, 7), noise(7))
  arrays = language.written(torch, model)
  equal(language.read(torch, dict(sorted(arrays.items()))), model)
  equal(
    language.read(torch, language.written(torch, model._replace(table=None))),
    model._replace(table=None),
  )


def test_a_tied_matrix_may_be_there_once():
  torch, model = framework("torch"), model_of(tied=True)
  arrays = language.written(torch, model)
  del arrays["decoder.weight"]
  equal(language.read(torch, arrays), model)


def test_models_of_any_size_come_back():
  """Also where an embedding could be a read-out, or a layer another."""
  draw = np.random.default_rng(2)
  for _ in range(150):
    name, cell = HELD[draw.integers(len(HELD))]
    width, size, depth = draw.integers(1, 7), draw.integers(2, 9), draw.integers(1, 4)
    tied, one_hot = draw.random(2) < 0.3
    widths = [*draw.integers(1, 7, depth - 1), width if tied else draw.integers(1, 7)]
    table = None if one_hot and not tied else noise(size, width)
    reads = [size if table is None else width, *widths[:-1]]
    each = [random_layer(cell, *both, name != "nnx") for both in zip(reads, widths)]
    kernel = table.T if tied else noise(widths[-1], size)
    stack = stacks.Stack(cell, tuple((own,) for own in each))
    model = language.Language(table, stack, kernel, noise(size), bool(tied))
    arrays = language.written(framework(name), model)
    names = draw.permutation(list(arrays))
    found = language.read(framework(name), {n: arrays[n] for n in names}, cell)
    for own, (other,) in zip(each, found.stack.layers, strict=True):
      if (name, cell) == ("haiku", "lstm"):
        other["b"] = own["b"]
    equal(found, model)


def random_layer(cell, reads, width, inner):
  memory = width + 2 if cell == "lstm_projected" else width
  sizes = {("x", 0): reads, ("h", 0): width, ("y", 0): memory, ("y", 1): width}
  found = {}
  for slot in OURS[cell].slots:
    [keys] = slot.rows
    rows = [] if slot.bias else [sizes[keys[0][0], 0]]
    columns = sizes.get((keys[0][0], 1), memory)
    found[slot.name] = noise(*rows, len(keys) * columns)
  if cell == "gru" and not inner:
    found["b_n"] *= 0
  return found


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_our_type_exactly(kind):
  torch, model = framework("torch"), model_of()
  arrays = language.written(torch, model)
  found = language.read(torch, {n: array.astype(kind) for n, array in arrays.items()})
  assert found.bias.dtype == np.float32
  np.testing.assert_array_equal(found.bias, model.bias.astype(kind))


def test_an_array_of_no_use_is_named():
  arrays = language.written(framework("torch"), model_of())
  arrays["attention.weight"] = noise(9, 9)
  with pytest.raises(BadInput, match=r"attention.weight \[9, 9\]: no place for this"):
    language.read(framework("torch"), arrays)
  both = stacks.written(framework("torch"), stack_of("lstm", (H,), directions=2))
  with pytest.raises(BadInput, match="read from both sides"):
    language.read(framework("torch"), {**both, "decoder.weight": noise(7, 2 * H)})


def test_other_numbers_for_tokens():
  model = model_of()
  rows = np.array([-1, 2, 0])
  found = model.reordered(rows)
  np.testing.assert_array_equal(found.table[1:], model.table[[2, 0]])
  np.testing.assert_array_equal(found.kernel[:, 1:], model.kernel[:, [2, 0]])
  assert not found.table[0].any() and not found.kernel[:, 0].any()
  h = np.tanh(noise(5, H) * 100)
  logits = h @ found.kernel + found.bias
  assert (logits[:, 0] < logits[:, 1:].min(1) - language.RARE + 1e-5).all()
  one_hot = language.Language(None, stack_of("rnn", (H,)), noise(H, D), noise(D))
  found = one_hot.reordered(np.array([2, 0, 1, -1])).stack.layers[0][0]["w_x"]
  own = one_hot.stack.layers[0][0]["w_x"]
  np.testing.assert_array_equal(found[:3], own[[2, 0, 1]])


def test_an_unknown_framework():
  with pytest.raises(BadInput, match="caffe is none of torch, keras"):
    convert.framework("caffe")


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_files_hold_views_as_they_show(ending, tmp_path):
  whole = noise(6, 4)
  given = {"turned": whole.T, "part": whole[::2], "a/b.c": noise(), "none": noise(0, 2)}
  given["half"] = whole.astype(np.float16)
  files.write(tmp_path / f"a{ending}", given)
  found = files.read(tmp_path / f"a{ending}")
  assert found.keys() == given.keys()
  for name, array in given.items():
    assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("name, ending", [("linen", "msgpack"), ("equinox", "eqx")])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_files_of_jax_frameworks(name, ending, cell, tmp_path):
  there, model = framework(name), model_of(cell)
  files.write(tmp_path / f"a.{ending}", language.written(there, model))
  equal(language.read(there, files.read(tmp_path / f"a.{ending}")), model)
  (tmp_path / f"b.{ending}").write_bytes(b"PK")
  with pytest.raises(BadInput, match="is no file of"):
    files.read(tmp_path / f"b.{ending}")


def test_leaves_of_another_model_of_equinox(tmp_path):
  files.write(tmp_path / "a.eqx", {"a": noise(2), "b": noise(2, 3)})
  with pytest.raises(BadInput, match="has leaves of 1, 2 axes: give a model whose"):
    files.read(tmp_path / "a.eqx")


def test_views_in_safetensors_are_what_they_show(tmp_path):
  """safetensors 0.8.0 writes the memory behind a view, in the order of storage."""
  whole = noise(4, 6)
  views = {"turned": whole.T, "each_second": whole[::2], "columns": whole[:, 1:3]}
  files.write(tmp_path / "a.safetensors", views)
  found = files.read(tmp_path / "a.safetensors")
  for name, array in views.items():
    np.testing.assert_array_equal(found[name], array)


def test_float8_in_safetensors_is_refused(tmp_path):
  """safetensors 0.8.0 saves it and raises AttributeError when it loads it."""
  array = np.asarray(jax.numpy.ones(3, jax.numpy.float8_e4m3fn))
  files.write(tmp_path / "a.safetensors", {"a": array})
  with pytest.raises(BadInput, match="no safetensors file of numbers"):
    files.read(tmp_path / "a.safetensors")


def test_bfloat16_in_safetensors(tmp_path):
  """safetensors 0.8.0 reads it of a file, and of its bytes raises KeyError."""
  array = np.asarray(jax.numpy.ones((2, 3), jax.numpy.bfloat16))
  files.write(tmp_path / "a.safetensors", {"a": array, "b": np.float32(2)})
  found = files.read(tmp_path / "a.safetensors")
  assert found["a"].dtype == array.dtype and (found["a"] == array).all()
  assert found["b"].shape == ()


@pytest.mark.parametrize("change", ["short", "length", "offset", "json", "shape"])
def test_a_damaged_safetensors_file(change, tmp_path):
  path = tmp_path / "a.safetensors"
  files.write(path, {"a": noise(2, 3)})
  data = path.read_bytes()
  damaged = {
    "short": data[:-1],
    "length": b"\xff" * 8 + data[8:],
    "offset": data.replace(b"[0,24]", b"[9,24]"),
    "json": data.replace(b"{", b"[", 1),
    "shape": data.replace(b"[2,3]", b"[2,4]"),
  }[change]
  assert damaged != data
  path.write_bytes(damaged)
  with pytest.raises(BadInput, match=r"a\.safetensors is no safetensors file of"):
    files.read(path)


def test_files_that_are_none(tmp_path):
  (tmp_path / "a.npz").write_bytes(b"PK")
  with pytest.raises(
    BadInput, match=r"cannot be read .*: give a \.npz file of numbers"
  ):
    files.read(tmp_path / "a.npz")
  with pytest.raises(BadInput, match="cannot be read"):
    files.read(tmp_path / "b.npz")
  for how in (files.read, files.check):
    with pytest.raises(BadInput, match=r"ends in none of \.safetensors, \.npz"):
      how(tmp_path / "a.txt")
  with pytest.raises(BadInput, match=r"\.keras is read, not written"):
    files.check(tmp_path / "a.keras")
  with pytest.raises(BadInput, match="is no folder"):
    files.write(tmp_path / "no" / "a.npz", {})


def test_packages_that_are_missing_are_named(tmp_path):
  for name, package in (("a.pt", "torch"), ("a.h5", "h5py")):
    try:
      __import__(package)
    except ImportError:
      (tmp_path / name).touch()
      with pytest.raises(BadInput, match=f"need the package {package}: pip install"):
        files.read(tmp_path / name)


def test_our_parameters_are_those_of_the_layers():
  stack = stack_of("gru", directions=2)
  layer = layers.stacked(
    *(layers.bidirectional(*(cells.gru(size, H),) * 2) for size in (D, 2 * H))
  )
  like = jax.eval_shape(layer.init, jax.random.key(0))
  shapes = jax.tree.map(lambda leaf: leaf.shape, like)
  found = jax.tree.leaves(jax.tree.map(np.shape, stack.params()))
  assert sorted(found) == sorted(jax.tree.leaves(shapes))


@pytest.mark.parametrize(
  "ending", ["safetensors", "npz", "msgpack", "eqx", "h5", "keras"]
)
def test_a_file_that_has_been_cut_or_flipped(ending, tmp_path):
  """It is read, or refused in a sentence."""
  path, draw = tmp_path / f"a.{ending}", np.random.default_rng(0)
  arrays = language.written(framework("equinox"), model_of())
  if ending == "keras":
    files.write(tmp_path / "a.weights.h5", arrays)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
      file.writestr("model.weights.h5", (tmp_path / "a.weights.h5").read_bytes())
      file.writestr("config.json", "[" * 100 + "]" * 100)
  else:
    files.write(path, arrays)
  whole, refused = path.read_bytes(), 0
  for number in range(120):
    data = bytearray(whole)
    if number < 40:
      del data[number * len(data) // 40 :]
    else:
      for place in draw.integers(len(data), size=1 + number % 3):
        data[place] ^= 1 << draw.integers(8)
    path.write_bytes(data)
    try:
      files.read(path)
      keras_config.cell_of(path)
    except BadInput as error:
      assert str(path) in str(error)
      refused += 1
  assert refused > 30
