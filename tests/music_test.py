"""MIDI files, piano rolls and scores: what is read, written and refused."""

import io
import json
import struct

import numpy as np
import pytest
from scipy.io import savemat

from unroll.data.music import midi, rolls, scores
from unroll.data.music.midi import Note, Piece
from unroll.types import BadInput


def chunk(name, body):
  return name + struct.pack(">I", len(body)) + body


def midi_file(*tracks, form=1, division=96, more=b"", between=b""):
  header = struct.pack(">HHH", form, len(tracks), division) + more
  end = b"\x00\xff\x2f\x00"
  chunks = [chunk(b"MTrk", track + end) for track in tracks]
  return chunk(b"MThd", header) + between + b"".join(chunks)


def after(delta, event=b""):
  """An event some ticks after the one before."""
  groups = [delta >> shift & 0x7F for shift in (21, 14, 7, 0)]
  while len(groups) > 1 and not groups[0]:
    groups.pop(0)
  return bytes([g | 0x80 for g in groups[:-1]] + groups[-1:]) + event


def tempo(delta, microseconds):
  return after(delta, b"\xff\x51\x03" + microseconds.to_bytes(3, "big"))


# At 96 ticks a beat: bytes -> the notes that are in them.
ON, OFF = b"\x00\x90\x3c\x40", b"\x60\x80\x3c\x40"
FILES = {
  "a note": (midi_file(ON + OFF, form=0), [(0, 96, 60)]),
  "velocity 0 and running status": (
    midi_file(b"\x00\x90\x3c\x40\x00\x40\x40\x60\x3c\x00\x30\x40\x00"),
    [(0, 96, 60), (0, 144, 64)],
  ),
  "two tracks, the first of the tempo": (
    midi_file(tempo(0, 400000) + tempo(96, 300000), b"\x60\x91\x3d\x40\x60\x3d\x00"),
    [(96, 192, 61)],
  ),
  "times of two bytes": (
    midi_file(b"\x00\x90\x3c\x40\x83\x60\x80\x3c\x40"),
    [(0, 480, 60)],
  ),
  "unisons: the first off ends the oldest": (
    midi_file(ON + b"\x30\x90\x3c\x40" + b"\x30\x80\x3c\x40\x60\x80\x3c\x40"),
    [(0, 96, 60), (48, 192, 60)],
  ),
  "unisons in two channels": (
    midi_file(ON + b"\x30\x91\x3c\x40\x10\x91\x3c\x00\x20\x90\x3c\x00"),
    [(0, 96, 60), (48, 64, 60)],
  ),
  "struck again without an off": (
    midi_file(ON + b"\x30\x90\x3c\x40\x30\x80\x3c\x40\x60\xc0\x00"),
    [(0, 96, 60), (48, 96, 60)],
  ),
  "never ended": (midi_file(ON + b"\x60\xc0\x05"), [(0, 96, 60)]),
  "an off too many, and no length": (
    midi_file(b"\x00\x80\x3c\x40" + ON + b"\x00\x80\x3c\x40" + ON + OFF),
    [(0, 96, 60)],
  ),
  "drums beside it": (
    midi_file(ON + OFF + b"\x00\x99\x24\x40\x60\x99\x24\x00"),
    [(0, 96, 60)],
  ),
  "controllers, bends, a system message, text": (
    midi_file(
      b"\x00\xb0\x40\x7f\x00\xe0\x00\x40\x00\xf0\x03\x7e\x7f\xf7\x00\xff\x01\x02hi"
      + ON
      + b"\x20\xd0\x11\x40\x80\x3c\x40"
    ),
    [(0, 96, 60)],
  ),
  "an escape of any bytes": (
    midi_file(b"\x00\xf7\x02\xf3\xff" + ON + OFF),
    [(0, 96, 60)],
  ),
  "a longer header and a chunk of another kind": (
    midi_file(ON + OFF, more=b"\x00\x01", between=chunk(b"XFIH", b"MTrk-")),
    [(0, 96, 60)],
  ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_the_notes_of_a_file(name, tmp_path):
  data, notes = FILES[name]
  (tmp_path / "piece.mid").write_bytes(data)
  found = midi.read(tmp_path / "piece.mid")
  assert [tuple(note) for note in found.notes] == notes
  assert found.per_beat == 96 and found.end >= max(end for _, end, _ in notes)


def test_a_file_that_counts_frames_has_its_beats_from_its_tempo_map(tmp_path):
  """25 frames of 40 parts: milliseconds; of beats 500, then 250, then 1000."""
  tempos = tempo(0, 500000) + tempo(1000, 250000) + tempo(500, 1000000)
  notes = [(500, b"\x90\x3c\x40"), (750, b"\x3c\x00"), (1500, b"\x3e\x40")]
  track = b"".join(after(*note) for note in [*notes, (2000, b"\x3e\x00")])
  path = tmp_path / "piece.mid"
  path.write_bytes(midi_file(tempos, track, division=(256 - 25) << 8 | 40))
  found = midi.read(path)
  beats = [(n.start / found.per_beat, n.end / found.per_beat) for n in found.notes]
  # 500 to 1250 ms; 2750 to 4750 ms.
  np.testing.assert_allclose(beats, [(1, 3), (5.25, 7.25)], atol=2 / found.per_beat)


def test_ntsc_frames_are_29_97_a_second(tmp_path):
  path, division = tmp_path / "piece.mid", (256 - 29) << 8 | 10
  minute = after(30 * 60 * 10, OFF[1:])
  path.write_bytes(midi_file(ON + minute, division=division))
  found = midi.read(path)
  assert found.end / found.per_beat == pytest.approx(120 * 1.001, abs=1e-2)


def random_roll(seed, steps=40, density=0.2):
  draw = np.random.default_rng(seed)
  keys = (draw.random((steps, rolls.KEYS)) < density).astype(np.uint8)
  keys[0, seed % 88] = keys[-1, 87 - seed % 88] = 1
  return keys


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 7, 24, 96])
def test_a_roll_survives_its_file(grid, tmp_path):
  for seed in range(4):
    keys, path = random_roll(seed), tmp_path / "piece.mid"
    piece = rolls.piece(np.pad(keys, ((0, seed), (0, 0))), grid)  # silence at the end
    midi.write(path, piece, 90)
    assert midi.read(path) == piece
    found, lost = rolls.roll(piece, grid, "piece")
    np.testing.assert_array_equal(found, keys)
    assert lost == 0


