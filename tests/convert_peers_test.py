"""Layers moved to other frameworks compute there what ours do, gradients as well."""

import re
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convert_test import H, language, model_of, same, stack_of
from flax.serialization import from_bytes

from unroll import names as names_of_leaves
from unroll.architecture import Architecture
from unroll.convert import files, keras_config, parity
from unroll.convert.tables import FRAMEWORKS, form_of, framework
from unroll.models.language import language_model

pytestmark = pytest.mark.peers


@pytest.fixture(autouse=True)
def as_jax_comes():
  """Other libraries count on what JAX does by itself with ranks and types."""
  with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
    yield


# Both directions of a cell alone: they differ in names.
CASES = [
  (name, cell, directions)
  for name, there in FRAMEWORKS.items()
  for cell in there.cells
  for directions in (1, 2)
  if cell != "irnn" and (directions == 1 or cell == "lstm") and name != "numpy"
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name, cell, directions", CASES)
def test_parity(name, cell, directions):
  stack = stack_of(cell, directions=directions, inner=name != "nnx")
  if (run := parity.run_of(framework(name))) is None:
    pytest.skip(f"{name} is not installed")
  found = parity.difference(framework(name), stack, run)
  assert max(found.values()) < 1e-5, found


def test_parity_sees_a_gate_in_another_place():
  pytest.importorskip("torch")
  stack = stack_of("lstm")

  def turned(arrays, stack, given):
    arrays = {
      name: np.roll(array, H, 0) if "weight_ih" in name else array
      for name, array in arrays.items()
    }
    return parity.run_of(framework("torch"))(arrays, stack, given)

  found = parity.difference(framework("torch"), stack, turned)
  assert min(found.values()) > 1e-2


def test_layers_of_different_widths_in_torch():
  pytest.importorskip("torch")
  for directions in (1, 2):
    stack = stack_of("lstm", (H, 2, 5), directions)
    found = parity.difference(
      framework("torch"), stack, parity.run_of(framework("torch"))
    )
    assert max(found.values()) < 1e-5


def test_files_of_linen(tmp_path):
  class Model(nn.Module):
    def setup(self):
      self.embed = nn.Embed(7, 3)
      self.rnns = [nn.RNN(nn.OptimizedLSTMCell(H)) for _ in range(2)]
      self.output = nn.Dense(7)

    def __call__(self, tokens):
      xs = self.embed(tokens)
      for rnn in self.rnns:
        xs = rnn(xs)
      return self.output(xs)

  model, tokens = model_of(), jnp.array([[1, 2, 3]])
  files.write(tmp_path / "a.msgpack", language.written(framework("linen"), model))
  params = Model().init(jax.random.key(0), tokens)["params"]
  data = (tmp_path / "a.msgpack").read_bytes()
  logits = Model().apply({"params": from_bytes(params, data)}, tokens)
  np.testing.assert_allclose(
    logits[0], logits_of(model, tokens[0][:, None])[:, 0], atol=1e-6
  )


def logits_of(model, tokens):
  """What our language model says of tokens `[T, B]`."""
  ours = language_model(Architecture(layers=2, hidden=(H,)), 7, embedding=3)
  like = jax.eval_shape(ours.init, jax.random.key(0), tokens)
  params = names_of_leaves.rebuilt(model.params(), like, ("params",))
  return ours.apply(params, jnp.asarray(tokens, jnp.int32))[1]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_files_of_equinox(cell, tmp_path):
  eqx = pytest.importorskip("equinox")
  model, key = model_of(cell), jax.random.key(0)
  kinds = {"lstm": eqx.nn.LSTMCell, "gru": eqx.nn.GRUCell}

  class Model(eqx.Module):
    embed: eqx.nn.Embedding
    cells: list
    output: eqx.nn.Linear

  widths = [(width, H, key) for width in model.stack.reads]
  theirs = Model(
    eqx.nn.Embedding(*model.table.shape, key=key),
    [kinds[cell](reads, hidden, key=key) for reads, hidden, key in widths],
    eqx.nn.Linear(H, 7, key=key),
  )
  files.write(tmp_path / "a.eqx", language.written(framework("equinox"), model))
  found = eqx.tree_deserialise_leaves(tmp_path / "a.eqx", theirs)
  np.testing.assert_array_equal(found.output.weight, model.kernel.T)
  np.testing.assert_array_equal(found.cells[1].bias, model.stack.layers[1][0]["b"])
  eqx.tree_serialise_leaves(tmp_path / "b.eqx", found)
  back = files.read(tmp_path / "b.eqx")
  same(language.read(framework("equinox"), back).stack, model.stack)


def test_files_of_torch_with_weights_only(tmp_path):
  torch = pytest.importorskip("torch")
  there, model = framework("torch"), model_of()
  arrays = language.written(there, model)
  files.write(tmp_path / "a.pt", arrays)
  held = torch.load(tmp_path / "a.pt", weights_only=True)
  assert held.keys() == arrays.keys()
  same(language.read(there, files.read(tmp_path / "a.pt")).stack, model.stack)
  torch.save({"state_dict": held, "epoch": 3}, tmp_path / "b.pt")
  assert files.read(tmp_path / "b.pt").keys() == arrays.keys()
  torch.save(torch.nn.LSTM(2, 3), tmp_path / "c.pt")
  with pytest.raises(ValueError, match=r"holds more than weights.*state_dict\(\)"):
    files.read(tmp_path / "c.pt")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before", "rnn"])
def test_a_model_of_keras_goes_out_and_in(cell, tmp_path):
  keras = pytest.importorskip("unroll.convert.parity.keras").keras
  kinds = {
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "rnn": keras.layers.SimpleRNN,
    "gru_reset_before": lambda *a, **k: keras.layers.GRU(*a, reset_after=False, **k),
  }
  there, model = framework("keras"), model_of(cell)
  theirs = keras.Sequential(
    [
      keras.Input((None,)),
      keras.layers.Embedding(*model.table.shape),
      *(kinds[cell](H, return_sequences=True, dropout=0.1) for _ in range(2)),
      keras.layers.Dropout(0.1),
      keras.layers.Dense(7),
    ]
  )
  files.write(tmp_path / "a.weights.h5", language.written(there, model))
  theirs.load_weights(tmp_path / "a.weights.h5")
  np.testing.assert_array_equal(theirs.layers[-1].kernel, model.kernel)
  theirs.compile(optimizer="adam", loss="mse", metrics=["mae"])
  theirs.optimizer.build(theirs.trainable_variables)
  for file in ("b.weights.h5", "b.keras"):
    (theirs.save_weights if "h5" in file else theirs.save)(tmp_path / file)
    found = language.read(there, files.read(tmp_path / file), cell)
    same(found.stack, model.stack)
    np.testing.assert_array_equal(found.table, model.table)
  assert keras_config.cell_of(tmp_path / "b.keras") == cell


@pytest.mark.filterwarnings("ignore")
def test_the_examples_of_the_documentation_run(tmp_path, monkeypatch):
  pytest.importorskip("torch")
  monkeypatch.chdir(tmp_path)
  model = model_of()
  arrays = language.written(framework("torch"), model)
  files.write(tmp_path / "model.safetensors", arrays)
  text = Path(__file__).parents[1].joinpath("docs", "interop.md").read_text("utf-8")
  examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  assert len(examples) == 5
  names = {}
  for example in examples[:2]:
    exec(example, names)
  assert names["stack"].cell == "lstm" and (tmp_path / "layers.npz").is_file()
  tokens = np.array([[1, 2], [3, 0], [6, 6]])
  theirs, _ = names["model"](names["torch"].tensor(tokens))
  np.testing.assert_allclose(
    logits_of(model, tokens), theirs.detach(), rtol=0, atol=1e-6
  )


@pytest.mark.filterwarnings("ignore")
def test_the_examples_inside_other_peoples_code_run(tmp_path, monkeypatch):
  """A tagger in Linen and NNX, cells in Equinox and Haiku, a model of Keras."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("KERAS_BACKEND", "jax")
  text = Path(__file__).parents[1].joinpath("docs", "interop.md").read_text("utf-8")
  section = text[text.index("## Inside other people's code") :]
  names = {}
  with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
    for example in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
      exec(example, names)
  grads = jax.tree.leaves(names["grads"].params)
  assert len(grads) == 4 and all(abs(grad).max() > 0 for grad in grads)


def test_the_forms_name_layers_that_there_are():
  keras = pytest.importorskip("unroll.convert.parity.keras").keras
  for cell in FRAMEWORKS["keras"].cells:
    name = form_of(framework("keras"), cell).layer.partition("(")[0]
    assert hasattr(keras.layers, name)
