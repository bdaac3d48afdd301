"""What comes in is cut into the batches that the whole would be cut into."""

import os
import threading
import time

import jax
import numpy as np
import pytest

from unroll.data.batches import Lanes
from unroll.data.live import Incoming, LiveText, arriving
from unroll.data.packed import Packed
from unroll.data.series.gaps import filled
from unroll.data.series.horizons import cut
from unroll.data.series.live import LiveSeries
from unroll.data.series.scaler import Scaler
from unroll.data.series.stamps import Clock
from unroll.data.series.value import Series
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

TEXT = "Über den Wörtern, wo\nnichts 🙂 ist\nund alles, auch\n\nnichts\n" * 3


class Blocks:
  """What is read of a stream, a block at a time."""

  name = "blocks"

  def __init__(self, data, size, standard=True):
    self.blocks = [data[i : i + size] for i in range(0, len(data), size)]
    self.standard = standard

  def read(self):
    return self.blocks.pop(0) if self.blocks else None


def never():
  return False


def read(source, start=0, most=3):
  """The batches of a stream from a step on."""
  found = []
  for count, batches in arriving(source, start, None, most, (), never):
    found += [jax.tree.map(lambda leaf, i=i: leaf[i], batches) for i in range(count)]
  return found


def equal(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)
  assert jax.tree.structure(one) == jax.tree.structure(other)


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize("tokenizer", ["char", "byte", "word", "whitespace"])
def test_a_stream_is_one_lane(tokenizer, size):
  vocabulary = Vocabulary.build(TEXT, tokenizer)
  source = LiveText(Blocks(TEXT.encode(), size), vocabulary, length=4)
  lane = Lanes(vocabulary.encode(TEXT), 1, 4)
  batches = read(source)
  assert len(batches) == (vocabulary.encode(TEXT).size - 1) // 4
  for step, batch in enumerate(batches):
    equal(batch, lane[step])
  shapes = jax.tree.map(np.shape, batches[0])
  assert shapes == jax.tree.map(np.shape, source.example())


def test_overlapping_windows():
  vocabulary = Vocabulary.build(TEXT)
  source = LiveText(Blocks(TEXT.encode(), 5), vocabulary, length=2, overlap=3)
  lane = Lanes(vocabulary.encode(TEXT), 1, 2, overlap=3)
  batches = read(source)
  assert len(batches) > 20
  for step, batch in enumerate(batches):
    found, expected = batch, lane[step]
    np.testing.assert_array_equal(found.valid, expected.valid)
    np.testing.assert_array_equal(found.weight, expected.weight)
    for one, other in zip(found[:2], expected[:2]):
      np.testing.assert_array_equal(one * found.valid, other * found.valid)
    np.testing.assert_array_equal(found.reset, expected.reset)


def test_a_file_is_taken_up_where_learning_was(tmp_path):
  vocabulary = Vocabulary.build(TEXT)
  path = tmp_path / "text"
  path.write_text(TEXT, "utf-8")

  def source(overlap=0):
    return LiveText(Incoming(str(path)), vocabulary, 4, overlap)

  for overlap in (0, 3):
    whole = read(source(overlap))
    for one, other in zip(read(source(overlap), start=7), whole[7:], strict=True):
      equal(one, other)


def test_standard_input_is_taken_up_where_it_is():
  vocabulary = Vocabulary.build(TEXT)
  source = LiveText(Blocks(TEXT.encode(), 9), vocabulary, length=4, overlap=2)
  first, second, *_ = read(source, start=5)
  tokens = vocabulary.encode(TEXT)
  assert first.inputs[2:, 0].tolist() == tokens[:4].tolist()
  assert first.valid[:, 0].tolist() == [0, 0, 1, 1, 1, 1]  # nothing was read before
  assert second.inputs[:, 0].tolist() == tokens[2:8].tolist()
  assert not first.reset.any()


def test_what_is_no_text_is_replaced():
  vocabulary = Vocabulary.build("ab�")
  [batch] = read(LiveText(Blocks(b"a\xffb", 1), vocabulary, length=2))
  assert batch.targets[:, 0].tolist() == vocabulary.encode("�b").tolist()
  [batch] = read(LiveText(Blocks(b"a\xffb", 1), Vocabulary.build("", "byte"), 2))
  assert batch.targets[:, 0].tolist() == [0xFF, ord("b")]