def test_held_keys_are_one_note_and_silence_at_the_end_has_its_time():
  keys = np.zeros((6, 88), np.uint8)
  keys[1:4, 0] = keys[4, 0 + 87] = keys[0, 39] = keys[2, 39] = 1
  piece = rolls.piece(keys, 2)
  step = piece.per_beat // 2
  assert piece.end == 6 * step
  assert [(n.start / step, n.end / step, n.pitch) for n in piece.notes] == [
    (0, 1, 60),
    (1, 4, 21),
    (2, 3, 60),
    (4, 5, 108),
  ]


@pytest.mark.parametrize("beats", [4, 60, 97.3, 1000])
def test_a_file_says_its_tempo(beats):
  data = midi.encoded(rolls.piece(random_roll(0), 4), beats)
  at = data.index(b"\xff\x51\x03") + 3
  assert int.from_bytes(data[at : at + 3], "big") == round(60e6 / beats)
  with pytest.raises(BadInput, match="tempo=3: give 4"):
    midi.encoded(rolls.piece(random_roll(0), 4), 3)


# (notes in 96ths of a beat, steps of a beat) -> pitches of each step, and notes lost.
MOMENTS = {
  "in time": ([(0, 96, 60), (96, 192, 62)], 1, [[60], [62]], 0),
  "a little late": ([(11, 106, 60), (106, 192, 62)], 1, [[60], [62]], 0),
  "a little early": ([(90, 180, 60), (180, 290, 62)], 1, [[60], [62]], 0),
  "staccato": ([(0, 20, 60), (96, 110, 62)], 1, [[60], [62]], 0),
  "a run between the steps is no chord": (
    [(12 * i, 12 * i + 12, 60 + i) for i in range(9)],
    1,
    [[60], [68]],
    7,
  ),
  "the same run on a grid that has it": (
    [(12 * i, 12 * i + 12, 60 + i) for i in range(3)],
    8,
    [[60], [61], [62]],
    0,
  ),
  "two voices in unison, then one": (
    [(0, 96, 60), (0, 192, 60), (96, 192, 64)],
    1,
    [[60], [60, 64]],
    0,
  ),
  "silence before and after is left out, between it is not": (
    [(192, 288, 21), (384, 480, 108)],
    1,
    [[21], [], [108]],
    0,
  ),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_a_step_has_what_is_heard_at_its_moment(name):
  notes, grid, steps, lost = MOMENTS[name]
  piece = Piece(tuple(Note(*note) for note in notes), 96, 1000)
  keys, missed = rolls.roll(piece, grid, "piece")
  assert [(np.flatnonzero(key) + 21).tolist() for key in keys] == steps
  assert missed == lost


NO_FILES = {
  "no file": (None, "cannot be read"),
  "empty": (b"", "is no MIDI file: it begins with b''"),
  "a sound": (b"RIFF....", "is no MIDI file"),
  "half a header": (b"MThd\x00\x00\x00\x06\x00", "cut off within its header"),
  "no track": (midi_file(ON + OFF)[:14], "has 0 of 1 tracks"),
  "half a track": (midi_file(ON + OFF)[:-6], "track 1 has 6 of 12 bytes"),
  "half an event": (midi_file(b"\x00\x90\x3c")[:-4], "is cut off"),
  "a track that ends within an event": (
    chunk(b"MThd", struct.pack(">HHH", 0, 1, 96)) + chunk(b"MTrk", b"\x00\x90\x3c"),
    "track 1 is damaged (its last event is not whole)",
  ),
  "no status": (midi_file(b"\x00\x3c\x40"), "track 1 is damaged"),
  "a time without end": (midi_file(b"\xff" * 9 + b"\x00\x90\x3c\x40"), "is damaged"),
  "format 2": (midi_file(ON + OFF, form=2), "of format 2"),
  "no ticks": (midi_file(ON + OFF, division=0), "0 ticks a beat"),
  "no notes": (midi_file(tempo(0, 500000)), "has no notes: give"),
  "drums alone": (midi_file(b"\x00\x99\x24\x40\x60\x99\x24\x00"), "no notes but drums"),
  "too low": (midi_file(b"\x00\x90\x14\x40\x60\x14\x00"), "has the note 20: a piano"),
  "too high": (midi_file(b"\x00\x90\x6d\x40\x60\x6d\x00"), "has the note 109"),
  "too fast": (
    midi_file(b"\x18\x90\x3c\x40\x0c\x3c\x00"),
    "no note that is heard at grid=1",
  ),
  "too long": (
    midi_file(ON + b"\xff\xff\xff\x7f\x80\x3c\x40"),
    "has 2,796,203 steps at grid=1",
  ),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_a_faulty_file_is_named(name, tmp_path):
  data, said = NO_FILES[name]
  path = tmp_path / "piece.mid"
  if data is not None:
    path.write_bytes(data)
  with pytest.raises(BadInput) as refused:
    rolls.roll(midi.read(path), 1, str(path))
  assert said in str(refused.value)
  assert str(refused.value).startswith(str(path)) and "\n" not in str(refused.value)


def test_whatever_is_in_the_bytes_they_are_read_or_refused(tmp_path):
  path, draw = tmp_path / "piece.mid", np.random.default_rng(0)
  whole = midi.encoded(rolls.piece(random_roll(3, steps=6, density=0.03), 2), 90)
  cut = [whole[:size] for size in range(len(whole))]
  for data in cut:
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"is cut off|is no MIDI"):
      midi.read(path)
  for _ in range(150):
    data = bytearray(whole)
    for at in draw.integers(len(data), size=3):
      data[at] = draw.integers(256)
    path.write_bytes(data)
    try:
      rolls.roll(midi.read(path), 1, "piece")
    except BadInput:
      continue


PIECES = {"train": [5, 9], "valid": [4], "test": [7, 3]}  # steps of each


def pieces():
  return {
    part: [random_roll(10 * i + size, steps=size) for i, size in enumerate(sizes)]
    for part, sizes in PIECES.items()
  }


def as_json(path):
  parts = {
    part: [[(np.flatnonzero(k) + 21).tolist() for k in keys] for keys in each]
    for part, each in pieces().items()
  }
  parts["test"][0].append([-1, -1])  # voices that are silent
  path.write_text(json.dumps(parts))


def as_mat(path):
  cells = {}
  for part, each in pieces().items():
    cells[f"{part}data"] = np.empty((1, len(each)), object)
    for number, keys in enumerate(each):
      cells[f"{part}data"][0, number] = keys.astype(float)
  savemat(path, cells)


def as_folder(path):
  for part, each in pieces().items():
    (path / part / "deeper").mkdir(parents=True)
    for number, keys in enumerate(each):
      name = f"deeper/{number}.MID" if number else f"{number}.mid"
      midi.write(path / part / name, rolls.piece(keys, 4), 100)
    (path / part / "notes.txt").write_text("not music")


@pytest.mark.parametrize(
  ("write", "name", "grid"),
  [(as_json, "a.json", 1), (as_mat, "a.mat", 1), (as_folder, "", 4)],
)
def test_scores_are_the_same_in_every_layout(write, name, grid, tmp_path):
  write(tmp_path / name)
  found = scores.load(str(tmp_path / name))
  assert found.grid == grid
  expected = pieces()
  expected["val"] = expected.pop("valid")
  assert found.parts.keys() == expected.keys()
  for part, each in expected.items():
    assert len(each) == len(found.parts[part])
    for number, keys in enumerate(each):
      own = found.parts[part][number]
      np.testing.assert_array_equal(own[: len(keys)], keys)
      assert not own[len(keys) :].any() and own.dtype == np.uint8
      assert len(own) == len(keys) + (
        write is as_json and (part, number) == ("test", 0)
      )
  assert found.digest() != scores.load(str(tmp_path / name), grid=3, warn=str).digest()


def many(folder, count):
  for number in range(count):
    midi.write(folder / f"{number}.mid", rolls.piece(random_roll(number), 2), 100)


def test_a_folder_is_split_at_random_and_always_the_same(tmp_path):
  many(tmp_path, 10)
  found = scores.load(str(tmp_path), grid=2, split="0.5,0.2,0.3")
  assert {part: len(each) for part, each in found.parts.items()} == {
    "train": 5,
    "val": 2,
    "test": 3,
  }
  again = scores.load(str(tmp_path), grid=2, split="0.5,0.2,0.3")
  assert again.digest() == found.digest()
  every = [keys.tobytes() for each in found.parts.values() for keys in each]
  assert sorted(every) == sorted(random_roll(i).tobytes() for i in range(10))
  assert every[:5] != [random_roll(i).tobytes() for i in range(5)]


def test_notes_between_the_steps_are_told(tmp_path):
  many(tmp_path, 9)
  keys = np.zeros((16, 88), np.uint8)
  keys[np.arange(16), 20 + np.arange(16)] = 1
  midi.write(tmp_path / "fast.mid", rolls.piece(keys, 8), 100)
  told = []
  scores.load(str(tmp_path), grid=2, warn=told.append)
  [said] = told
  assert (
    said.startswith("12 notes of") and f"12 of them in {tmp_path / 'fast.mid'}" in said
  )


def mat_of(value, name="traindata"):
  out = io.BytesIO()
  savemat(out, {name: value})
  return out.getvalue()


def cell(*matrices):
  found = np.empty((1, len(matrices)), object)
  for number, matrix in enumerate(matrices):
    found[0, number] = matrix
  return found


STEP = "[[60], [62]]"
NO_SCORES = {
  "moon": (None, "scores=moon is neither a folder"),
  "jsb_chorals": (None, "did you mean jsb_chorales"),
  "none.json": (None, "scores=none.json cannot be read"),
  "half.json": (b'{"train": [', "half.json is not JSON"),
  "list.json": (b"[1]", "list.json has no train and valid"),
  "pitch.json": (
    b'{"train": [[[20]]]}',
    "pitch.json, train, piece 0, step 0: 20 is no",
  ),
  "float.json": (b'{"train": [[[60.5]]]}', "60.5 is no pitch from 21 to 108"),
  "flat.json": (b'{"train": [[60, 62]]}', "step 0: 60 is no list"),
  "val.json": (f'{{"train": [{STEP}]}}'.encode(), "has no val part"),
  "short.json": (
    f'{{"train": [{STEP}], "valid": [[[60]]]}}'.encode(),
    "piece 0 of val has 1 steps",
  ),
  "text.mat": (b"not matlab" * 99, "text.mat is no MATLAB file"),
  "other.mat": (mat_of(np.eye(3), "x"), "has no train part"),
  "plain.mat": (mat_of(np.zeros((4, 88))), "plain.mat: traindata holds no cells"),
  "wide.mat": (
    mat_of(cell(np.zeros((4, 12)))),
    "piece 0 is float64[4, 12]: give cells",
  ),
  "loud.mat": (mat_of(cell(np.full((4, 88), 64))), "other numbers than 0 and 1"),
  "words.mat": (mat_of(cell("abc")), "words.mat, traindata, piece 0 is <U3"),
}


@pytest.mark.parametrize("name", NO_SCORES)
def test_faulty_scores_are_named(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  data, said = NO_SCORES[name]
  if data is not None:
    (tmp_path / name).write_bytes(data)
  with pytest.raises(BadInput) as refused:
    scores.load(name)
  assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
  ("count", "options", "said"),
  [
    (0, {}, "has no MIDI files"),
    (3, {}, "has 3 MIDI files, so that a part would be empty"),
    (3, {"split": "1"}, "split=1: give train,val"),
    (3, {"split": "0.9,0.2"}, "split=0.9,0.2: fractions"),
  ],
)
def test_a_folder_that_cannot_be_split_is_refused(count, options, said, tmp_path):
  many(tmp_path, count)
  with pytest.raises(BadInput, match=said):
    scores.load(str(tmp_path), **options)


def test_what_is_known_of_scores_cannot_be_said_otherwise(tmp_path):
  with pytest.raises(BadInput, match="grid=4: jsb_chorales has 1 a beat"):
    scores.load("jsb_chorales", grid=4)
  with pytest.raises(BadInput, match=r"split=0\.5,0\.5: jsb_chorales has a split"):
    scores.load("jsb_chorales", split="0.5,0.5")
  as_folder(tmp_path)
  with pytest.raises(BadInput, match="has folders of its parts"):
    scores.load(str(tmp_path), split="0.5,0.5")
