"""Laws of the models: nobody sees what it is to predict, T = 1 is generation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from tables import close, noise, quick, same, shaken

from unroll import names, readout
from unroll.cells import CELLS
from unroll.compose import Wiring
from unroll.data.batches import Batch
from unroll.layers import stacked
from unroll.models.cloze import ClozeModel, cloze_loss
from unroll.models.language import LanguageModel, next_token_loss
from unroll.models.parts import Embedding
from unroll.types import BadInput, seed

V, E, H, T, B = 7, 4, 5, 6, 3
# One of each way through the scan, and of each kind of carry.
STREAMED = (
  *("rnn", "gru", "lstm", "lstm_projected", "mgu", "slstm", "exp_rnn", "echo_state"),
  *("phased_lstm", "gru_d", "qrnn", "s5", "rg_lru", "mlstm", "gated_delta"),
)
QUICK = ("lstm", "mgu", "phased_lstm", "s5", "mlstm")
SIDES = {"both": (True, True), "forward": (True, False), "backward": (False, True)}


def tokens_of(number, *shape):
  return np.random.default_rng(number).integers(V, size=shape, dtype=np.int32)


TOKENS = tokens_of(1, T, B)


def core(cell="gru", layers=1, inputs=E, hidden=H, **wiring):
  sizes = [inputs] + [hidden] * layers
  cells = [CELLS[cell](*both) for both in itertools.pairwise(sizes)]
  return stacked(*cells, wiring=Wiring(**wiring))


def language(cell="gru", layers=1, embedding=E, tie=False, **wiring):
  hidden = embedding if tie else H
  layer = core(cell, layers, embedding or V, hidden, **wiring)
  return LanguageModel(V, embedding, layer, hidden, tie)


def cloze(side="both", merge="concat", embedding=E, **wiring):
  inputs = embedding or V
  forward, backward = (
    core("gru", 1, inputs, **wiring) if used else None for used in SIDES[side]
  )
  return ClozeModel(V, embedding, forward, backward, merge)


def parameters(model, number=1):
  """Parameters, biases too away from zero."""
  params = model.init(jax.random.key(number), TOKENS)
  return shaken(params, number, 0.3)


def batch_of(tokens, targets):
  weight = np.ones(tokens.shape, np.float32)
  reset = np.zeros(tokens.shape, bool)
  reset[0] = True
  return Batch(tokens, targets, weight, reset, None)


@pytest.mark.parametrize(
  "cell, layers, embedding, tie",
  [
    *[
      pytest.param(cell, 2, E, False, marks=() if cell in QUICK else pytest.mark.slow)
      for cell in STREAMED
    ],
    ("lstm", 1, 0, False),
    ("lstm", 1, E, True),
    pytest.param("gru", 2, E, True, marks=pytest.mark.slow),
  ],
)
def test_teacher_forcing_is_generation(cell, layers, embedding, tie):
  model = language(cell, layers, embedding, tie)
  params = parameters(model)
  last, logits = quick(model.apply)(params, TOKENS)
  assert logits.shape == (T, B, V) and logits.dtype == jnp.float32
  step = quick(model.apply)
  carry, steps = model.apply(params, B, method="initial_carry"), []
  for t in range(T):
    carry, one = step(params, TOKENS[t : t + 1], carry)
    steps.append(one)
  close(jnp.concatenate(steps), logits, 1e-5)
  close(carry, last, 1e-5)


def test_a_given_carry_is_used():
  model = language()
  params = parameters(model)
  carry = shaken(model.apply(params, B, method="initial_carry"), 3, 0.5)
  fresh = model.apply(params, TOKENS)[1]
  assert np.all(np.any(model.apply(params, TOKENS, carry)[1] != fresh, axis=-1)[0])


def influence(model):
  """[T, T]: whether the logits at t have a gradient for the embedding read at s."""
  params = parameters(model)["params"]
  tokens = np.random.default_rng(5).permutation(V)[:T, None]  # each its own row

  def logits(table):
    out = model.apply({"params": {**params, "embed": {"embedding": table}}}, tokens)
    return (out[1] if isinstance(out, tuple) else out)[:, 0]

  gradient = quick(jax.jacobian(logits))(params["embed"]["embedding"])  # [T, V, V, E]
  return np.any(gradient[:, :, tokens[:, 0]] != 0, axis=(1, 3))


def test_a_language_model_is_causal():
  model = language("lstm", 2, residual=True)
  np.testing.assert_array_equal(influence(model), np.tri(T, dtype=bool))


BEFORE, AFTER = np.tri(T, k=-1, dtype=bool), np.tri(T, k=-1, dtype=bool).T


@pytest.mark.parametrize(
  "side, merge, seen",
  [
    *[("both", m, BEFORE | AFTER) for m in ("concat", "sum", "average")],
    ("forward", "concat", BEFORE),
    ("backward", "concat", AFTER),
  ],
)
def test_a_missing_token_is_not_seen(side, merge, seen):
  np.testing.assert_array_equal(influence(cloze(side, merge)), seen)


def test_a_product_of_sides():
  # At the ends one side has read nothing, and nothing times anything is nothing.
  seen = (BEFORE | AFTER) & np.r_[False, np.ones(T - 2, bool), False][:, None]
  np.testing.assert_array_equal(influence(cloze(merge="mul")), seen)


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "average"])
def test_merge(merge):
  model = cloze(merge=merge)
  params = parameters(model)
  xs = jnp.asarray(params["params"]["embed"]["embedding"])[TOKENS]
  both = params["params"]["recurrent"]["core"]
  left, right = (
    layer.unroll(p, layer.carry(p, B), xs, reverse=reverse)[1]
    for layer, p, reverse in zip((model.forward, model.backward), both, (False, True))
  )
  nothing = jnp.zeros((1, B, H))
  before = jnp.concatenate([nothing, left[:-1]])
  after = jnp.concatenate([right[1:], nothing])
  merged = {
    "concat": jnp.concatenate([before, after], -1),
    "sum": before + after,
    "mul": before * after,
    "average": (before + after) / 2,
  }[merge]
  output = params["params"]["output"]
  bias = jnp.broadcast_to(output["bias"], (T, B, V))
  close(model.apply(params, TOKENS), merged @ output["kernel"] + bias, 1e-5)


@pytest.mark.parametrize("side", ["forward", "backward"])
def test_one_side_has_one_core(side):
  shapes = jax.tree.map(jnp.shape, parameters(cloze(side)))
  assert shapes["params"]["output"]["kernel"] == (H, V)
  assert shapes["params"]["recurrent"]["core"] == jax.tree.map(
    jnp.shape, core().init(jax.random.key(0))
  )


@pytest.mark.parametrize("make", [language, cloze])
def test_one_hot_is_an_identity_embedding(make):
  model = make(embedding=V)
  params = parameters(model)["params"]
  rest = {name: p for name, p in params.items() if name != "embed"}
  with_identity = {"params": {**rest, "embed": {"embedding": jnp.eye(V)}}}
  one_hot = make(embedding=0)
  close(
    one_hot.apply({"params": rest}, TOKENS), model.apply(with_identity, TOKENS), 1e-6
  )


def test_tied_embeddings_are_the_output_matrix():
  model = language(tie=True)
  params = parameters(model)
  inner = params["params"]
  assert set(inner) == {"embed", "recurrent", "output_bias"}
  # The same logits from a model of its own output matrix, set to the embedding.
  output = {"kernel": inner["embed"]["embedding"].T, "bias": inner["output_bias"]}
  apart = {"embed": inner["embed"], "recurrent": inner["recurrent"], "output": output}
  untied = LanguageModel(V, E, model.core, E)
  close(untied.apply({"params": apart}, TOKENS), model.apply(params, TOKENS), 1e-6)


@pytest.mark.parametrize("embedding", [0, E])
def test_tying_needs_equal_widths(embedding):
  model = LanguageModel(V, embedding, core(inputs=embedding or V), H, tie=True)
  with pytest.raises(
    BadInput, match=f"`tie_embeddings` .* embedding={embedding} .* {H}"
  ):
    parameters(model)


LEAVES = """
['params']['embed']['embedding']
['params']['output']['bias']
['params']['output']['kernel']
['params']['recurrent']['core'][0].w_x
['params']['recurrent']['core'][0].w_h
['params']['recurrent']['core'][0].b
['params']['recurrent']['core'][1].w_x
['params']['recurrent']['core'][1].w_h
['params']['recurrent']['core'][1].b
"""


def test_a_summary_is_a_table_of_all_parameters():
  params = {"params": {"a": np.zeros((30, 50)), "bias": np.zeros(4), "s": np.ones(())}}
  assert names.summary(params).splitlines() == [
    "parameter  shape     count",
    "a          30 by 50  1,500",
    "bias       4             4",
    "s          a number      1",
    "all                  1,505",
  ]
  assert names.summary({}).splitlines()[1].split() == ["all", "0"]


def test_leaves_keep_their_names_and_order_in_checkpoints():
  params = parameters(language("lstm", 2))
  paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
  assert paths == LEAVES.split()


@pytest.mark.parametrize("make", [language, cloze])
def test_named_parameters_are_nested_dicts(make):
  model = make()
  named = model.clone(named=True)
  params = named.init(jax.random.key(1), TOKENS)
  flat = traverse_util.flatten_dict(params["params"])
  assert all(isinstance(leaf, jax.Array) for leaf in flat.values())
  own = model.init(jax.random.key(1), TOKENS)
  assert sorted(flat) == sorted(names.by_name(own["params"]))
  same(model.apply(params, TOKENS), model.apply(own, TOKENS))


@pytest.mark.parametrize("make", [language, cloze])
def test_dropout_draws_from_the_stream_of_flax(make):
  model = make(dropout=0.5, input_dropout=0.5)
  params = parameters(model)
  logits = [
    jax.tree.leaves(quick(model.apply)(params, TOKENS, rngs=rngs))[-1]
    for rngs in ({}, *({"dropout": jax.random.key(i)} for i in range(2)))
  ]
  for one, other in itertools.combinations(logits, 2):
    assert np.any(one != other)


@pytest.mark.parametrize(
  "make", [language, pytest.param(cloze, marks=pytest.mark.slow)]
)
def test_tokens_are_left_out_where_they_are_read(make):
  plain, model = make(), make().clone(embedding_dropout=0.5)
  params = parameters(model)
  carry = model.apply(params, B, method="initial_carry")
  same(model.apply(params, TOKENS, carry), plain.apply(params, TOKENS, carry))
  keyed = seed(carry, jax.random.key(1))
  own = {"params": params["params"]["embed"]}
  left = Embedding(V, E, dropout=0.5).apply(own, TOKENS, keyed).table
  assert 0 < np.sum(left == 0) < left.size
  other = {"params": params["params"] | {"embed": {"embedding": left}}}
  same(model.apply(params, TOKENS, keyed), plain.apply(other, TOKENS, keyed))


def test_no_such_merge():
  with pytest.raises(BadInput, match="merge=max: choose one of concat, sum"):
    parameters(cloze(merge="max"))


def test_losses_are_the_mean_nats_of_what_counts():
  targets = tokens_of(2, T, B)
  weight = (noise(6, T, B) > 0).astype(np.float32)
  model = language()
  params = parameters(model)
  carry = model.apply(params, B, method="initial_carry")
  batch = batch_of(TOKENS, targets)._replace(weight=weight)
  loss, (_, sums) = next_token_loss(model)(params, carry, batch)
  log_p = jax.nn.log_softmax(model.apply(params, TOKENS)[1])
  nats = -np.take_along_axis(np.asarray(log_p), targets[..., None], -1)[..., 0]
  sums = sums["loss"]
  np.testing.assert_allclose(sums.total, np.sum(nats * weight), rtol=1e-5)
  np.testing.assert_allclose(loss, np.sum(nats * weight) / weight.sum(), rtol=1e-5)
  assert sums.count == weight.sum()


def test_a_cloze_loss_predicts_its_inputs():
  model = cloze()
  params = parameters(model)
  carry = model.apply(params, B, method="initial_carry")
  batch = batch_of(TOKENS, tokens_of(2, T, B))
  loss, (after, sums) = cloze_loss(model)(params, carry, batch)
  log_p = np.asarray(jax.nn.log_softmax(model.apply(params, TOKENS)))
  nats = -np.take_along_axis(log_p, TOKENS[..., None], -1)
  np.testing.assert_allclose(loss, nats.mean(), rtol=1e-5)
  assert sums["loss"].count == T * B
  same(after, carry)


@pytest.mark.parametrize("side", SIDES)
def test_a_cloze_loss_goes_forward_where_it_is_asked_to(monkeypatch, side):
  monkeypatch.setattr(readout, "ROWS", 2 * B)  # more than one slice of logits
  monkeypatch.setattr(readout, "BYTES", 0)
  model = cloze(side)
  params = parameters(model)
  carry = model.apply(params, B, method="initial_carry")
  batch, way = batch_of(TOKENS, TOKENS), shaken(params, 5, 1.0)
  slow, fast = cloze_loss(model, "autodiff"), cloze_loss(model)

  @quick
  def take(params):
    (_, gradient) = jax.value_and_grad(fast, has_aux=True)(params, carry, batch)
    slope = jax.jvp(lambda p: slow(p, carry, batch)[0], (params,), (way,))[1]
    return slope, jax.tree.map(jnp.vdot, gradient, way)

  slope, products = take(params)
  np.testing.assert_allclose(slope, sum(jax.tree.leaves(products)), rtol=1e-4)
  with pytest.raises(TypeError, match="give backward='autodiff' for forward mode"):
    jax.jvp(lambda p: fast(p, carry, batch)[0], (params,), (way,))


def test_a_cloze_sequence_starts_afresh():
  model = cloze(dropout=0.5, input_dropout=0.5)
  params = parameters(model)
  initial = model.apply(params, B, method="initial_carry")
  used = shaken(initial, 3, 0.5)
  same(model.apply(params, TOKENS, used), model.apply(params, TOKENS))
  # Of a carry, its randomness alone is used.
  key = jax.random.key(1)
  drawn = model.apply(params, TOKENS, seed(used, key))
  same(drawn, model.apply(params, TOKENS, seed(initial, key)))
  assert np.any(drawn != model.apply(params, TOKENS))


def test_reset_and_valid_reach_the_core():
  model = language()
  params = parameters(model)
  whole = model.apply(params, TOKENS)[1]
  reset = np.zeros((T, B), bool)
  reset[3] = True
  carry = shaken(model.apply(params, B, method="initial_carry"), 3, 0.5)
  _, logits = model.apply(params, TOKENS, carry, reset=reset)
  close(logits[3:], model.apply(params, TOKENS[3:])[1], 1e-5)
  valid = np.ones((T, B), bool)
  valid[2:4] = False
  held, _ = model.apply(params, TOKENS, valid=valid)
  short = np.concatenate([TOKENS[:2], TOKENS[4:]])
  close(held.layers, model.apply(params, short)[0].layers, 1e-5)
  assert np.any(logits[:3] != whole[:3])


# Every cell and every kind of embedding, each once or twice.
@pytest.mark.parametrize(
  "cell, embedding",
  [("rnn", 0), ("gru", E), ("gru_reset_before", H), ("lstm", E), ("lstm", 0)],
)
@pytest.mark.slow
def test_half_precision_products_train_alike(cell, embedding):
  tie = embedding == H
  full = language(cell, layers=2, embedding=embedding, tie=tie)
  half = full.clone(dtype=jnp.bfloat16)
  params = parameters(full)
  batch = batch_of(TOKENS, tokens_of(2, T, B))

  @jax.jit
  def take(params):
    carry = full.apply(params, B, method="initial_carry")
    grads = [
      jax.grad(next_token_loss(model), has_aux=True)(params, carry, batch)
      for model in (full, half)
    ]
    return grads

  (exact, (carry, _)), (grads, (rounded, _)) = take(params)
  assert jax.tree.map(lambda p: p.dtype, grads) == jax.tree.map(
    lambda p: p.dtype, params
  )
  close(rounded, carry, 0.03)
  for got, wanted in zip(jax.tree.leaves(grads), jax.tree.leaves(exact), strict=True):
    assert jnp.linalg.norm(got - wanted) < 0.05 * jnp.linalg.norm(wanted)
    assert not jnp.array_equal(got, wanted)
