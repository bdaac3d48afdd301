"""Laws of moving shapes, of clips of stored frames, and what a file may hold."""

import itertools
import zipfile

import jax
import numpy as np
import pytest

from experiments.parts import video
from experiments.parts.video import Video
from experiments.session.training import Training
from unroll.data.video import arrays, moving
from unroll.data.video.clips import Stored, grey
from unroll.data.video.moving import EVALUATION, Moving
from unroll.settings import described
from unroll.types import BadInput

SIZE, STEPS = 16, 40


def source(**options):
  options = {"horizon": 3, "seed": 3, "batches": 7, **options}
  return Moving(12, options.pop("shapes", 2), 5, options.pop("length", 8), **options)


def scene(batch=200, shapes=1, seed=0):
  return moving.scene(np.random.default_rng(seed), batch, shapes, SIZE)


def test_a_batch_is_a_function_of_seed_and_step():
  batches = {
    (seed, step): source(seed=seed)[step]
    for seed, step in itertools.product((0, 1, EVALUATION, EVALUATION + 1), (0, 1, 9))
  }
  for (seed, step), batch in reversed(batches.items()):
    jax.tree.map(np.testing.assert_array_equal, batch, source(seed=seed)[step])
  assert len({batch.frames.tobytes() for batch in batches.values()}) == 12
  assert described(Training)["seed"].most < EVALUATION


def test_every_clip_of_a_batch_is_another():
  frames = source()[2].frames
  assert frames.dtype == np.float32 and frames.shape == (8, 5, 12, 12, 1)
  assert len({clip.tobytes() for clip in np.moveaxis(frames, 1, 0)}) == 5
  assert 0 <= frames.min() < 0.01 and 0.99 < frames.max() <= 1


def test_columns_are_those_of_the_whole_batch():
  whole, some = source()[3], source(columns=slice(1, 4))
  assert some.rows == 3
  part = jax.tree.map(lambda leaf: leaf[:, 1:4], whole)
  jax.tree.map(np.testing.assert_array_equal, some[3], part)


def test_shapes_stay_inside():
  drawn = scene(shapes=3)
  at = moving.centres(drawn, STEPS, SIZE)
  assert (at - drawn.reach > -1e-9).all() and (at + drawn.reach < SIZE + 1e-9).all()
  # And reach the walls.
  assert (at - drawn.reach).min() < 0.05 and (at + drawn.reach).max() > SIZE - 0.05


def test_a_velocity_is_constant_between_bounces():
  drawn = scene()
  steps = np.diff(moving.centres(drawn, STEPS, SIZE), axis=0)
  room = SIZE - 2 * drawn.reach
  bounced = 0
  for b, axis in itertools.product(range(200), range(2)):
    velocity = drawn.velocity[b, 0, axis]
    for step in steps[:, b, 0, axis]:
      if abs(abs(step) - abs(velocity)) < 1e-9:
        continue
      assert abs(step) < abs(velocity) < room[b, 0, axis]  # a bounce within the step
      bounced += 1
  assert 0.02 < bounced / steps.size < 0.3
  speed = np.linalg.norm(drawn.velocity, axis=-1) / SIZE
  assert speed.min() >= moving.SPEED[0] and speed.max() <= moving.SPEED[1]


def test_a_shape_is_the_same_light_wherever_it_is():
  drawn = scene()
  frames = moving.drawn(drawn, moving.centres(drawn, STEPS, SIZE), SIZE)
  light = frames.sum((2, 3, 4), dtype=np.float64)
  np.testing.assert_allclose(light, np.broadcast_to(light[0], light.shape), rtol=1e-5)
  area = {
    "square": 4,
    "disc": np.pi,
    "bar": 1.4,
    "upright bar": 1.4,
    "cross": 2.31,
  }  # 2.8 - 0.7²
  assert list(area) == list(moving.SHAPES)
  own = np.array(list(area.values()))[drawn.kind[:, 0]] * drawn.radius[:, 0] ** 2
  np.testing.assert_allclose(light[0], own, rtol=1e-5)


