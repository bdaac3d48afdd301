"""A stream of copies, and the page that learns it by gradients that are cut short."""

import numpy as np
import pytest
from commands import run

from experiments.parts import copies as parts
from experiments.parts.copies import BLANK, COPIED, DELIMITER, SYMBOLS


def test_what_was_shown_is_asked_for_ten_steps_later():
  x, y = parts.copies(np.random.default_rng(0), 600, 8)
  assert x.shape == y.shape == (600, 8) and x.dtype == y.dtype == np.int32
  assert set(np.unique(x)) == set(range(SYMBOLS))
  since = np.full(8, -1)
  begun = 0
  for step in range(600):
    since = np.where(x[step] == DELIMITER, 0, np.where(since < 0, since, since + 1))
    known = since >= 0  # an answer begun before the first step is unknown here
    begun += np.sum(since == 0)
    asked = x[step - COPIED] if step >= COPIED else np.full(8, BLANK)
    expected = np.where(since >= COPIED, asked, BLANK)
    assert np.all((y[step] == expected)[known]), step
    assert np.all((x[step] > DELIMITER)[(0 < since) & (since < COPIED)])
    assert np.all((x[step] == BLANK)[since >= COPIED])
  assert begun > 8 * 600 / 20  # some begin before an answer is finished


def test_sequences_begin_at_steps_of_their_own():
  x, _ = parts.copies(np.random.default_rng(0), 200, 32)
  assert len(set(np.argmax(x == DELIMITER, axis=0))) > 10


SMALL = ("--length=400", "--units=8", "--batch=4", "--epochs=2", "--seeds=2", "--json")


@pytest.mark.slow
def test_perplexities_stand_beside_the_published(tmp_path):
  schemes = "--schemes=tbptt:5,9,adaptive:0.9,5,20,uoro:10"
  done = run(tmp_path, "copying", schemes, *SMALL)
  assert done.code == 0, done.err
  found = done.json["schemes"]
  assert [*found] == ["tbptt:5,9", "adaptive:0.9,5,20", "uoro:10"]
  assert [one["published"] for one in found.values()] == [1.646, 1.022, None]
  for one in found.values():
    assert len(one["perplexity"]) == 2
    for perplexity, by_epoch in zip(one["perplexity"], one["test_by_epoch"]):
      assert len(by_epoch) == 2 and perplexity in by_epoch
      assert 1 < perplexity < SYMBOLS + 1


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["full", "snap1", "random:10", "tbptt:300,500", "no"])
def test_what_takes_no_steps_of_one_length_is_refused(tmp_path, spec):
  done = run(tmp_path, "copying", f"--schemes={spec}", *SMALL)
  assert done.code == 2 and done.err.count("\n") == 1
