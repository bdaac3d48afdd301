"""Things with a label from files: every kind, and what is wrong with one."""

import io
import re

import numpy as np
import pytest
from scipy.io import wavfile

from unroll.data.classes import Labelled, arrays, audio, table
from unroll.data.classes.value import check, split
from unroll.types import BadInput

DRAW = np.random.default_rng(0)
# file name, its bytes, columns, what is read.
TEXTS = {
  "csv": (
    "a.csv",
    b'id,text,label\r\n1,"one, ""two""",up\r\n2,"two\nlines",down\r\n',
    ("text", "label"),
    [('one, "two"', "up", "line 2"), ("two\nlines", "down", "line 3")],
  ),
  "semicolons": (
    "a.csv",
    "\ufefflabel;text\nup;größer\n".encode(),
    ("text", "label"),
    [("größer", "up", "line 2")],
  ),
  "tsv": (
    "a.tsv",
    b'text\tlabel\n"quoted\t1\n\t0\n',
    ("text", "label"),
    [('"quoted', "1", "line 2"), ("", "0", "line 3")],
  ),
  "tsv_without_header": (
    "a.tsv",
    b"5\ta b\n3\tc\n",
    ("2", "1"),
    [("a b", "5", "line 1"), ("c", "3", "line 2")],
  ),
  "jsonl": (
    "a.jsonl",
    b'{"review": "a\\u2028b", "stars": 5}\n\n{"review": "", "stars": true}\n',
    ("review", "stars"),
    [("a\u2028b", "5", "line 1"), ("", "true", "line 3")],
  ),
}
FAULTS = {
  "ragged": ("a.csv", b"text,label\na,b,c\n", r"a\.csv, line 2 has 3 cells"),
  "ragged_tsv": ("a.tsv", b"text\tlabel\na\tb\nc\n", r"a\.tsv, line 3 has 1 cells"),
  "no_column": ("a.csv", b"text,stars\na,b\n", "label=label: a.csv has the columns"),
  "no_label": ("a.tsv", b"text\tlabel\na\t \n", "a.tsv, line 2 has no label"),
  "no_rows": ("a.csv", b"text,label\n", "no row"),
  "not_utf8": ("a.tsv", b"text\tlabel\na\t\xff\n", "line 2 is not UTF-8"),
  "not_json": ("a.jsonl", b'{"text": "a", "label": "b"}\n{,}\n', "line 2 is not JSON"),
  "no_key": ("a.jsonl", b'{"text": "a"}\n', "line 1 is no object with"),
  "a_list": ("a.jsonl", b'{"text": "a", "label": [1]}\n', "line 1: 'label' is no"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_and_labels_are_read(name):
  where, data, columns, expected = TEXTS[name]
  found = table.parse(data, where, *columns)
  assert [
    (*both, place.removeprefix(f"{where}, "))
    for *both, place in zip(found.inputs, found.labels, found.places)
  ] == expected


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_read_without_their_labels(tmp_path, name):
  where, data, (text, _), expected = TEXTS[name]
  (tmp_path / where).write_bytes(data)
  assert table.texts(tmp_path / where, text) == [row[0] for row in expected]
  with pytest.raises(BadInput, match=r"columns|no object with 'none'"):
    table.texts(tmp_path / where, "none")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_line(name):
  where, data, said = FAULTS[name]
  with pytest.raises(BadInput, match=said):
    table.parse(data, where, "text", "label")


def of_labels(labels):
  return Labelled([f"text {i}" for i in range(len(labels))], labels, labels)


def test_a_split_has_each_once_and_the_classes_in_proportion():
  labels = ["a"] * 700 + ["b"] * 200 + ["c"] * 100
  parts = split(of_labels(labels), "0.5,0.3,0.2")
  texts = [text for part in parts.values() for text in part.inputs]
  assert sorted(texts) == sorted(of_labels(labels).inputs)
  for part, share in zip(parts.values(), (0.5, 0.3, 0.2)):
    assert len(part.labels) == 1000 * share
    for label in "abc":
      assert abs(part.labels.count(label) - share * labels.count(label)) <= 1
  assert split(of_labels(labels), "0.5,0.3,0.2") == parts
  assert parts["train"].inputs[:3] != ["text 0", "text 1", "text 2"]


def test_a_split_that_leaves_nothing_is_refused():
  with pytest.raises(BadInput, match="leaves none for val"):
    split(of_labels(["a", "b", "a"]))


def test_classes_are_those_of_training_in_natural_order():
  parts = {"train": of_labels(["10", "9", "x"]), "val": of_labels(["9"])}
  assert check(parts) == ("9", "10", "x")
  with pytest.raises(BadInput, match=r"^new: no training example has the label 'new'"):
    check(parts | {"val": of_labels(["9", "new"])})
  with pytest.raises(BadInput, match="two classes"):
    check({"train": of_labels(["9", "9"])})


@pytest.fixture
def x():
  return DRAW.normal(size=(4, 5, 2)).astype(np.float32)


def test_arrays_are_series_of_their_lengths(tmp_path, x):
  path = tmp_path / "a.npz"
  np.savez(path, x=x, y=[3, 1, 3, 1], lengths=[5, 0, 2, 4])
  found = arrays.read(path)["all"]
  assert list(found.labels) == ["3", "1", "3", "1"]
  for row, series, length in zip(x, found.inputs, [5, 0, 2, 4]):
    np.testing.assert_array_equal(series, row[:length])
  np.savez(
    path, x_train=x, y_train=list("abab"), x_test=x[:, :, 0], y_test=list("bbaa")
  )
  parts = arrays.read(path)
  assert parts.keys() == {"train", "test"}
  assert parts["test"].inputs[0].shape == (5, 1)


@pytest.mark.parametrize(
  "others, said",
  [
    ({"y": [1, 2, 3]}, r"must be \[N, T, D\]"),
    ({"y": [1, 2, 3, 4], "x": np.arange(4.0)}, r"x \(4,\) must be \[N, T, D\]"),
    ({"y": 1, "x": np.float32(2)}, r"x \(\) must be \[N, T, D\]"),
    ({}, "no array y"),
    ({"y": np.array([1, 2, "a", None], object)}, "cannot be read|no such values"),
    ({"y": [1, 2, 3, 4], "lengths": [6, 1, 1, 1]}, "must be 0 to 5"),
    ({"y": [1, 2, 3, 4], "x": np.full((4, 5, 2), np.nan)}, r"x\[0\] is not finite"),
  ],
)
def test_faulty_arrays_are_refused(tmp_path, x, others, said):
  np.savez(tmp_path / "a.npz", **{"x": x, **others})
  with pytest.raises(BadInput, match=said):
    arrays.read(tmp_path / "a.npz")


def test_what_is_no_archive_is_refused(tmp_path, x):
  np.save(tmp_path / "one.npy", x)
  (tmp_path / "one.npy").rename(tmp_path / "one.npz")
  (tmp_path / "text.npz").write_text("no archive")
  for name in ("one.npz", "text.npz", "missing.npz"):
    with pytest.raises(BadInput, match=re.escape(name)):
      arrays.read(tmp_path / name)


SOUND = 0.5 * np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)
ENCODED = {
  "16": np.round(SOUND * 2**15).astype(np.int16),
  "32": np.round(SOUND * 2**31).astype(np.int32),
  "8": np.round(SOUND * 128 + 128).astype(np.uint8),
  "float": SOUND.astype(np.float32),
  "double": SOUND,
  "stereo": np.stack([SOUND + 0.1, SOUND - 0.1], axis=1).astype(np.float32),
}


@pytest.mark.parametrize("kind", ENCODED)
def test_a_sound_is_the_same_in_every_encoding(tmp_path, kind):
  path = tmp_path / "a.wav"
  wavfile.write(path, 8000, ENCODED[kind])
  sound, rate = audio.read_wav(path)
  assert rate == 8000
  tolerance = 1 / 127 if kind == "8" else 1e-4
  np.testing.assert_allclose(sound.mean(axis=1), SOUND, atol=tolerance)


def test_a_sound_of_another_rate_has_the_same_spectrogram(tmp_path):
  fast = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
  wavfile.write(tmp_path / "fast.wav", 16000, fast)
  wavfile.write(tmp_path / "slow.wav", 8000, SOUND)
  fast, slow = (
    audio.features(tmp_path / f"{name}.wav", audio.Mel()) for name in ("fast", "slow")
  )
  assert fast.shape == slow.shape == (51, 40)
  inner = slice(3, -3)  # the ends are those of two filters
  assert (fast[inner].argmax(1) == slow[inner].argmax(1)).all()
  np.testing.assert_allclose(fast[inner].max(1), slow[inner].max(1), atol=0.1)


def test_filters_have_an_area_of_one_and_their_tops_on_the_mel_scale():
  found = audio.filters(audio.Mel(rate=16000, window=4096, bands=24))
  step = 8000 / 2048
  np.testing.assert_allclose(found.sum(1) * step, 1, atol=0.02)
  tops = found.argmax(1) * step
  linear = tops[tops < 1000]
  np.testing.assert_allclose(np.diff(linear), np.diff(linear)[0], atol=2 * step)
  high = tops[tops > 1100]
  np.testing.assert_allclose(
    high[1:] / high[:-1], (high[-1] / high[0]) ** (1 / (len(high) - 1)), atol=0.01
  )


def test_faulty_sounds_are_refused(tmp_path):
  out = io.BytesIO()
  wavfile.write(out, 8000, np.zeros(0, np.int16))
  files = {"text": b"RIFF no sound", "nothing": b"", "empty": out.getvalue()}
  wavfile.write(out := io.BytesIO(), 8000, np.full(9, np.nan, np.float32))
  files["nan"] = out.getvalue()
  for name, data in files.items():
    (tmp_path / f"{name}.wav").write_bytes(data)
    with pytest.raises(BadInput, match=f"{name}.wav"):
      audio.features(tmp_path / f"{name}.wav", audio.Mel())
  with pytest.raises(BadInput, match="has no WAVE files"):
    audio.folder(tmp_path, audio.Mel())