def test_a_pixel_is_as_grey_as_it_is_covered():
  """Of a disc beside a square, against a grid of points within each pixel."""
  square, disc = 0, list(moving.SHAPES).index("disc")
  kind, radius = np.array([[square, disc]]), np.array([[1.7, 2.6]])
  at = np.array([[[[3.2, 4.9], [10.4, 8.3]]]])
  [[frame]] = moving.drawn(moving.Scene(kind, radius, at[0], at[0]), at, SIZE)
  points = (np.arange(20 * SIZE) + 0.5) / 20
  x, y = points[None, :], points[:, None]
  inside = (abs(x - 3.2) < 1.7) & (abs(y - 4.9) < 1.7)
  inside |= (x - 10.4) ** 2 + (y - 8.3) ** 2 < 2.6**2
  share = inside.reshape(SIZE, 20, SIZE, 20).mean((1, 3))
  np.testing.assert_allclose(frame[..., 0], share, atol=0.15)  # strips are no circle
  np.testing.assert_allclose(frame[:, :7, 0], share[:, :7], atol=0.06)


def test_what_is_too_small_is_refused():
  with pytest.raises(BadInput, match="size=3: moving shapes need 4 pixels or more"):
    Moving(3, 1, 2, 4, seed=0, batches=1)
  Moving(4, 1, 2, 4, seed=0, batches=1)[0]


def test_what_counts():
  batch = source()[0]
  assert not batch.weight[0].any() and batch.weight[1:].all()
  assert batch.ahead.shape == (3, 5) and batch.ahead.all()
  assert source(horizon=0)[0].ahead is None
  free = source(free=True)[0]
  np.testing.assert_array_equal(free.weight, batch.weight[:5])
  np.testing.assert_array_equal(free.ahead, batch.ahead)


def numbered(sequences=3, steps=11):
  """Frames that tell their sequence and step: 16 s + t, of 255."""
  value = 16 * np.arange(sequences)[:, None] + np.arange(steps)
  return np.broadcast_to(value[..., None, None, None], (*value.shape, 2, 3, 1)).astype(
    np.uint8
  )


def told(batch):
  """Of each clip of a batch its frames' numbers, padding left out."""
  numbers = np.rint(batch.frames[..., 0, 0, 0] * 255).astype(int)
  return [tuple(clip) for clip, w in zip(numbers.T, batch.weight.T) if w.any()]


def test_an_evaluation_has_each_clip_once_in_order():
  found = Stored(numbered(), 4, 5, horizon=2, shuffle=False)
  clips = [clip for batch in found for clip in told(batch)]
  starts = [16 * s + 5 * n for s in range(3) for n in range(2)]
  assert clips == [tuple(range(first, first + 5)) for first in starts]
  last = found[len(found) - 1]
  assert last.frames.shape == (5, 4, 2, 3, 1)
  assert last.weight.sum() == 2 * 4 and last.ahead.sum() == 2 * 2


def test_an_epoch_has_each_sequence_in_another_order():
  found = Stored(numbered(), 2, 4, seed=5)
  epochs = []
  for epoch in range(4):
    steps = range(epoch * len(found), (epoch + 1) * len(found))
    clips = [clip for step in steps for clip in told(found[step])]
    assert len(clips) == 6 and len({frame for c in clips for frame in c}) == 24
    assert all(clip == tuple(range(clip[0], clip[0] + 4)) for clip in clips)
    epochs.append(tuple(clips))
  assert len(set(epochs)) == 4
  assert {clip[0] % 16 for clips in epochs for clip in clips} > {0, 4}
  again = Stored(numbered(), 2, 4, seed=5)
  jax.tree.map(np.testing.assert_array_equal, again[5], found[5])
  part = Stored(numbered(), 2, 4, seed=5, columns=slice(1, 2))[5]
  np.testing.assert_array_equal(part.frames, found[5].frames[:, 1:])


def test_grey_values():
  assert grey(np.array([0, 51, 255], np.uint8)).tolist() == [0, np.float32(0.2), 1]
  assert grey(np.array([0.5])).dtype == np.float32


def test_copying_is_measured_by_the_frames_themselves():
  found = Stored(numbered(5), 4, 6, horizon=3, shuffle=False)
  sums = video.copied(found)
  values = numbered(5)[:, :6, 0, 0, 0] / 255
  ahead = 6 * np.square(values[:, 3:] - values[:, 2:3])
  np.testing.assert_allclose(sums["copied_ahead"].total, ahead.sum(0), rtol=1e-5)
  assert sums["copied_ahead"].count.tolist() == [5, 5, 5]
  following = 6 * np.square(np.diff(values))
  np.testing.assert_allclose(sums["copied_next"], (following.sum(), 25), rtol=1e-5)


def saved(path, **frames):
  np.savez(path / "some.npz", **frames)
  return path / "some.npz"


