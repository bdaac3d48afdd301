"""Units and what they follow; the page that shows them."""

import json
import re

import numpy as np
import pytest
from commands import run

from unroll.diagnose.following import Follower, followers, properties
from unroll.report.units import Reading, page

TEXT = 'Ab "c(d)"\n  [x] 12,\n'


def test_properties_after_each_character():
  found = properties(list(TEXT))

  def shown(name):
    return "".join(str(int(value)) for value in found[name])

  #                                        A b _ " c ( d ) " \n _ _ [ x ] _ 1 2 , \n
  assert shown("within double quotes") == "00011111000000000000"
  assert shown("depth of brackets") == "00000110000011000000"
  assert shown("within brackets") == shown("depth of brackets")
  assert shown("indentation of the line") == "00000000001222222222"
  assert shown("capital letter") == "1" + "0" * 19
  assert shown("digit") == "00000000000000001100"
  assert shown("line break") == "00000000010000000001"
  assert found["place in the line"].tolist() == [*range(1, 10), 0, *range(1, 10), 0]
  assert shown("place in the word") == "12001010000001001200"


def test_properties_after_tokens_are_those_after_their_last_characters():
  tokens = ['Ab "', "c(d", ')"\n', "  [x] 1", "2,\n"]
  ends = np.cumsum([*map(len, tokens)]) - 1
  single = properties(list(TEXT))
  for name, values in properties(tokens).items():
    np.testing.assert_array_equal(values, single[name][ends])


def test_what_is_the_same_everywhere_is_no_property():
  assert "digit" not in properties(list("no number"))


def test_followers_are_ranked_by_correlation():
  draw = np.random.default_rng(0)
  values = draw.normal(size=500)
  noise = draw.normal(size=(500, 4))
  states = np.stack([noise[:, 0], -3 * values + 5, np.ones(500), values], axis=1)
  states[:, 3] += noise[:, 3]
  [(name, found)] = followers(states, {"x": values}, most=3).items()
  assert name == "x" and [one.unit for one in found] == [1, 3, 0]
  expected = [np.corrcoef(values, states[:, i])[0, 1] for i in (1, 3, 0)]
  np.testing.assert_allclose([one.correlation for one in found], expected)
  [last] = followers(states[:, 2:3], {"x": values})["x"]
  assert last == Follower(0, 0.0)


def test_the_page_holds_what_was_read(tmp_path):
  states = {"layer 1 c": np.array([[0.0, 4.0], [-1.0, 2.0], [0.5, -4.0]])}
  tokens = ["</script>", "é", "\n"]
  nats = np.array([np.nan, 1.25, 0.5])
  reading = Reading(tokens, nats, states, {"digit": [Follower(1, 0.5)]})
  text = page(reading, "a <b> & c", tmp_path / "units.html").read_text("utf-8")
  assert "<title>a &lt;b&gt; &amp; c</title>" in text
  [data] = re.findall(r'id="data">(.*?)</script>', text)
  found = json.loads(data)
  assert found["tokens"] == tokens and found["nats"] == [None, 1.25, 0.5]
  assert found["largest"] == [1, 4] and found["states"] == [["layer 1 c", 2]]
  assert found["followers"] == {"digit": [[1, 0.5]]}
  assert "http" not in text.replace("http-equiv", "")


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["char", "word"])
def test_a_run_is_read(tokenizer, tmp_path):
  line = 'the (quick) "brown fox" jumps over the lazy dog\n'
  (tmp_path / "book.txt").write_text(line * 60)
  flags = ("--hidden=6", "--layers=2", "--embedding=4", f"--tokenizer={tokenizer}")
  done = run(
    *(tmp_path, "charlm", "--corpus=book.txt", *flags, "--steps=3", "--length=5"),
    *("--batch=2", "--eval_window=32", "--workdir=run"),
  )
  assert done.code == 0, done.err
  found = run(tmp_path, "units", "--workdir=run", "--length=50", "--json")
  assert found.code == 0, found.err
  assert found.json["nats"] > 0 and "place in the line" in found.json["followers"]
  text = (tmp_path / "run" / "units.html").read_text("utf-8")
  data = json.loads(re.findall(r'id="data">(.*?)</script>', text)[0])
  assert [name for name, _ in data["states"]] == [
    *(f"layer {layer} {state}" for layer in (1, 2) for state in "ch")
  ] or len(data["states"]) == 4
  assert len(data["tokens"]) == 50
  (tmp_path / "own.txt").write_text("the fox")
  own = run(tmp_path, "units", "--workdir=run", "--input=own.txt", "--json")
  assert own.code == 0, own.err
  for flags, said in {
    ("--workdir=none",): "none holds no config.json",
    ("--workdir=run", "--start=1000000"): "start=1000000: from there on",
  }.items():
    refused = run(tmp_path, "units", *flags)
    assert refused.code == 2 and said in refused.err
