"""Laws of the batches: nothing is lost, nothing counts twice, the step is all there is.

The tokens of these tests are 0, 1, 2, ..., so that a token is its own position.
"""

import itertools
import math
import threading
import time

import numpy as np
import pytest

from unroll.data import prefetch
from unroll.data.batches import Lanes, Source, Stacked, Windows
from unroll.data.prefetch import dispatches
from unroll.types import BadInput

SIZES = [9, 32, 33, 34, 100, 101]  # tokens
SHAPES = [(1, 1), (1, 8), (3, 8), (4, 4), (8, 5), (4, 1000)]  # (batch, length)


def tokens(size):
  return np.arange(size, dtype=np.int32)


def varied(epoch):
  """Chunk lengths from 1 to 5, different in every epoch."""
  return np.random.default_rng((7, epoch)).integers(1, 6, 200)


SOURCES = {
  "lanes": lambda: Lanes(tokens(101), 3, 8),
  "overlap": lambda: Lanes(tokens(101), 3, 8, overlap=5),
  "lengths": lambda: Lanes(tokens(101), 3, 5, lengths=varied),
  "lengths and overlap": lambda: Lanes(tokens(101), 3, 5, lengths=varied, overlap=2),
  "windows": lambda: Windows(tokens(101), 3, 8, seed=1),
  "dense windows": lambda: Windows(tokens(101), 3, 8, stride=3, seed=1),
  "windows in order": lambda: Windows(tokens(101), 3, 8, shuffle=False),
}


def assert_same(a, b):
  for x, y in zip(a, b, strict=True):
    assert (x is None) == (y is None)
    if x is not None:
      np.testing.assert_array_equal(x, y, strict=True)


def epochs(source, n):
  """The batches of the first n epochs, by epoch."""
  steps = itertools.takewhile(lambda s: source.epoch(s) < n, itertools.count())
  grouped = itertools.groupby(steps, source.epoch)
  return [[source[step] for step in group] for _, group in grouped]


def counted(batches, overlap=0):
  """The targets that count as new ones."""
  return np.concatenate(
    [b.targets[overlap:][b.weight[overlap:] == 1] for b in batches]
  ).tolist()


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_types_and_shapes_never_change(source):
  source = source()
  rows = source.length + getattr(source, "overlap", 0)
  for step in range(3 * len(source)):
    batch = source[step]
    dtypes = [x.dtype for x in batch[:4]]
    assert dtypes == [np.int32, np.int32, np.float32, np.bool_]
    assert {x.shape for x in batch if x is not None} == {(rows, 3)}
    assert source.rows == 3
    assert (batch.valid is None) == (source[0].valid is None)
    assert batch.valid is None or batch.valid.dtype == np.bool_


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_the_target_is_the_next_token(source):
  for batch in itertools.chain(*epochs(source(), 2)):
    real = batch.weight == 1
    assert set(np.unique(batch.weight)) <= {0, 1}
    np.testing.assert_array_equal(batch.targets[real], batch.inputs[real] + 1)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_source_is_a_function_of_the_step(source):
  first, again = source(), source()
  far = 5 * len(first)
  assert_same(again[far], first[far])  # asked before all steps before it
  for step in range(far):
    assert_same(first[step], again[step])
    assert first.epoch(step) == again.epoch(step)
  assert repr(first) == repr(again)
  assert first.epoch(0) == 0 and first.epoch(len(first)) == 1
  assert len(list(first)) == len(first)


def test_the_repr_tells_sources_apart():
  arguments = [
    *[{}, {"batch": 4}, {"length": 9}, {"tokens": tokens(102)}],
    *[{"tokens": tokens(101)[::-1]}],
  ]
  lanes = [{"overlap": 1}, {"lengths": varied}]
  windows = [{"seed": 1}, {"stride": 2}, {"shuffle": False}]
  defaults = {"tokens": tokens(101), "batch": 3, "length": 8}
  made = [
    *[Lanes(**defaults | a) for a in arguments + lanes],
    *[Windows(**defaults | a) for a in arguments + windows],
  ]
  assert len({repr(source) for source in made}) == len(made)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_what_is_given_cannot_be_changed(source):
  source = source()
  before = [np.copy(x) for x in source[1][:4]]
  for array in source[1]:
    if array is not None and array.flags.writeable:
      array[...] = 0
  assert_same(source[1][:4], before)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_no_step_before_the_first(source):
  with pytest.raises(IndexError):
    source()[-1]
  with pytest.raises(IndexError):
    source().epoch(-1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("batch", "length"), SHAPES)