def test_one_array_is_split_in_order(tmp_path):
  frames = np.random.default_rng(0).random((10, 4, 3, 2), np.float32)
  found = arrays.load(saved(tmp_path, anything=frames))
  assert list(found) == ["train", "val", "test"]
  np.testing.assert_array_equal(np.concatenate(list(found.values()))[..., 0], frames)
  assert [len(part) for part in found.values()] == [8, 1, 1]
  half = arrays.load(tmp_path / "some.npz", "0.5,0.5")
  assert [len(part) for part in half.values()] == [5, 5]


def test_parts_have_names(tmp_path):
  parts = {name: np.zeros((2, 4, 3, 2, 3), np.uint8) for name in ("val", "train")}
  assert list(arrays.load(saved(tmp_path, **parts))) == ["train", "val"]
  with pytest.raises(BadInput, match=r"split=0.5,0.5: .*some.npz is split already"):
    arrays.load(tmp_path / "some.npz", "0.5,0.5")


GOOD = np.zeros((10, 6, 4, 4), np.uint8)
BAD = {
  "axes": ({"x": GOOD[0]}, r"some.npz, x has the shape \(6, 4, 4\): give \[N, T, h"),
  "empty": ({"x": GOOD[:0]}, r"has the shape \(0, 6, 4, 4\)"),
  "type": ({"x": GOOD.astype(int)}, "holds int64: give uint8 from 0 to 255, or floats"),
  "bright": ({"x": GOOD + 1.5}, "holds floats from 1.5 to 1.5: scale them to 0 to 1"),
  "dark": ({"x": GOOD - 0.5}, "holds floats from -0.5 to -0.5"),
  "not a number": ({"x": GOOD + np.nan}, "holds floats from nan to nan"),
  "objects": ({"x": np.array([{}])}, r"some.npz cannot be read \(Object arrays"),
  "nothing": ({}, "some.npz has no array in it"),
  "names": ({"x": GOOD, "y": GOOD}, "has the arrays x, y: give one array, or train"),
  "no val": ({"train": GOOD, "test": GOOD}, "has the arrays train, test: give one"),
  "sizes": (
    {"train": GOOD, "val": GOOD[..., :3]},
    r"frames of val are \(4, 3, 1\) and those of train \(4, 4, 1\)",
  ),
  "few": ({"x": GOOD[:3]}, "split=0.8,0.1,0.1 of the 3 sequences .* none for val"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_of_anything_else_is_refused(tmp_path, name):
  frames, said = BAD[name]
  with pytest.raises(BadInput, match=said) as caught:
    arrays.load(saved(tmp_path, **frames))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["text", "half", "flipped", "npy", "missing"])
def test_a_damaged_file_is_refused(tmp_path, content):
  path = saved(tmp_path, x=GOOD)
  whole = path.read_bytes()
  if content == "text":
    path.write_text("frames")
  elif content == "half":
    path.write_bytes(whole[: len(whole) // 2])
  elif content == "flipped":
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
      file.writestr("x.npy", b"\x93NUMPY" + bytes(300))
  elif content == "npy":
    with open(path, "wb") as file:
      np.save(file, GOOD)
  else:
    path.unlink()
  with pytest.raises(BadInput, match=r"some\.npz"):
    arrays.load(path)


@pytest.mark.parametrize(
  ("chosen", "said"),
  [
    ({"context": 4, "horizon": 3}, "train have 6 frames, fewer than context=4 and"),
    ({"size": 20}, "size=20 is of moving shapes, and data=.* holds others"),
    ({"split": "0.5"}, "split=0.5 has 1 parts"),
    ({"split": "0.5,0.6"}, "split=0.5,0.6: fractions must"),
    ({"data": "", "split": "0.5,0.5"}, "split=0.5,0.5 is for frames of `data`"),
  ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, chosen, said):
  path = saved(tmp_path, x=GOOD)
  with pytest.raises(BadInput, match=said):
    video.load(Video(**{"data": str(path), "context": 2, "horizon": 2, **chosen}))


def test_data_are_known_by_their_digest(tmp_path):
  def digest(**chosen):
    return video.load(Video(**{"context": 2, "horizon": 2, **chosen})).digest

  path = saved(tmp_path, x=GOOD)
  found = {digest(), digest(size=12), digest(shapes=3), digest(data=str(path))}
  (tmp_path / "two").mkdir()
  other = saved(tmp_path / "two", x=GOOD + np.uint8(1))
  found.add(digest(data=str(other)))
  assert len(found) == 5 and digest() in found
  again = saved(tmp_path / "two", x=GOOD)
  assert digest(data=str(again)) in found
