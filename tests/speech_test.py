"""Laws of speech: strings of recordings, tables of files, steps, and labels."""

import functools
import json
import os

import numpy as np
import pytest
from scipy.io import wavfile

from experiments.parts import speech
from experiments.parts.speech import Speech
from experiments.session.terminal import named
from unroll import transcription
from unroll.data.classes import audio
from unroll.data.classes.audio import Mel
from unroll.data.speech import Utterances, strings, table
from unroll.data.speech.reader import Reader, batch
from unroll.data.speech.strings import Joined, Recording
from unroll.types import BadInput

RATE = 1000
DRAW = np.random.default_rng(2)
# Two takes of each label by each speaker, every one of another length.
TAKES = [
  Recording(label, speaker, DRAW.normal(size=20 + n) + 10 * n)
  for n, (speaker, label, _) in enumerate(
    (speaker, label, take) for speaker in "ab" for label in "xyz" for take in "12"
  )
]
JOINED = Joined(2, 4, gap=0.02)
MEL = Mel(RATE, 32, 10, 5)


def parts_of(sound):
  """Which recordings stand in a string, and the silences around them."""
  found, silences, at = [], [0], 0
  starts = {take.sound[0]: n for n, take in enumerate(TAKES)}
  while at < len(sound):
    if sound[at] == 0:
      silences[-1] += 1
      at += 1
      continue
    found.append(starts[sound[at]])
    size = len(TAKES[found[-1]].sound)
    np.testing.assert_array_equal(sound[at : at + size], TAKES[found[-1]].sound)
    silences.append(0)
    at += size
  return found, silences


def test_a_string_is_recordings_with_silence_around_them():
  own = strings.strings(TAKES, JOINED, RATE, 200, seed=3)
  seen = [parts_of(own.sound(number)) for number in range(200)]
  for number, (found, silences) in enumerate(seen):
    assert own.labels[number] == tuple(TAKES[n].label for n in found)
    assert own.samples[number] == len(own.sound(number))
    assert 2 <= len(found) <= 4 and max(silences) <= 20
    assert len({TAKES[n].speaker for n in found}) == 1
  assert {n for found, _ in seen for n in found} == set(range(len(TAKES)))
  assert {len(found) for found, _ in seen} == {2, 3, 4}
  assert len({tuple(found) for found, _ in seen}) > 150


def test_a_string_is_a_function_of_seed_and_number():
  few, many = (strings.strings(TAKES, JOINED, RATE, n, seed=3) for n in (5, 50))
  other = strings.strings(TAKES, JOINED, RATE, 5, seed=4)
  for number in (4, 0, 3):
    np.testing.assert_array_equal(few.sound(number), many.sound(number))
  assert few.labels == many.labels[:5] != other.labels
  assert len({few.digest, many.digest, other.digest}) == 3


def test_a_mixed_string_is_said_by_several():
  own = strings.strings(TAKES, JOINED._replace(mixed=True), RATE, 20, seed=3)
  said = [{TAKES[n].speaker for n in parts_of(own.sound(k))[0]} for k in range(20)]
  assert {"a", "b"} in said


def test_noise_is_a_part_of_the_loudness():
  plain, noisy = (
    strings.strings(TAKES, JOINED._replace(noise=noise), RATE, 5, seed=3)
    for noise in (0.0, 0.1)
  )
  assert plain.labels == noisy.labels and plain.digest != noisy.digest
  for number in range(5):
    own = plain.sound(number)
    noise = noisy.sound(number) - own
    assert np.std(noise) / np.sqrt(np.mean(own**2)) == pytest.approx(0.1, rel=0.25)
    np.testing.assert_array_equal(noisy.sound(number), own + noise)


def utterances(*sizes):
  sounds = [DRAW.normal(size=size) for size in sizes]
  labels = tuple(("b", "a", "c")[: 1 + n] for n in range(len(sizes)))
  places = tuple(f"sound {n}" for n in range(len(sizes)))
  return Utterances(sounds.__getitem__, np.array(sizes), labels, places, "0")