@pytest.mark.parametrize("overlap", [0, 1, 13])
def test_lanes_lose_nothing(size, batch, length, overlap):
  source = Lanes(tokens(size), batch, length, overlap=overlap)
  for epoch in epochs(source, 2):
    assert (
      len(epoch) == len(source) == math.ceil(math.ceil((size - 1) / batch) / length)
    )
    assert sorted(counted(epoch, overlap)) == list(range(1, size))


@pytest.mark.parametrize("overlap", [0, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_lanes_of_varied_length_lose_nothing(size, batch, overlap):
  source = Lanes(tokens(size), batch, 5, lengths=varied, overlap=overlap)
  lane = math.ceil((size - 1) / batch)
  for number, epoch in enumerate(epochs(source, 4)):
    assert sorted(counted(epoch, overlap)) == list(range(1, size))
    new = [int(b.weight[overlap:].any(1).sum()) for b in epoch]
    expected = varied(number)[: len(epoch)]
    assert new[:-1] == expected[:-1].tolist()
    assert sum(new) == lane <= expected.sum()


def test_lanes_in_time_are_the_text():
  source = Lanes(tokens(101), 4, 7)  # 100 targets: lanes of 25
  epoch = list(source)
  inputs, targets = (
    np.concatenate([getattr(b, name) for b in epoch])[:25]
    for name in ("inputs", "targets")
  )
  np.testing.assert_array_equal(inputs, np.arange(100).reshape(4, 25).T)
  np.testing.assert_array_equal(targets, inputs + 1)
  weight = np.concatenate([b.weight for b in epoch])
  np.testing.assert_array_equal(weight.all(1), np.arange(28) < 25)


def test_lanes_of_unequal_length_are_padded_at_their_end():
  [batch] = Lanes(tokens(12), 3, 4)  # 11 targets: lanes of 3, 4, 4
  np.testing.assert_array_equal(
    batch.weight, [[1, 1, 1], [1, 1, 1], [1, 1, 1], [0, 1, 1]]
  )
  np.testing.assert_array_equal(batch.inputs[:3], [[0, 3, 7], [1, 4, 8], [2, 5, 9]])
  assert batch.targets[2, 0] == batch.inputs[0, 1]


def test_lanes_start_afresh_once_an_epoch():
  for overlap, lengths in [(0, None), (0, varied), (2, None)]:
    source = Lanes(tokens(101), 3, 5, overlap=overlap, lengths=lengths)
    for epoch in epochs(source, 3):
      resets = np.stack([b.reset for b in epoch])
      assert resets[0, overlap].all()
      assert resets.sum() == 3


def test_every_window_that_holds_the_first_position_starts_there():
  epoch = list(Lanes(tokens(101), 4, 2, overlap=5))
  rows = [np.flatnonzero(b.reset.any(1)).tolist() for b in epoch[:4]]
  assert rows == [[5], [3], [1], []]
  assert all(b.reset[r].all() for b, found in zip(epoch, rows) for r in found)


def test_overlap_repeats_what_came_before():
  epoch = list(Lanes(tokens(101), 4, 7, overlap=3))
  assert not epoch[0].valid[:3].any() and not epoch[0].weight[:3].any()
  assert epoch[0].valid[3:].all()
  for before, after in itertools.pairwise(epoch):
    assert after.valid[:3].all() and after.weight[:3].all()
    np.testing.assert_array_equal(after.inputs[:3], before.inputs[-3:])
    np.testing.assert_array_equal(after.targets[:3], before.targets[-3:])


def test_an_overlap_longer_than_a_chunk_reaches_back_to_the_lane_only():
  second = Lanes(tokens(101), 4, 2, overlap=5)[1]
  np.testing.assert_array_equal(second.valid[:, 1], [0, 0, 0, 1, 1, 1, 1])
  np.testing.assert_array_equal(second.inputs[3:, 1], [25, 26, 27, 28])


def test_padding_is_held_where_the_carry_must_pass_it():
  source = Lanes(tokens(101), 4, 5, lengths=varied)
  position = 0
  for batch in source:
    steps = batch.valid.all(1)
    np.testing.assert_array_equal(batch.weight, batch.valid)
    n = steps.sum()
    assert steps[:n].all()
    np.testing.assert_array_equal(batch.inputs[:n, 0], position + np.arange(n))
    position += n
  assert position == 25


@pytest.mark.parametrize("lengths", [[5] * 3, [5, 0, 5, 5, 5, 5, 5], [6] * 9, []])
def test_lengths_that_do_not_cover_a_lane(lengths):
  source = Lanes(tokens(101), 4, 5, lengths=lambda epoch: np.array(lengths, int))
  with pytest.raises(ValueError, match="add up to 25"):
    source[0]


def test_lanes_may_be_asked_from_two_threads():
  def slow(epoch):
    time.sleep(1e-3)  # lets the other threads in
    return varied(epoch)

  source = Lanes(tokens(101), 2, 5, lengths=slow)
  steps = range(0, 30 * len(source), 7)
  found = {}
  threads = [
    threading.Thread(target=lambda i=i: found.update({i: [*map(source.epoch, steps)]}))
    for i in range(4)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  alone = Lanes(tokens(101), 2, 5, lengths=varied)
  assert [*found.values()] == [[*map(alone.epoch, steps)]] * 4


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("batch", "length"), [s for s in SHAPES if s[1] < 9])
def test_windows_in_order_lose_nothing(size, batch, length):
  source = Windows(tokens(size), batch, length, shuffle=False)
  for epoch in epochs(source, 2):
    assert len(epoch) == len(source)
    assert sorted(counted(epoch)) == list(range(1, size))


@pytest.mark.parametrize("stride", [1, 3, 5, 12])
def test_windows_of_another_stride_are_whole(stride):
  length = 8
  for size in SIZES:
    rows = np.concatenate(
      [
        np.vstack([b.inputs, b.targets[-1:]]).T[b.weight.all(0)]
        for b in Windows(tokens(size), 3, length, stride=stride, shuffle=False)
      ]
    )
    starts = np.arange(0, size - length, stride)
    np.testing.assert_array_equal(rows, starts[:, None] + np.arange(length + 1))


@pytest.mark.parametrize("stride", [0, 1, 3, 12])
@pytest.mark.parametrize("size", SIZES)
def test_shuffled_windows(size, stride):
  length = 8
  source = Windows(tokens(size), 3, length, stride=stride, seed=5)
  seen, orders = set(), []
  for epoch in epochs(source, 60):
    assert len(epoch) == len(source)
    weight = np.hstack([b.weight for b in epoch])
    real = weight.any(0)
    assert weight[:, real].all()  # no window is cut
    starts = np.hstack([b.inputs[0] for b in epoch])[real]
    assert (np.diff(np.sort(starts)) == (stride or length)).all()
    orders.append(starts.tolist())
    seen |= set(counted(epoch))
  assert len({len(order) for order in orders}) == 1
  assert seen == set(range(1, size))  # every target has its turn
  if size > 30:
    assert len({tuple(order) for order in orders}) > 15
  other = Windows(tokens(size), 3, length, stride=stride, seed=6)
  assert size == 9 or any((a.inputs != b.inputs).any() for a, b in zip(source, other))


def test_every_row_of_a_window_starts_afresh():
  for batch in itertools.chain(*epochs(Windows(tokens(101), 3, 8), 2)):
    assert batch.reset[0].all() and not batch.reset[1:].any()
    assert batch.valid is None


def test_the_windows_of_d2l():
  train, val = (Windows(tokens(n), 1024, 32, stride=1) for n in (10_032, 5_032))
  assert sum(b.weight.sum() for b in train) == 10_000 * 32
  assert sum(b.weight.sum() for b in val) == 5_000 * 32


@pytest.mark.parametrize("size", [0, 1, 4])
def test_too_short_for_lanes(size):
  with pytest.raises(BadInput, match=rf"^a batch of 4 .* 5 tokens.* {size}: take"):
    Lanes(tokens(size), 4, 2)
  assert len(Lanes(tokens(5), 4, 2)) == 1


@pytest.mark.parametrize("size", [0, 1, 5])
@pytest.mark.parametrize("shuffle", [True, False])
def test_too_short_for_a_window(size, shuffle):
  with pytest.raises(BadInput, match=rf"^a window of 5 .* 6 tokens.* {size}: take"):
    Windows(tokens(size), 4, 5, shuffle=shuffle)
  [batch] = Windows(tokens(6), 4, 5, shuffle=shuffle)
  assert batch.weight.sum() == 5


@pytest.mark.parametrize("kind", [Lanes, Windows])
def test_arguments(kind):
  for batch, length in [(0, 8), (3, 0), (-1, 8)]:
    with pytest.raises(BadInput, match=rf"^batch={batch} and length={length} "):
      kind(tokens(101), batch, length)
  with pytest.raises(ValueError, match="sequence"):
    kind(tokens(100).reshape(10, 10), 3, 8)
  with pytest.raises(ValueError, match="0 or more"):
    Lanes(tokens(101), 3, 8, overlap=-1)
  with pytest.raises(ValueError, match="0 or more"):
    Windows(tokens(101), 3, 8, stride=-1)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("periods", [(), (5,), (4, 6, 0)])
@pytest.mark.parametrize("per_dispatch", [1, 3, 50])
def test_dispatches_are_the_batches_in_order(source, periods, per_dispatch):
  source = source()
  step = 7
  for count, stacked in dispatches(source, 7, 30, per_dispatch, periods):
    assert 1 <= count <= (1 if step == 7 else per_dispatch)
    for i in range(per_dispatch):
      one = [None if field is None else field[i] for field in stacked]
      assert_same(one, source[step + min(i, count - 1)])
    for period in filter(None, periods):
      assert step // period == (step + count - 1) // period
    full = count == per_dispatch or step in (7, 30 - count)
    step += count
    assert full or any(step % period == 0 for period in periods if period)
  assert step == 30


def test_dispatches_without_end():
  source = SOURCES["lengths"]()
  it = dispatches(source, 2, None, 3)
  assert next(it)[0] == 1
  for number, (count, stacked) in enumerate(itertools.islice(it, 50)):
    assert count == 3
    np.testing.assert_array_equal(stacked.inputs[2], source[3 + number * 3 + 2].inputs)


def test_no_dispatch_when_there_is_nothing_to_do():
  assert list(dispatches(SOURCES["lanes"](), 5, 5, 3)) == []


def test_an_error_of_the_source_is_seen():
  source = Lanes(tokens(101), 4, 5, lengths=lambda epoch: np.array([5] * (5 - epoch)))
  it = dispatches(source, 0, None, 1)
  assert len(list(itertools.islice(it, 5))) == 5
  with pytest.raises(ValueError, match="add up to 25"):
    next(it)


@pytest.mark.parametrize("columns", [slice(None), slice(0, 2), slice(2, 3)])
def test_rows_are_the_columns_of_a_batch(columns):
  for kind in (Lanes, Windows):
    source = kind(tokens(101), 5, 8, columns=columns)
    assert source.rows == source[0].inputs.shape[1] == Stacked([source] * 2).rows


class Buckets(Source[dict]):
  """Batches of their bucket's length T: a dict of `[T, 2]` and `[T, 2, 3]`."""

  rows, bucket = 2, (4, 4, 7, 4, 5, 5, 5, 5, 4, 7, 7)

  def __init__(self):
    self.asked = []

  def __len__(self):
    return len(self.bucket)

  def epoch(self, step):
    return step // len(self)

  def __getitem__(self, step):
    self.asked.append(step)
    ids = step + np.zeros((self.bucket[step % len(self)], 2), np.int32)
    return {"ids": ids, "frames": np.repeat(ids[..., None], 3, -1)}

  def __repr__(self):
    return "Buckets()"


@pytest.mark.parametrize("periods", [(), (3,)])
@pytest.mark.parametrize("first", [1, 3])
def test_a_dispatch_has_one_shape(first, periods):
  source, step, counts = Buckets(), 0, []
  for count, stacked in dispatches(source, 0, 22, 3, periods, first=first):
    lengths = [source.bucket[(step + i) % 11] for i in range(count)]
    assert stacked["ids"].shape == (3, lengths[0], 2) and len(set(lengths)) == 1
    assert stacked["frames"].shape == (3, lengths[0], 2, 3)
    assert [int(ids[0, 0]) for ids in stacked["ids"][:count]] == [
      *range(step, step + count)
    ]
    step += count
    counts.append(count)
  assert step == 22
  if not periods:
    expected = [1, 1] if first == 1 else [2]
    assert counts == [*expected, 1, 1, 3, 1, 1, 2, 2, 1, 1, 3, 1, 1, 2]


def test_no_batch_is_made_twice():
  source = Buckets()
  list(dispatches(source, 0, 22, 3))
  assert source.asked == [*range(22)]


@pytest.mark.parametrize("most", [1, 2 * 101, 10**9])
def test_an_epoch_in_dispatches_of_some_size(monkeypatch, most):
  monkeypatch.setattr(prefetch, "MOST", most)
  source = SOURCES["windows in order"]()
  size = sum(leaf.nbytes for leaf in source[0][:4])
  found = list(prefetch.epoch(source))
  rows = [[row[i] for row in stacked[:4]] for n, stacked in found for i in range(n)]
  assert len(rows) == len(source)
  for row, batch in zip(rows, source):
    assert_same(row, batch[:4])
  assert all(len(stacked.inputs) * size <= max(most, size) for _, stacked in found)
  assert len(found) == 1 or most < len(source) * size
