"""Laws of the synthetic tasks: what is asked follows from what is read, and the trivial
guess has the loss that it is said to have."""

import collections
import itertools
import math

import jax
import numpy as np
import pytest

from experiments.session.training import Training
from unroll.data.synthetic import grammars
from unroll.data.synthetic.named import TASKS
from unroll.data.synthetic.task import EVALUATION, Sequences
from unroll.settings import described
from unroll.types import BadInput

LENGTHS = {name: [max(task.least, 4), 37, 60] for name, task in TASKS.items()}
CASES = [(name, length) for name, some in LENGTHS.items() for length in some]
WINDOWS = {
  "temporal_order": [(10, 20), (50, 60)],
  "temporal_order_3": [(10, 20), (33, 43), (66, 76)],
}


def source(name, length=40, batch=5, **options):
  options = {"seed": 3, "batches": 7, **options}
  return Sequences(TASKS[name], length, batch, **options)


def columns(batch):
  """Each sequence without its padding: what is read, asked and weighed."""
  for b in range(batch.weight.shape[1]):
    real = slice(None) if batch.valid is None else batch.valid[:, b]
    yield tuple(leaf[real, b] for leaf in (batch.inputs, batch.targets, batch.weight))


def once(weight):
  """Asked at the end alone."""
  return [0.0] * (len(weight) - 1) + [1.0] == weight.tolist()


def adding(length, read, asked, weight):
  assert len(read) == length and once(weight)
  total, marks = 0, 0
  for value, mark in read:
    assert 0 <= value < 1 and mark in (0, 1)
    if mark == 1:
      total, marks = total + value, marks + 1
  assert marks == 2
  np.testing.assert_allclose(asked[-1], total, rtol=1e-6)