def test_steps_are_frames_side_by_side_as_training_scales_them():
  own = utterances(95, 201, 9)
  reader = Reader.build(own, "word", MEL, 3)
  frames = [audio.spectrogram(own.sound(n), MEL) for n in range(3)]
  every = np.concatenate(frames)
  for n, one in enumerate(frames):
    scaled = (one - every.mean(0)) / every.std(0)
    found = reader.sequence(own.sound(n))
    assert found.shape == (-(-len(one) // 3), 15) and found.dtype == np.float32
    assert reader.steps(own.samples)[n] == len(found)
    flat = found.reshape(-1, 5)
    np.testing.assert_allclose(flat[: len(one)], scaled, atol=1e-4)
    assert not flat[len(one) :].any()


def test_a_reader_is_kept_as_text():
  own = utterances(95, 201, 9)
  reader = Reader.build(own, "char", MEL, 2)
  assert reader.labels == ("a", "b", "c") and reader.shape == (10, 4)
  again = Reader.from_json(reader.to_json())
  assert again == reader and again.text([2, 1, 3]) == "bac"
  assert again._replace(units="word").text([2, 1, 3]) == "b a c"
  assert again.numbers("cab", "x").tolist() == [3, 1, 2]
  with pytest.raises(
    BadInput, match=r"line 4: no training utterance has the label 'd'"
  ):
    reader.numbers(("a", "d"), "line 4")
  for text in ("{", "{}", json.dumps(reader._asdict() | {"mel": 3})):
    with pytest.raises(BadInput, match=r"speech\.json is damaged"):
      Reader.from_json(text)


def test_a_batch_has_padding_at_the_end():
  own = utterances(95, 201, 9)
  reader = Reader.build(own, "word", MEL, 3)
  labels = [reader.numbers(each, "x") for each in own.labels]
  rows = np.array([2, -1, 1])
  sequences = functools.cache(lambda n: reader.sequence(own.sound(n)))
  found = batch(sequences, labels, rows, 9, 15)
  assert found.inputs.shape == (9, 3, 15) and found.targets.shape == (3, 3)
  assert found.valid.sum(0).tolist() == [1, 0, 7]
  assert found.weight.sum(0).tolist() == [3, 0, 2]
  np.testing.assert_array_equal(found.inputs[:7, 2], sequences(1))
  assert found.targets[:, 0].tolist() == [2, 1, 3] and not found.inputs[:, 1].any()
  assert not found.inputs[~found.valid].any()


@pytest.fixture
def folder(tmp_path):
  for name, size in (("a", 2000), ("b", 3000)):
    wavfile.write(tmp_path / f"{name}.wav", 8000, np.arange(size, dtype=np.int16))
  return tmp_path


def test_a_table_names_files_and_texts(folder):
  (folder / "said.csv").write_text('text,file\n"one, two",a.wav\n three  four ,b.wav\n')
  found = table.read(folder / "said.csv", "word", 8000)
  assert found.labels == (("one,", "two"), ("three", "four"))
  assert found.samples.tolist() == [2000, 3000] and found.places[1].endswith("line 3")
  (folder / "said.tsv").write_text("file\ttext\na.wav\tab c\nb.wav\t\n")
  found = table.read(folder / "said.tsv", "char", 8000)
  assert found.labels == (("a", "b", " ", "c"), ())
  some = found.some([1])
  assert some.labels == ((),) and some.samples.tolist() == [3000]
  np.testing.assert_array_equal(some.sound(0), found.sound(1))


ROW = "a.wav,x\n"


@pytest.mark.parametrize(
  "said, message",
  [
    ({"data": "file,words\na.wav,x\n"}, "has the columns file, words and no `text`"),
    ({"data": "file,text\nc.wav,x\n"}, r"line 2: .*c\.wav cannot be read as a WAVE"),
    ({"data": "file,text\n" + "a.wav,\n" * 10}, "none of the 9 training utterances"),
    ({"data": "file,text\n" + ROW * 3}, "has 3 utterances, too few to keep one in 10"),
    (
      {"data": "file,text\n" + ROW, "val": "file,text\na.wav,y\n"},
      "val.csv, line 2: no training utterance has the label 'y', only 'x'",
    ),
    (
      {"data": f"file,text\na.wav,{'x ' * 8}\n", "val": "file,text\n" + ROW},
      "its sound has 9 steps and its 8 labels need 15: lower stack=3",
    ),
  ],
)
def test_faulty_tables_end_in_one_sentence(folder, said, message):
  for name, text in said.items():
    (folder / f"{name}.csv").write_text(text)
  files = {name: str(folder / f"{name}.csv") for name in said}
  with pytest.raises(BadInput, match=message) as error:
    speech.load(Speech(**files))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  "given, message",
  [
    ({"data": "mnist"}, "data=mnist is not fsdd and no .csv or .tsv file"),
    ({"data": "none.csv"}, "none.csv cannot be read"),
    ({"val": "a.csv"}, "`val` and `test` are of files, and data=fsdd has parts"),
    ({"min_digits": 9}, "min_digits=9 is more than max_digits=7"),
    ({"units": "char"}, "units=char: a digit of fsdd is a word"),
  ],
)
def test_settings_that_do_not_fit_are_refused(given, message):
  with pytest.raises(BadInput, match=message):
    speech.load(Speech(**given))


def test_files_to_transcribe(folder):
  a, b = folder / "a.wav", folder / "b.wav"
  sounds = functools.partial(named, endings=(".wav",), what="WAVE files")
  assert sounds(str(folder)) == [a, b] and sounds(str(b)) == [b]
  assert sounds(f"{a}, {b}") == [a, b]
  (folder / "empty").mkdir()
  with pytest.raises(BadInput, match="is a folder without WAVE files"):
    sounds(str(folder / "empty"))


def test_a_judgement_is_over_all_labels():
  found = transcription.judged(["abc", "", "a", "b"], ["abd", "", "", "b"])
  assert found == (5, 2, 4, 2)
  assert found.numbers() == {"label_error": 0.4, "exact": 0.5}
  assert transcription.judged([], []).numbers() == {"label_error": 0, "exact": 0}


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("UNROLL_DATA"), reason="UNROLL_DATA is not set")
def test_strings_of_fsdd_share_no_recording_between_parts():
  own = strings.recordings(8000)
  sizes = {part: len(some) for part, some in own.items()}
  assert sizes == {"train": 2400, "val": 300, "test": 300}
  kept = [take.sound.tobytes() for some in own.values() for take in some]
  assert len(set(kept)) == 3000
  data = speech.load(Speech(strings=50))
  assert data.reader.labels == tuple("0123456789")
  assert {part: len(p.labels) for part, p in data.parts.items()} == {
    "train": 50,
    "val": 300,
    "test": 500,
  }
  again = speech.load(Speech(strings=50), data.reader)
  assert again.sha256 == data.sha256
  source = data.training(8, seed=0)
  steps = [source[number] for number in range(len(source))]
  assert sum(step.valid.any(0).sum() for step in steps) == 50
  assert all(len(step.targets) == 7 for step in steps)