def test_documents_are_read_apart():
  vocabulary = Vocabulary.build(TEXT)
  end = int(vocabulary.encode("\n")[0])
  source = Packed(LiveText(Blocks(TEXT.encode(), 3), vocabulary, 4), end)
  lane = Packed(Lanes(vocabulary.encode(TEXT), 1, 4), end)
  assert source.live
  for step, batch in enumerate(read(source)):
    equal(batch, lane[step])


def test_no_dispatch_crosses_a_period():
  source = LiveText(Blocks(TEXT.encode(), 10_000), Vocabulary.build(TEXT), 1)
  counts = [count for count, _ in arriving(source, 0, 17, 5, (7, 0), never)]
  assert counts == [5, 2, 5, 2, 3]


def test_a_file_that_grows(tmp_path):
  path = tmp_path / "log"
  path.write_bytes(b"abcde")
  vocabulary = Vocabulary.build("abcdefghij")

  def write():
    time.sleep(0.3)
    with path.open("ab") as file:
      file.write(b"fghij")

  writer = threading.Thread(target=write)
  writer.start()
  batches = read(LiveText(Incoming(str(path), follow=1.0), vocabulary, 3))
  writer.join()
  assert "".join(vocabulary.decode(b.targets[:, 0]) for b in batches) == "bcdefghij"


def test_a_stop_ends_the_wait():
  reading, writing = os.pipe()
  incoming = Incoming(f"/dev/fd/{reading}")
  source = LiveText(incoming, Vocabulary.build("ab"), 1)
  asked = iter([False, True])
  assert source.ready(0, 1, lambda: next(asked)) == 0
  os.close(writing)
  os.close(reading)


def test_what_cannot_be_read(tmp_path):
  for path in (tmp_path, tmp_path / "none"):
    with pytest.raises(BadInput, match=f"{path} cannot be read"):
      Incoming(str(path))
  source = LiveText(Blocks(b"a", 1), Vocabulary.build("a"), 1)
  with pytest.raises(BadInput, match="ended before there was a batch"):
    source.ready(0, 1, never)
  assert LiveText(Blocks(b"a", 1), Vocabulary.build("a"), 1).ready(3, 1, never) == 0


VALUES = np.random.default_rng(0).normal(size=(40, 2))
LIKE = Series("s", Clock("integer", 0, 1), ("y", "x"), 1, VALUES)
SCALER = Scaler(np.array([0.5, -1.0]), np.array([2.0, 3.0]))


def csv(values, header="t,x,y\n"):
  rows = (f"{i},{x!r},{y!r}\n" for i, (y, x) in enumerate(values.tolist()))
  return (header + "".join(rows)).replace("nan", "").encode()


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("size", [1, 11, 10_000])
def test_rows_become_windows_that_share_no_target(size, horizon):
  values = VALUES.copy()
  values[7, 0] = np.nan
  source = LiveSeries(Blocks(csv(values), size), LIKE, SCALER, 5, horizon)
  batches = read(source)
  assert len(batches) == 35 // horizon
  whole = filled((values - SCALER.mean) / SCALER.scale, "forward")
  scaled = LIKE._replace(values=whole.values)
  known = np.zeros((40 + horizon, 0), np.float32)
  for step, batch in enumerate(batches):
    origin = np.array([5 + step * horizon])
    equal(batch, cut(scaled, whole, known, origin, 5, horizon))


def test_rows_that_are_none():
  def ready(data):
    source = LiveSeries(Blocks(data, 16), LIKE, SCALER, 2, 1)
    return read(source)

  with pytest.raises(BadInput, match="line 4, column y: 'x' is not a number"):
    ready(b"t,x,y\n1,2,3\n2,3,4\n3,4,x\n")
  with pytest.raises(BadInput, match="blocks has no column 'x': it has t, y"):
    ready(b"t,y\n1,2\n3,4\n")
  with pytest.raises(BadInput, match="line 2: a value is missing"):
    ready(b"t,x,y\n1,,3\n2,3,4\n")