def of_1997(low, hidden, combined):
  def law(length, read, asked, weight):
    assert length <= len(read) <= length + length // 10 and once(weight)
    marked = [step for step, (_, mark) in enumerate(read) if mark == 1]
    ends = [step for step, (_, mark) in enumerate(read) if mark == -1]
    assert ends == [0, len(read) - 1] and len(marked) in (1, 2)
    assert all(step < max(10, length // 2) for step in marked)
    assert all(low <= value <= 1 for value, _ in read)
    if len(marked) == 1:  # the other is the first pair, whose mark is not seen
      marked.append(0)
      assert read[0][0] == hidden
    assert min(marked) < 10
    np.testing.assert_allclose(asked[-1], combined(*(read[m][0] for m in marked)), 1e-6)

  return law


def copy(length, read, asked, weight):
  assert len(read) == length + 20 and weight.all()
  for step in range(len(read)):
    if step < 10:
      assert 1 <= read[step] <= 8
    else:
      assert read[step] == (9 if step == 10 + length - 1 else 0)
    wanted = read[step - length - 10] if step >= length + 10 else 0
    assert asked[step] == wanted


def order(windows):
  def law(length, read, asked, weight):
    assert length <= len(read) <= length + length // 10 and once(weight)
    assert read[0] == 4 and read[-1] == 5
    seen = [(step, symbol) for step, symbol in enumerate(read) if symbol > 5]
    assert len(seen) == len(windows)
    for (step, _), (low, high) in zip(seen, windows):
      assert low * length // 100 <= step <= high * length // 100
    assert asked[-1] == int("".join(str(symbol - 6) for _, symbol in seen), 2)
    assert all(symbol < 4 for symbol in read[1:-1] if symbol < 6)

  return law


def recall(length, read, asked, weight):
  assert len(read) == length and once(weight)
  assert (read[0], read[-1]) == (10, 11) and read[1] in (12, 13)
  assert asked[-1] == read[1] - 12 and (read[2:-1] < 10).all()


def parity(length, read, asked, weight):
  assert len(read) == length and weight.all()
  odd = 0
  for bit, answer in zip(read, asked):
    odd ^= int(bit)
    assert answer == odd


def dyck(length, read, asked, weight):
  assert 2 <= len(read) <= length and weight.all()
  stack = []
  for symbol, answer in zip(read, asked):
    if symbol < 2:
      stack.append(symbol)
    else:
      assert stack.pop() == symbol - 2
    assert answer == (1 + stack[-1] if stack else 0)
  assert not stack


def anbncn(length, read, asked, weight):
  assert 4 <= len(read) <= length and weight.all()
  words = ["0" + "1" * n + "2" * n + "3" * n + "." for n in range(1, length)]
  sets = ["1", "12", "2", "3", "."]
  text = "".join(map(str, read))
  assert text + "." in words
  for step, answer in enumerate(asked):
    so_far = text[: step + 1]
    after = {word[step + 1] for word in words if word.startswith(so_far)}
    assert set(sets[answer]) == after


# name -> what must be true of (length, read, asked, weight) of a sequence.
LAW = {
  "adding": adding,
  "adding_1997": of_1997(-1, 0, lambda one, other: 0.5 + (one + other) / 4),
  "multiplication": of_1997(0, 1, lambda one, other: one * other),
  "copy": copy,
  **{name: order(windows) for name, windows in WINDOWS.items()},
  "recall": recall,
  "parity": parity,
  "dyck": dyck,
  "anbncn": anbncn,
}


@pytest.mark.parametrize("name, length", CASES)
def test_answers_follow_from_what_is_read(name, length):
  batch = source(name, length, 200)[2]
  for read, asked, weight in columns(batch):
    LAW[name](length, read, asked, weight)


@pytest.mark.parametrize("name", TASKS)
def test_padding_is_zero_and_counts_nothing(name):
  batch = source(name, 60, 50)[1]
  if batch.valid is None:
    assert name in ("adding", "copy", "recall", "parity")
    return
  sizes = batch.valid.sum(axis=0)
  assert len(set(sizes)) > 3
  np.testing.assert_array_equal(
    batch.valid, np.arange(len(batch.valid))[:, None] < sizes
  )
  for leaf in (batch.inputs, batch.targets, batch.weight):
    assert not leaf[~batch.valid].any()


@pytest.mark.parametrize("name", TASKS)
def test_arrays_have_the_types_and_ranges_of_the_task(name):
  task, batch = TASKS[name], source(name)[0]
  assert batch.weight.dtype == np.float32
  assert batch.weight.shape == batch.targets.shape == batch.inputs.shape[:2]
  assert batch.targets.dtype == (np.int32 if task.classes else np.float32)
  example = task.example
  assert batch.inputs.dtype == example.dtype
  assert batch.inputs.shape[2:] == example.shape[2:]
  if task.symbols:
    assert set(np.unique(source(name, batch=300)[0].inputs)) == set(range(task.width))
  if task.classes:
    found = source(name, batch=300)[0]
    assert set(np.unique(found.targets[found.weight > 0])) == set(range(task.classes))


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_is_a_function_of_seed_and_step(name):
  batches = {
    (seed, step): source(name, seed=seed)[step]
    for seed, step in itertools.product((0, 1, EVALUATION), (0, 1, 9))
  }
  for (seed, step), batch in reversed(batches.items()):
    again = source(name, seed=seed)[step]
    jax.tree.map(np.testing.assert_array_equal, batch, again)
  assert len({batch.inputs.tobytes() for batch in batches.values()}) == 9


@pytest.mark.parametrize("name", TASKS)
def test_columns_are_those_of_the_whole_batch(name):
  whole, some = source(name)[3], source(name, columns=slice(1, 4))
  assert some.rows == 3
  part = jax.tree.map(lambda leaf: leaf[:, 1:4], whole)
  jax.tree.map(np.testing.assert_array_equal, some[3], part)


def test_no_training_has_the_sequences_of_an_evaluation():
  assert described(Training)["seed"].most < EVALUATION


# What the trivial guess of a task knows of (step, symbol); numbers are guessed alike.
KNOWN = {
  "copy": lambda step, symbol: step,
  "dyck": lambda step, symbol: symbol,
  "anbncn": lambda step, symbol: symbol,
}


def guessed(name, batch):
  """The mean loss of the best guess without memory, of the shares in the data."""
  there = batch.weight > 0
  asked = batch.targets[there]
  if not TASKS[name].classes:
    return np.mean(np.square(asked - asked.mean(dtype=np.float64)))
  step = np.broadcast_to(np.arange(len(there))[:, None], there.shape)[there]
  known = KNOWN.get(name, lambda step, symbol: np.zeros_like(step))
  key = known(step, batch.inputs[there])
  counts = collections.Counter(zip(key.tolist(), asked.tolist()))
  seen = collections.Counter(key.tolist())
  nats = sum(n * math.log(n / seen[key]) for (key, _), n in counts.items())
  return -nats / len(asked)


@pytest.mark.parametrize("name", TASKS)
def test_the_trivial_loss_is_that_of_a_guess_without_memory(name):
  size = 20_000 if TASKS[name].classes else 200_000
  for length in (max(TASKS[name].least, 6), 30):
    found = guessed(name, source(name, length, size)[0])
    np.testing.assert_allclose(found, TASKS[name].trivial(length), rtol=0.01)


@pytest.mark.parametrize("name, length, loss", [
  ("adding", 600, 1 / 6),
  ("copy", 500, 10 * math.log(8) / 520),
  ("temporal_order", 100, math.log(4)),
])  # fmt: skip
def test_trivial_losses_of_the_papers(name, length, loss):
  assert TASKS[name].trivial(length) == pytest.approx(loss, rel=1e-12)


def test_balanced_words_of_one_size_are_equally_likely():
  random, pairs = np.random.default_rng(5), np.full(20_000, 3)
  words = grammars._balanced(random, pairs, 8)
  assert not words[6:].any()
  counts = collections.Counter(map(bytes, words.T))
  assert len(counts) == 5
  np.testing.assert_allclose(list(counts.values()), 4000, rtol=0.06)


@pytest.mark.parametrize("name", TASKS)
def test_a_length_that_is_too_short_is_refused(name):
  """At the shortest there is something to remember: a loss can be compared."""
  least = TASKS[name].least
  assert TASKS[name].trivial(least) > 0
  source(name, least)[0]
  with pytest.raises(BadInput, match=f"length={least - 1}: this task needs {least}"):
    source(name, least - 1)


def test_epochs_end_and_steps_begin_at_0():
  some = source("parity")
  assert len(some) == 7 and [some.epoch(step) for step in (0, 6, 7)] == [0, 0, 1]
  with pytest.raises(IndexError, match="step must be 0 or more"):
    some[-1]


def test_a_digest_is_of_the_first_batch():
  digests = {
    source(name, length, seed=seed).digest()
    for name, length, seed in [
      ("parity", 9, 1),
      ("parity", 9, 2),
      ("parity", 10, 1),
      ("recall", 9, 1),
    ]
  }
  assert len(digests) == 4
  assert source("parity", 9, seed=1).digest() in digests
