"""Gradients watched while training: by lag as a suffix of the batch has them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import run
from tables import close, noise, quick

from experiments import charlm, memory
from experiments.parts import layers, watching
from experiments.session.settings import Settings
from unroll.architecture import Architecture
from unroll.data.batches import Batch
from unroll.models.language import language_model, next_token_loss
from unroll.records import METRICS, read
from unroll.report.curves import draw
from unroll.types import BadInput

V, T, B = 5, 7, 3
ARCHITECTURE, KEY = Architecture("lstm", 1, (4,)), jax.random.key(0)


def test_norms_are_those_of_a_loop_back_from_the_last_target():
  """Of sequences that end at different steps; the third asks for nothing."""
  model = language_model(ARCHITECTURE, V, embedding=3)
  params = quick(lambda key: model.init(key, jnp.zeros((1, 1), jnp.int32)))(KEY)
  params = jax.tree.map(lambda p: p + 0.3 * noise(7, *p.shape), params)
  ids = np.random.default_rng(0).integers(V, size=(T + 1, B)).astype(np.int32)
  weight = np.ones((T, B), np.float32)
  weight[5:, 1], weight[:, 2] = 0, 0
  batch = Batch(ids[:-1], ids[1:], weight, np.zeros((T, B), bool), None)
  cell = watching.whole(ARCHITECTURE, 3)
  carry = model.apply(params, B, method="initial_carry")

  @quick
  def step(carry, read):
    return model.apply(params, read[None], carry)[0]

  @quick
  def back(carry, read, target, asked, d_layers):
    def run(layers):
      after, logits = model.apply(params, read[None], carry._replace(layers=layers))
      logs = jax.nn.log_softmax(logits[0])
      nats = -jnp.take_along_axis(logs, target[:, None], axis=1)[:, 0]
      return after.layers, jnp.sum(nats * asked)

    return jax.vjp(run, carry.layers)[1]((d_layers, jnp.float32(1)))[0]

  carries, last = [carry], np.array([T - 1, 4, -1])
  for t in range(T - 1):
    carries.append(step(carries[-1], batch.inputs[t]))
  d_layers = jax.tree.map(jnp.zeros_like, carry.layers)
  norms = {}
  for t in reversed(range(T)):
    asked = (last == t).astype(np.float32)
    d_layers = back(carries[t], batch.inputs[t], batch.targets[t], asked, d_layers)
    [layer] = d_layers
    for row in (0, 1):
      if t <= last[row]:
        own = [np.linalg.norm(state[row]) for state in layer]
        norms.setdefault(last[row] - t, []).append([*own, np.linalg.norm(own)])
  found = quick(lambda *at: watching.by_lag(model, cell, next_token_loss, *at))
  seen = found(params, carry, batch)
  assert len(seen) == 4 * 3
  for lag in (0, 1, 2, 4):
    means = np.mean(norms[lag], axis=0)
    for state, mean in zip(("layer_1_c", "layer_1_h", "all"), means):
      close(seen[f"carry_gradient/{state}/{lag}"], jnp.float32(mean), 1e-4)


FLAGS = ["--layers=1", "--hidden=4", "--batch=2", "--seed=1", "--clip_norm=0.05"]


@pytest.mark.slow
def test_a_run_that_is_watched_is_the_same_run(tmp_path):
  """Alone, resumed and as an arm; what is seen as well."""
  flags = [*FLAGS, "--task=temporal_order", "--length=20"]
  flags += ["--eval_every=5", "--checkpoint_every=5"]
  page, look = "memory", "--gradlab_every=3"
  plain = run(tmp_path, page, *flags, "--steps=10", "--workdir=plain")
  assert plain.code == 0, plain.err
  for steps in (5, 10):
    done = run(tmp_path, page, *flags, f"--steps={steps}", look, "--workdir=seen")
    assert done.code == 0, done.err
  whole = run(tmp_path, page, *flags, "--steps=10", look, "--workdir=whole")
  arms = [{"workdir": "arm", "flags": {}}, {"workdir": "b", "flags": {"seed": "2"}}]
  (tmp_path / "arms.json").write_text(json.dumps(arms))
  several = run(tmp_path, page, *flags, "--steps=10", look, "--arms=arms.json")
  assert whole.code == several.code == 0, (whole.err, several.err)
  logs = {name: read(tmp_path / name / METRICS) for name in ("plain", "seen", "whole")}
  looks = {name: seen(records) for name, records in logs.items()}
  assert looks["plain"] == []
  assert [record["step"] for record in looks["whole"]] == [1, 4, 7, 10]
  assert looks["seen"] == looks["whole"]
  assert losses(logs["plain"]) == losses(logs["whole"])
  norms = [r["grad_norm"] for r in logs["whole"] if "grad_norm" in r]
  shares = [record.get("updates_clipped") for record in looks["whole"]]
  assert shares == [
    None,
    *(np.mean(np.array(norms[n - 3 : n]) > 0.05) for n in (3, 6, 9)),
  ]
  for mine, other in zip(seen(read(tmp_path / "arm" / METRICS)), looks["whole"]):
    assert mine == pytest.approx(other, rel=1e-4, abs=1e-9)


@pytest.mark.slow
def test_a_language_model_on_two_devices_is_watched(tmp_path):
  (tmp_path / "book.txt").write_text("the quick brown fox jumps over it. " * 60)
  own = ["--corpus=book.txt", "--truncation=random:8", "--cell=gru", "--steps=4"]
  for devices in (1, 2):
    flags = [*FLAGS, *own, "--gradlab_every=2", f"--devices={devices}"]
    done = run(tmp_path, "charlm", *flags, f"--workdir={devices}")
    assert done.code == 0, done.err
  one, two = (seen(read(tmp_path / name / METRICS)) for name in ("1", "2"))
  assert [record["step"] for record in one] == [1, 3]
  for mine, other in zip(one, two, strict=True):
    assert mine == pytest.approx(other, rel=1e-4)


def seen(records):
  return [record for record in records if "carry_gradient/all/0" in record]


def losses(records):
  return [record["train/loss"] for record in records if "train/loss" in record]


REFUSED = {
  "a Transformer has none": {"model": "transformer"},
  "weight_dropout=0.5: layers": {"weight_dropout": 0.5},
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_has_no_carry_to_look_at_is_refused(said):
  settings = Settings.of(charlm.PAGE, gradlab_every=5, **REFUSED[said])
  with pytest.raises(BadInput, match=f"gradlab_every=5 .*{said}"):
    watching.watch(settings, layers.chosen(settings), 3, None, next_token_loss)


def test_nothing_is_watched_by_default():
  for page in (charlm.PAGE, memory.PAGE):
    assert watching.watch(Settings.of(page), None, 3, None, next_token_loss) is None


def test_what_was_seen_is_drawn():
  records = [
    {"step": n, "carry_gradient/all/0": 1.0, "carry_gradient/all/1": 0.5 / n}
    | ({"updates_clipped": 0.25} if n > 1 else {})
    for n in (1, 11, 21)
  ]
  titles = [axes.get_title(loc="left") for axes in draw(records, title="a").axes]
  assert titles[-2:] == ["Gradient at the carry by lag", "Updates clipped"]
  assert len(draw(records[:1], title="a").axes) == 5
  assert len(draw([], title="a").axes) == 4
