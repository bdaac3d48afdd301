"""Laws of Transformers: a plain reference, sequences in parts, what nobody reads."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import ALWAYS, MASKS, NEVER, B, T, close, noise, quick, same, shaken

from unroll import generate
from unroll.architecture import Architecture
from unroll.attention import Memory
from unroll.data.batches import Batch
from unroll.models.cloze import cloze_loss
from unroll.models.language import LanguageModel, language_model
from unroll.models.masked import EVERY, cloze_of, corrupted
from unroll.transformer import Form, Stack, Transformer, stack, transformer
from unroll.transformer.rotary import BASE, angles, turned
from unroll.types import BadInput, seed

D, W, S = 5, 8, 4
CAUSAL = Form(input=D, width=W, blocks=2, heads=2, mlp=7, reach=3, slots=3)
FORMS = {
  "causal": CAUSAL,
  "as wide": CAUSAL._replace(input=W),
  "both ways": CAUSAL._replace(reach=None, slots=0),
  "memory": CAUSAL._replace(memory=6, weights=True),
  "dropout": CAUSAL._replace(dropout=0.4),
  "locked": CAUSAL._replace(dropout=0.4, locked=True),
}
PLACES = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
MEMORY = Memory(noise(7, B, S, 6), noise(7, B, S, 6), PLACES)


def slow(value):
  return pytest.param(value, marks=pytest.mark.slow)


@functools.cache
def parts(name):
  """A form, parameters, inputs, a carry to start with, and the layer as a program."""
  form = FORMS[name]
  layer = transformer(form)
  params = shaken(layer.init(jax.random.key(1)), 2, 0.3)
  others = {"context": MEMORY} if form.memory else {}

  @jax.jit
  def run(carry, xs, valid=ALWAYS, reset=NEVER):
    masks = {"valid": valid, "reset": reset}
    return layer.unroll(params, carry, xs, **masks, **others)

  key = jax.random.key(5) if form.dropout else None
  carry = seed(layer.carry(params, B), key)
  return form, params, noise(3, T, B, form.input), carry, run


def norm(p, x):
  x = x - x.mean()
  return x / np.sqrt((x * x).mean() + 1e-5) * p.scale + p.bias


def gelu(x):
  return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def rotated(x, position):
  half = len(x) // 2
  z = x[:half] + 1j * x[half:]
  z = z * np.exp(1j * position * BASE ** (-np.arange(half) / half))
  return np.concatenate([z.real, z.imag])


def look(form, query, keys, values):
  """What one step reads of others, head by head; and the mean weights."""
  if not keys:
    return np.zeros(form.width), np.zeros(0)
  found, shares = [], []
  for columns in np.split(np.arange(form.width), form.heads):
    scores = [query[columns] @ key[columns] / math.sqrt(len(columns)) for key in keys]
    weights = np.exp(np.array(scores) - max(scores))
    weights /= weights.sum()
    found.append(sum(w * value[columns] for w, value in zip(weights, values)))
    shares.append(weights)
  return np.concatenate(found), np.mean(shares, axis=0)


def turned_heads(form, x, position):
  return np.concatenate([rotated(h, position) for h in np.split(x, form.heads)])


def reference(form, params, xs, valid, reset):
  """The layer as loops in float64, row by row, step by step."""
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  extra = S if form.weights else 0
  out = np.zeros((*xs.shape[:2], form.width + extra))
  for b in range(xs.shape[1]):
    place, sequence, where = 0, 0, {}
    for t in range(len(xs)):
      if reset is not None and reset[t, b]:
        place, sequence = 0, sequence + 1
      if valid is None or valid[t, b]:
        where[t] = (sequence, place)
        place += 1
    x = {t: xs[t, b].astype(float) for t in where}
    if params.read is not None:
      x = {t: v @ params.read for t, v in x.items()}
    for block in params.blocks:
      own, inner = (
        block.attention,
        {t: norm(block.attention.norm, v) for t, v in x.items()},
      )
      keys = {t: turned_heads(form, v @ own.key, where[t][1]) for t, v in inner.items()}
      values = {t: v @ own.value for t, v in inner.items()}
      for t in where:
        query = turned_heads(form, inner[t] @ own.query, where[t][1])
        seen = [s for s in where if where[s][0] == where[t][0]]
        if form.reach is not None:
          seen = [s for s in seen if 0 <= where[t][1] - where[s][1] <= form.reach]
        read = look(form, query, [keys[s] for s in seen], [values[s] for s in seen])[0]
        x[t] = x[t] + read @ own.output
      weights = {}
      if block.memory is not None:
        own, there = block.memory, np.flatnonzero(PLACES[b])
        keys = [np.float64(MEMORY.values[b, s]) @ own.key for s in there]
        values = [np.float64(MEMORY.values[b, s]) @ own.value for s in there]
        for t in where:
          query = norm(own.norm, x[t]) @ own.query
          read, shares = look(form, query, keys, values)
          x[t] = x[t] + read @ own.output
          weights[t] = np.zeros(S)
          weights[t][there] = shares
      for t in where:
        up = gelu(norm(block.mlp.norm, x[t]) @ block.mlp.up + block.mlp.up_bias)
        x[t] = x[t] + up @ block.mlp.down + block.mlp.down_bias
    for t in where:
      out[t, b, : form.width] = norm(params.norm, x[t])
      if extra:
        out[t, b, form.width :] = weights[t]
  return out


@pytest.mark.parametrize("name", ["causal", slow("as wide"), "both ways", "memory"])
def test_the_layer_is_its_equations(name):
  form, params, xs, carry, run = parts(name)
  for valid, reset in MASKS.values():
    wanted = reference(form, params, xs, valid, reset)
    given = ALWAYS if valid is None else valid, NEVER if reset is None else reset
    close(run(carry, xs, *given)[1], wanted, 2e-5)


@pytest.mark.parametrize("name", ["causal", "memory", slow("dropout"), slow("locked")])
def test_parts_of_a_sequence_are_the_whole(name):
  _, _, xs, start, run = parts(name)
  for valid, reset in (MASKS["holes_resets"], MASKS["padding_resets"], (ALWAYS, NEVER)):
    _, whole = run(start, xs, valid, reset)
    for size in (1, 3):
      carry, found = start, []
      for t in range(0, T, size):
        part = slice(t, t + size)
        carry, ys = run(carry, xs[part], valid[part], reset[part])
        found.append(ys)
      close(jnp.concatenate(found), whole, 1e-5)


def test_masks_may_be_left_out():
  form, params, xs, carry, run = parts("causal")
  _, ys = jax.jit(transformer(form).unroll)(params, carry, xs)
  close(ys, run(carry, xs)[1], 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dropout", "locked"])
def test_dropout_drops(name):
  _, _, xs, carry, run = parts(name)
  drawn = [run(seed(carry, key), xs)[1] for key in (jax.random.key(1), None)]
  assert not np.allclose(*drawn) and not np.allclose(drawn[0], run(carry, xs)[1])


@pytest.mark.parametrize("name", ["causal", "both ways", "memory"])
def test_padding_and_neighbours_change_nothing(name):
  _, _, xs, carry, run = parts(name)
  valid = MASKS["holes"][0]
  after, ys = run(carry, xs, valid)
  again, found = run(carry, np.where(valid[..., None], xs, np.nan), valid)
  same((again, found), (after, ys))
  others = np.where(np.arange(B)[:, None] == 2, xs, noise(4, *xs.shape))
  close(run(carry, others, valid)[1][:, 2], ys[:, 2], 1e-5)
  # The same steps without the padding between them, which stands at the end instead.
  order = np.argsort(~valid, axis=0, kind="stable")
  packed = np.take_along_axis(xs, order[..., None], axis=0)
  ends = np.take_along_axis(valid, order, axis=0)
  moved = np.take_along_axis(np.asarray(ys), order[..., None], axis=0)
  close(run(carry, packed, ends)[1], moved, 1e-5)


@pytest.mark.parametrize("name", ["causal", "memory"])
def test_nothing_is_read_ahead_of_its_time(name):
  _, _, xs, carry, run = parts(name)
  _, ys = run(carry, xs)
  for t in range(1, T):
    later = np.concatenate([xs[:t], noise(t, T - t, B, D)])
    _, found = run(carry, later)
    close(found[:t], ys[:t], 1e-6)
    assert not np.allclose(found[t], ys[t])


def test_a_reset_starts_afresh_and_both_ways_reads_later_steps():
  _, _, xs, start, run = parts("causal")
  carry, _ = run(start, noise(9, T, B, D))
  reset = np.zeros((T, B), bool)
  reset[0] = True
  _, ys = run(carry, xs, ALWAYS, reset)
  close(ys, run(start, xs)[1], 1e-6)
  assert not np.allclose(ys, run(carry, xs)[1])
  _, _, xs, start, run = parts("both ways")
  later = np.concatenate([xs[:-1], noise(9, 1, B, D)])
  assert not np.allclose(run(start, xs)[1][0], run(start, later)[1][0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["causal", "both ways", "memory"])
def test_gradients_are_those_of_differences(name):
  with jax.enable_x64(True):
    layer = transformer(FORMS[name])
    params = shaken(layer.init(jax.random.key(1)), 2, 0.3, np.float64)
    xs = noise(3, T, B, D, dtype=np.float64)
    memory = jax.tree.map(lambda x: x if x.dtype == bool else np.float64(x), MEMORY)
    others = {"context": memory} if name == "memory" else {}
    valid, reset = MASKS["holes_resets"]
    direction = jax.tree.map(
      lambda x: noise(x.size, *x.shape, dtype=np.float64), (params, xs)
    )
    aim = noise(8, T, B, W + (S if name == "memory" else 0), dtype=np.float64)

    @jax.jit
    def loss(params, xs):
      carry = layer.carry(params, B)
      ys = layer.unroll(params, carry, xs, valid=valid, reset=reset, **others)[1]
      return jnp.sum(ys * aim)

    grads = jax.jit(jax.grad(loss, (0, 1)))(params, xs)
    slope = sum(
      jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), grads, direction))
    )
    step = 1e-6
    ends = [
      loss(*jax.tree.map(lambda x, d, s=s: x + s * step * d, (params, xs), direction))
      for s in (1, -1)
    ]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize(
  "length, batch",
  [(0, 2), *(pytest.param(*p, marks=pytest.mark.slow) for p in ((1, 1), (3, 0)))],
)
def test_there_may_be_few_steps_or_rows(length, batch):
  layer, params = transformer(CAUSAL), parts("causal")[1]
  xs = noise(1, length, batch, D)
  carry, ys = jax.jit(layer.unroll)(params, layer.carry(params, batch), xs)
  assert ys.shape == (length, batch, W)
  assert (carry.length == length).all()


def test_angles_know_distances_alone_at_every_position():
  q, k = noise(1, 1, 1, 1, 16), noise(2, 1, 1, 1, 16)

  def score(at, distance):
    by = [angles(jnp.full((1, 1), p, jnp.int32), 16) for p in (at + distance, at)]
    return float(jnp.sum(turned(q, by[0]) * turned(k, by[1])))

  for distance in (0, 1, 77):
    near = [score(at, distance) for at in (0, 12345, 2**30, 2**31 - 100)]
    np.testing.assert_allclose(near, near[0], atol=2e-5)
  assert abs(score(0, 1) - score(0, 2)) > 1e-2


def language(tie=False):
  own = Transformer("transformer", 2, W, 2, 5, 12)
  chosen = stack(own, Architecture(dropout=0.2))
  return language_model(chosen, 7, embedding=W if tie else D, tie=tie)


@pytest.mark.slow
@pytest.mark.parametrize("tie", [False, True])
def test_a_language_model_writes_what_it_predicts(tie):
  model = language(tie)
  tokens = np.random.default_rng(1).integers(7, size=(4, 2), dtype=np.int32)
  params = shaken(model.init(jax.random.key(0), tokens), 3, 0.5)
  carry = model.apply(params, 2, method="initial_carry")

  def apply(params, carry, tokens, valid=None):
    return model.apply(params, tokens, carry, valid=valid)

  key = jax.random.key(0)
  found = generate.sample(apply, params, carry, tokens, key, length=9, temperature=0.0)
  # The text as a whole predicts every one of its tokens.
  text = np.concatenate([tokens, found.tokens])
  logits = jax.jit(apply)(params, carry, text)[1]
  np.testing.assert_array_equal(logits[3:-1].argmax(-1), found.tokens)
  np.testing.assert_array_equal(found.carry.length, 4 + 9 - 1)


@pytest.mark.parametrize(
  "own, layers, says",
  [
    ({"blocks": 3}, {}, "blocks=3 says nothing to model=recurrent"),
    ({"model": "transformer"}, {"cell": "gru"}, "cell=gru says nothing to model=trans"),
    ({"model": "transformer"}, {"hidden": (8, 9)}, "hidden=8,9 says nothing"),
    ({"model": "transformer", "attention_heads": 3}, {}, "multiple of twice the heads"),
    ({"model": "transformer"}, {"dropout": 1.0}, "dropout=1.0: give a rate"),
  ],
)
def test_settings_of_the_other_kind_are_refused(own, layers, says):
  with pytest.raises(BadInput, match=says):
    stack(Transformer(**own), Architecture(**layers)).encoder(4)


def test_settings_build_what_they_say():
  assert stack(Transformer(), Architecture(cell="gru")) == Architecture(cell="gru")
  found = stack(Transformer("transformer", blocks=3), Architecture(dropout=0.1))
  assert found == Stack(Transformer("transformer", blocks=3), 0.1)
  assert found.sizes == [256] * 3
  assert isinstance(language(), LanguageModel)


def masked():
  chosen = stack(Transformer("transformer", 1, W, 2, mlp=6), Architecture())
  model = cloze_of(chosen, 7, embedding=D)
  tokens = np.random.default_rng(1).integers(7, size=(9, 2), dtype=np.int32)
  return model, shaken(model.init(jax.random.key(0), tokens), 3, 0.5), tokens


@pytest.mark.slow
def test_no_token_is_found_by_itself():
  model, params, tokens = masked()
  run = jax.jit(lambda tokens: model.apply(params, tokens))
  logits = run(tokens)
  for t in range(len(tokens)):
    other = tokens.copy()
    other[t] = (other[t] + 1) % 7
    moved = np.abs(run(other) - logits).max((1, 2))
    assert moved[t] == 0
    # Seven steps away a token is hidden in the same pass; all others read it.
    same = np.arange(len(tokens)) % EVERY == t % EVERY
    assert (moved[~same] > 1e-4).all() and (moved[same] == 0).all()


def test_training_finds_what_is_drawn_and_evaluation_all():
  model, params, tokens = masked()
  ones = np.ones(tokens.shape, np.float32)
  batch = Batch(tokens, tokens, ones, ones < 0, None)
  carry = model.apply(params, 2, method="initial_carry")
  loss = jax.jit(cloze_loss(model))
  value, (_, sums) = loss(params, carry, batch)
  logs = jax.nn.log_softmax(model.apply(params, tokens))
  own = -np.take_along_axis(np.asarray(logs), tokens[..., None], -1).mean()
  np.testing.assert_allclose(value, own, rtol=1e-5)
  assert sums["loss"].count == tokens.size
  found = [loss(params, seed(carry, jax.random.key(k)), batch)[1][1] for k in (1, 1, 2)]
  assert found[0]["loss"] == found[1]["loss"] != found[2]["loss"]
  assert found[0]["loss"].count < tokens.size


def test_one_token_in_seven_is_to_be_found_and_most_of_them_hidden():
  tokens = np.random.default_rng(2).integers(50, size=(200, 200), dtype=np.int32)
  chosen, hidden, read = corrupted(jax.random.key(1), tokens, 50)
  changed = np.asarray(read != tokens)
  np.testing.assert_allclose(chosen.mean(), 0.15, atol=0.01)
  np.testing.assert_allclose(hidden.sum() / chosen.sum(), 0.8, atol=0.02)
  np.testing.assert_allclose(changed.sum() / chosen.sum(), 0.1 * 49 / 50, atol=0.02)
  assert not (changed & ~np.asarray(chosen)).any() and not (changed & hidden).any()


def test_a_cache_that_grows_has_what_a_ring_has():
  form, params, xs, ring, run = parts("causal")
  layer = transformer(form._replace(grows=True, slots=1))
  grown, read = layer.carry(params, B), quick(layer.unroll)
  valid = np.arange(4)[:, None] < np.array([4, 0, 2])
  ring, first = run(ring, xs[:4], valid, NEVER[:4])
  grown, found = read(params, grown, xs[:4], valid=valid)
  close(found, first, 1e-5)
  np.testing.assert_array_equal(grown.length, ring.length)
  assert grown.keys[0].shape[2] == 1 + 4
  # What is out of reach may be cut off.
  keys, values = (
    [leaf[:, :, -form.reach :] for leaf in part] for part in (grown.keys, grown.values)
  )
  grown, found = read(params, grown._replace(keys=keys, values=values), xs[4:])
  close(found, run(ring, xs[4:], ALWAYS[4:], NEVER[4:])[1], 1e-5)
  assert grown.keys[0].shape[2] == form.reach + T - 4
