"""Parameters of another run: taken by name, rows by token; frozen, slowed, thawed."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import run
from tables import quickly

from unroll import transfer
from unroll.data.classes.reader import Reader
from unroll.data.vocabulary import VOCABULARY, Vocabulary
from unroll.loading import load
from unroll.models.meanings import meanings
from unroll.optim import optimizer
from unroll.types import BadInput

DRAW = np.random.default_rng(0)


def leaves(tokens, width, layers, classes):
  def array(*shape):
    return DRAW.normal(size=shape).astype(np.float32)

  layer = [{"w_x": array(width, 3), "w_h": array(3, 3)} for _ in range(layers)]
  return {
    "params": {
      "embed": {"embedding": array(tokens, width)},
      "recurrent": {"core": tuple(layer)},
      "output": {"kernel": array(3, classes), "bias": array(classes)},
    }
  }


def vocabulary(text):
  return Vocabulary.build(text, "whitespace")


def test_names_and_shapes_that_fit_are_taken():
  mine, theirs = leaves(5, 3, 2, 4), leaves(5, 3, 1, 6)
  found = transfer.taken(mine, transfer.Donor(theirs, {}), {})
  own, other, new = (tree["params"] for tree in (mine, theirs, found.params))
  np.testing.assert_array_equal(new["embed"]["embedding"], other["embed"]["embedding"])
  for name in ("w_x", "w_h"):
    first, second = (layer[name] for layer in new["recurrent"]["core"])
    np.testing.assert_array_equal(first, other["recurrent"]["core"][0][name])
    np.testing.assert_array_equal(second, own["recurrent"]["core"][1][name])
  np.testing.assert_array_equal(new["output"]["bias"], own["output"]["bias"])
  assert "recurrent/core/0/w_h" in found.names and "output/kernel" in found.left
  assert len(found.names) + len(found.left) == len(jax.tree.leaves(mine))


def test_what_is_of_a_token_goes_by_it():
  """The same numbers of tokens, of other ones: no shape tells that."""
  here, there = vocabulary("b b b c new new"), vocabulary("a a a b b c")
  assert len(here) == len(there) and here.tokens != there.tokens
  mine, theirs = (leaves(len(known), 3, 1, len(known)) for known in (here, there))
  own, other = (
    meanings("language", {VOCABULARY: known.to_json()}) for known in (here, there)
  )
  found = transfer.taken(mine, transfer.Donor(theirs, other), own)
  old, new, start = (t["params"] for t in (theirs, found.params, mine))
  for i, token in enumerate(here.tokens):
    came, at = (old, there.tokens.index(token)) if token in there.tokens else (start, i)
    for tree, name in (("embed", "embedding"), ("output", "bias")):
      np.testing.assert_array_equal(new[tree][name][i], came[tree][name][at])
    kernels = new["output"]["kernel"][:, i], came["output"]["kernel"][:, at]
    np.testing.assert_array_equal(*kernels)
  three = dict.fromkeys(("embed/embedding", "output/bias", "output/kernel"), (3, 4))
  assert found.parts == three  # <unk>, b and c
  same = transfer.taken(mine, transfer.Donor(theirs, other), other)
  assert not same.parts and not same.left


def test_classes_are_no_tokens_however_many_there_are():
  known = vocabulary("a a b b c")
  reader = Reader(("x", "y", "z", "w"), known, (), (), None, 0)
  assert len(known) == len(reader.classes)
  mine, theirs = leaves(4, 3, 1, 4), leaves(4, 3, 1, 4)
  language = meanings("language", {VOCABULARY: known.to_json()})
  found = transfer.taken(
    mine, transfer.Donor(theirs, language), meanings("classify", reader.files())
  )
  assert set(found.left) == {"output/kernel", "output/bias"} and not found.parts


def test_moves_between_labels_go_by_both():
  """The transitions of a CRF: two labels each, and the ends of a sentence."""
  here, there = ("O", "B-x", "B-y"), ("B-y", "O", "B-z")
  own, other = (
    {("transitions",): ((*labels, ""), (*labels, ""))} for labels in (here, there)
  )
  mine, theirs = (
    {"transitions": DRAW.normal(size=(4, 4)).astype(np.float32)} for _ in range(2)
  )
  found = transfer.taken(mine, transfer.Donor(theirs, other), own)
  new, places = found.params["transitions"], {"O": 1, "B-y": 0, "": 3}
  for i, one in enumerate((*here, "")):
    for j, two in enumerate((*here, "")):
      both = one in places and two in places
      old = theirs["transitions"][places[one], places[two]] if both else None
      assert new[i, j] == pytest.approx(old if both else mine["transitions"][i, j])
  assert found.parts == {"transitions": (3, 4)}


PARAMS = leaves(5, 3, 2, 4)
RATES = {
  "": ({}, 0, 7),
  "frozen": ({"embed": 0.0}, 0, 7),
  "longest": ({"recurrent": 0.5, "recurrent/core/1": 0.1}, 0, 7),
  "thawing": ({}, 10, 9),
  "thawing_one": ({}, 10, 10),
  "thawed": ({"embed": 0.25}, 10, 30),
}
EXPECTED = {  # embed, layer 0, layer 1, output
  "": (1, 1, 1, 1),
  "frozen": (0, 1, 1, 1),
  "longest": (1, 0.5, 0.1, 1),
  "thawing": (0, 0, 0, 1),
  "thawing_one": (0, 0, 1, 1),
  "thawed": (0.25, 1, 1, 1),
}


@pytest.mark.parametrize("name", RATES)
def test_multiples_are_those_of_the_names_and_the_turn(name):
  rates, unfreeze, updates = RATES[name]
  found = transfer.multiples(
    PARAMS, jnp.int32(updates), rates=rates, unfreeze=unfreeze
  )["params"]
  embed, first, second, output = EXPECTED[name]
  assert float(found["embed"]["embedding"]) == pytest.approx(embed)
  for layer, multiple in zip(found["recurrent"]["core"], (first, second)):
    assert {float(leaf) for leaf in jax.tree.leaves(layer)} == {np.float32(multiple)}
  assert float(found["output"]["bias"]) == output


@pytest.mark.parametrize("spec", quickly(["sgd", "adam", "adamw", "momentum"], "adam"))
def test_an_update_is_that_of_each_rate_alone(spec):
  """What is frozen stays bit for bit and does not count where gradients are clipped."""
  grads = jax.tree.map(lambda leaf: 100 * np.cos(leaf), PARAMS)
  rate = jnp.float32(0.1)

  def multiples(params, updates):
    return transfer.multiples(params, updates, rates={"embed": 0.0, "output": 0.5})

  held = optimizer(spec, clip_norm=1.0, multiples=multiples)
  new, state = held.update(grads, held.init(PARAMS), PARAMS, rate)
  new, _ = held.update(grads, state, new, rate)
  masked = jax.tree.map(lambda leaf: leaf, grads)
  masked["params"]["embed"] = jax.tree.map(np.zeros_like, grads["params"]["embed"])
  plain = optimizer(spec, clip_norm=1.0)
  state, whole = plain.init(PARAMS), PARAMS
  for _ in range(2):
    before = whole
    whole, state = plain.update(masked, state, before, rate)
    output = jax.tree.map(
      lambda b, a: b + 0.5 * (a - b),
      before["params"]["output"],
      whole["params"]["output"],
    )
    whole = {"params": {**whole["params"], "output": output}}
  for part in ("recurrent", "output"):
    pairs = zip(
      jax.tree.leaves(new["params"][part]), jax.tree.leaves(whole["params"][part])
    )
    for one, other in pairs:
      np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)
  np.testing.assert_array_equal(
    new["params"]["embed"]["embedding"], PARAMS["params"]["embed"]["embedding"]
  )


def test_a_name_of_no_parameter_is_refused():
  transfer.check(PARAMS, {"recurrent/core": 1.0})
  with pytest.raises(BadInput, match=r"no parameter is called emb: .*embed/embedding"):
    transfer.check(PARAMS, {"emb": 0.0})


SMALL = ["--hidden=4", "--layers=1", "--embedding=5", "--batch=2"]


@pytest.mark.slow
def test_a_classifier_starts_with_a_language_model(tmp_path):
  text = "good film , bad film . the end"
  (tmp_path / "book.txt").write_text(f"{text}\n" * 40)
  lines = "\n".join(f"{('good', 'bad')[i % 2]} new film\t{i % 2}" for i in range(40))
  (tmp_path / "films.tsv").write_text(f"text\tlabel\n{lines}\n")
  corpus = ["--corpus=book.txt", "--tokenizer=word", "--steps=3", "--workdir=lm"]
  assert run(tmp_path, "charlm", *corpus, *SMALL).code == 0
  donor = load(tmp_path / "lm")
  flags = ["--data=films.tsv", *SMALL, "--buckets=1", "--init_from=lm"]
  frozen = [*flags, "--freeze=recurrent,embed", "--eval_every=2"]
  done = run(tmp_path, "classify", *frozen, "--steps=2", "--workdir=run")
  assert done.code == 0, done.err
  assert "starts with 4 of 6 parameters" in done.err
  own = load(tmp_path / "run")
  for one, other in zip(
    jax.tree.leaves(own.params["params"]["recurrent"]),
    jax.tree.leaves(donor.params["params"]["recurrent"]),
  ):
    np.testing.assert_array_equal(one, other)
  shutil.rmtree(tmp_path / "lm")  # a run that is under way needs it no more
  done = run(tmp_path, "classify", *frozen, "--steps=4", "--workdir=run")
  assert done.code == 0, done.err
  assert "resumed run at step 2" in done.err
  for more, said in (
    ([], "lm"),
    (["--init_from="], "no parameter is called emb"),
  ):
    done = run(tmp_path, "classify", *flags, *more, "--freeze=emb", "--workdir=no")
    assert done.code == 2 and said in done.err and not (tmp_path / "no").exists()
