"""Laws of scenes and their sentences, of pictures in folders, and of their batches."""

import collections
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from experiments.parts import captions as part
from experiments.parts.captions import Captions
from unroll.data import captions
from unroll.data.captions import CAPTIONS, Captioned, Reader, folder, scenes
from unroll.data.captions.scenes import BACKGROUND, COLOURS, MARGIN, RELATIONS, SHAPES
from unroll.types import BadInput

SIDE = 32
COUNTS = (120, 30, 40)


def made(held_out="objects", objects=3, side=SIDE, seed=0):
  return scenes.parts(COUNTS, side, objects, held_out, seed)


@pytest.fixture(scope="module", params=scenes.HELD_OUT)
def parts(request):
  return request.param, made(request.param)


def seen(picture):
  """The sentence of a picture, from its pixels alone."""
  things = []
  for name, colour in COLOURS.items():
    # The colour of a shape's centre is its own; at the edge it is mixed with grey.
    own = np.abs(picture.astype(int) - colour).sum(-1) == 0
    if own.any():
      direction = np.array(colour) - BACKGROUND
      share = (picture.astype(float) - BACKGROUND) @ direction / (direction @ direction)
      mixed = BACKGROUND + share[..., None] * direction
      of_it = (np.abs(mixed - picture).max(-1) < 2) & (share > 0.02)
      rows, columns = np.nonzero(of_it)
      box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
      things.append((name, share[box] * of_it[box], np.argwhere(of_it)))
  words, middles = [], []
  for name, share, places in things:
    height = len(share)
    filled = share.sum() / share.size
    top, bottom = share[: height // 3].sum(), share[-(height // 3) :].sum()
    shape = "square" if share[0, 0] > 0.2 else "cross" if filled < 0.65 else "circle"
    shape = "triangle" if bottom > 2 * top else shape
    words.append(f"a {'small' if height < 0.27 * SIDE else 'large'} {name} {shape}")
    middles.append((places.min(0) + places.max(0)) / 2)
  for number in range(1, len(words)):
    down, across = middles[number] - middles[0]
    assert abs(abs(down) - abs(across)) >= MARGIN * SIDE
    if abs(across) > abs(down):
      place = "left of" if across > 0 else "right of"
    else:
      place = "above" if down > 0 else "below"
    if len(words) == 2 and words[0].split()[-1] == words[1].split()[-1]:
      words[1] = words[1].rsplit(" ", 1)[0] + " one"
    words[number] = f"{'and ' if number > 1 else ''}{place} {words[number]}"
  return " ".join(words)


def test_a_sentence_is_what_is_to_be_seen(parts):
  patterns = collections.Counter()
  for own in parts[1].values():
    for picture, (sentence,) in zip(own.images, own.captions, strict=True):
      assert seen(picture) == sentence
      patterns[len(sentence.split()) // 6, "one" in sentence] += 1
  assert len(patterns) == 4 and min(patterns.values()) > 4


def test_no_picture_is_there_twice(parts):
  pictures = [p.tobytes() for own in parts[1].values() for p in own.images]
  sizes = {name: len(own.images) for name, own in parts[1].items()}
  wanted = dict(zip(("train", "val", "test"), COUNTS))
  assert sizes == wanted | ({"held_out": COUNTS[2]} if parts[0] != "none" else {})
  assert len(set(pictures)) == len(pictures)


def facts(sentence, held_out):
  """The pairs of colour and shape in a sentence, or shapes and how one lies."""
  words = sentence.split()
  things = [i for i, word in enumerate(words) if word in (*SHAPES, "one")]
  shapes = [words[i] if words[i] != "one" else words[things[0]] for i in things]
  if held_out == "objects":
    return {(words[i - 1], shape) for i, shape in zip(things, shapes)}
  between = [
    next(r for r in RELATIONS if r.split()[0] in words[before + 1 : after])
    for before, after in itertools.pairwise(things)
  ]
  return {(shapes[0], r, shape) for r, shape in zip(between, shapes[1:])}


@pytest.mark.parametrize("held_out", ["objects", "relations"])
def test_what_is_held_out_is_in_a_part_of_its_own(held_out):
  own = scenes.parts((1500, 100, 150), SIDE, 3, held_out, 1)
  found = {
    name: [facts(text, held_out) for (text,) in one.captions]
    for name, one in own.items()
  }
  known = set().union(*found["train"], *found["val"], *found["test"])
  new = set().union(*found["held_out"]) - known
  assert all(one & new for one in found["held_out"])
  every = len(COLOURS) * len(SHAPES) if held_out == "objects" else 4 * 4 * 4
  assert len(new) == every / 4 and len(known) == every * 3 / 4
  # What they are made of is known.
  for column in zip(*new):
    assert set(column) <= set(itertools.chain(*known))


def test_scenes_are_a_function_of_the_seed():
  one, other, again = made(seed=1), made(seed=2), made(seed=1)
  assert captions.digest(one) == captions.digest(again) != captions.digest(other)
  few = made(objects=1, side=48)["test"]
  assert few.images.shape == (40, 48, 48, 3)
  assert {len(text.split()) for (text,) in few.captions} == {4}


@pytest.mark.parametrize(
  "options, said",
  [
    ({"side": 10}, "24 pixels or more"),
    ({"objects": 1, "held_out": "relations"}, "give more objects"),
    ({"held_out": "colours"}, "choose none, objects, relations"),
    ({"objects": 4}, "1 to 3 shapes"),
  ],
)
def test_scenes_that_cannot_be(options, said):
  with pytest.raises(BadInput, match=said):
    made(**options)


def test_more_scenes_than_there_are():
  with pytest.raises(BadInput, match="ask for fewer"):
    scenes.parts((10**9, 1, 1), 24, 1, "objects", 0)


# Folders.


def picture(seed=0, mode="RGB", size=(20, 10)):
  """A picture of one colour, which stretching leaves as it is, and that colour."""
  colour = np.random.default_rng(seed).integers(256, size=3).tolist()
  return Image.new(mode, size, tuple(colour) if mode == "RGB" else 0), colour


@pytest.fixture
def pictures(tmp_path):
  """A folder of ten pictures with two sentences each, one with a third."""
  rows = ["image,caption"]
  for n in range(10):
    picture(n)[0].save(tmp_path / f"{n}.png")
    rows += [f'{n}.png,"Number {n}, red"', f"{n}.png,{n} again"]
  (tmp_path / "c.csv").write_text("\n".join([*rows, "3.png,three"]) + "\n")
  return tmp_path


def loaded(path, **options):
  chosen = {"captions": str(path / "c.csv"), "size": 8, **options}
  return part.load(Captions(data=str(path), **chosen))


def test_pictures_of_a_folder(pictures):
  data = loaded(pictures)
  assert {name: len(own.images) for name, own in data.parts.items()} == {
    **{"train": 8, "val": 1, "test": 1}
  }
  numbers = []
  for own in data.parts.values():
    for image, texts in zip(own.images, own.captions, strict=True):
      number = int(texts[1].split()[0])
      numbers.append(number)
      assert image.shape == (8, 8, 3) and (image == picture(number)[1]).all()
      assert texts[0] == f"Number {number}, red"
      assert len(texts) == 2 + (number == 3)
  assert sorted(numbers) == list(range(10))
  assert data.sha256 == loaded(pictures).sha256


def test_kinds_of_pictures(tmp_path):
  def read(image, **options):
    image.save(tmp_path / "a.png", **options)
    return folder.read(tmp_path / "a.png", 4)

  shades = np.array([[0, 300], [30000, 65535]], np.uint16).repeat(2, 0).repeat(2, 1)
  deep = read(Image.fromarray(shades))
  np.testing.assert_array_equal(deep[..., 0], shades >> 8)
  glass = np.zeros((4, 4, 4), np.uint8)
  glass[0, :, 3] = 255
  clear = read(Image.fromarray(glass))
  assert (clear[0] == 0).all() and (clear[1:] == 255).all()
  assert (read(Image.new("1", (9, 9), 1)) == 255).all()
  assert (read(Image.new("P", (9, 9), 0), transparency=0) == 255).all()
  # A camera that was turned says so, and a picture's top is up.
  turned = Image.fromarray(np.repeat([[[255] * 3], [[0] * 3]], 2, 1).astype(np.uint8))
  exif = Image.Exif()
  exif[0x0112] = 3
  turned.save(tmp_path / "a.jpg", exif=exif.tobytes(), quality=100)
  found = folder.read(tmp_path / "a.jpg", 2)
  assert (found[0] < 9).all() and (found[1] > 246).all()


def table(text):
  return lambda path: (path / "c.csv").write_text(text)


def damaged(path):
  noise = np.random.default_rng(0).integers(256, size=(60, 60, 3), dtype=np.uint8)
  Image.fromarray(noise).save(path / "1.png")
  data = (path / "1.png").read_bytes()
  (path / "1.png").write_bytes(data[: len(data) // 2])


FAULTS = {
  "no table": (lambda path: (path / "c.csv").unlink(), "c.csv cannot be read"),
  "no column": (
    table("image,text\n1.png,a\n"),
    "caption_column=caption: .*image, text",
  ),
  "no picture": (table("image,caption\n1.png,a\nx.png,b\n"), "line 3 names .*x.png"),
  "no sentence": (table("image,caption\n1.png, \n"), "line 2 has no caption"),
  "no name": (table("image,caption\n,a\n"), "line 2 has no image"),
  "no rows": (table("image,caption\n"), "no row"),
  "too few": (table("image,caption\n1.png,a\n"), "leaves none for"),
  "a folder": (table("image,caption\n.,a\n"), "line 2 names .* cannot be read"),
  "no image": (
    lambda path: (path / "0.png").write_text("GIF89a, or so"),
    "0.png, which is no picture",
  ),
  "half a file": (damaged, "1.png, which cannot be read"),
}


@pytest.mark.parametrize("spoil, said", FAULTS.values(), ids=FAULTS)
def test_faults_of_folders_are_told(pictures, spoil, said):
  spoil(pictures)
  with pytest.raises(BadInput, match=said):
    loaded(pictures)


def test_a_picture_too_large_to_trust(pictures, monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
  with pytest.raises(BadInput, match=r"cannot be read .*pixels"):
    loaded(pictures)


@pytest.mark.parametrize(
  "chosen, said",
  [
    ({"split": "0.5,0.5"}, "split=0.5,0.5 is of pictures in a folder"),
    ({"data": "x"}, "`captions` names no file"),
    ({"data": "x", "objects": 2}, "objects=2 is of scenes"),
    ({"size": 9}, "24 pixels or more"),
    ({"tokenizer": "byte"}, "has no room for <bos>"),
  ],
)
def test_settings_that_do_not_fit(chosen, said):
  with pytest.raises(BadInput, match=said):
    part.load(Captions(**chosen))


# Batches.


def test_sentences_meet_their_pictures(pictures):
  data = loaded(pictures)
  source = data.training(5, 0)
  own = data.parts["train"]
  met = collections.Counter()
  for batch in source:
    images, sampling = batch.inputs
    steps, rows = batch.targets.shape
    assert images.shape == (1, rows, 8, 8, 3) and images.dtype == np.uint8
    assert sampling is None and batch.valid.shape == (steps, rows)
    np.testing.assert_array_equal(batch.weight, batch.valid)
    for image, ids, valid in zip(images[0], batch.targets.T, batch.valid.T):
      if valid.any():
        assert ids[valid][-1] == data.reader.sizes.eos
        text = data.reader.text(ids[valid])
        [number] = np.flatnonzero((own.images == image).all((1, 2, 3)))
        met[number, text] += 1
      else:
        assert not image.any() and not ids.any()
  wanted = {
    (number, data.reader.vocabulary.join(words))
    for number, texts in enumerate(data.wanted("train"))
    for words in texts
  }
  assert set(met) == wanted and set(met.values()) == {1}


def test_columns_are_those_of_the_whole_batch():
  data = part.load(Captions(scenes=40, objects=2))
  whole, some = data.training(8, 3), data.training(8, 3, slice(4, 8))
  for step in range(3):
    one, other = whole[step], some[step]
    half = one.targets.shape[1] // 2
    np.testing.assert_array_equal(one.inputs.images[:, half:], other.inputs.images)
    np.testing.assert_array_equal(one.targets[:, half:], other.targets)


def test_a_reader_is_found_again():
  reader = Reader.build(["a red one", "a <eos> one"], 32)
  again = Reader.from_files(reader.files())
  assert again == reader and again.sizes == (32, len(reader.vocabulary), 1, 2)
  ids = again.write(["a red <eos> two", ""])
  assert ids[0][-1] == ids[1][0] == 2 and list(ids[0]).count(2) == 1
  assert again.text([1, *ids[0], 3, 3]) == again.vocabulary.join(again.words(ids[0]))
  for spoiled in ({}, {"side": 0}, {"side": "32"}, {"more": 1}, {"vocabulary": None}):
    fields = json.loads(reader.files()[CAPTIONS]) | spoiled
    text = json.dumps(fields) if spoiled else "no JSON"
    with pytest.raises(BadInput, match="restore it"):
      Reader.from_files({CAPTIONS: text})
  with pytest.raises(BadInput, match="is missing"):
    Reader.from_files({})


def test_some_of_captioned_pictures():
  whole = Captioned(np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1), [("a",)] * 3)
  assert whole.some(np.array([2, 0])).images[:, 0, 0, 0].tolist() == [8, 0]
