"""MIDI files against a second reader, pretty_midi: the same notes both ways."""

import warnings

import numpy as np
import pytest

from unroll.data.music import midi, rolls

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def pretty_midi():
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what it imports
    return pytest.importorskip("pretty_midi")


def random_roll(seed, steps=50):
  keys = (np.random.default_rng(seed).random((steps, 88)) < 0.2).astype(np.uint8)
  keys[0, 30] = keys[-1, 40] = 1
  return keys


@pytest.mark.parametrize(("grid", "tempo"), [(1, 60), (4, 97), (3, 144.5), (24, 250)])
def test_another_reader_finds_the_notes_and_the_tempo(
  pretty_midi, grid, tempo, tmp_path
):
  keys, path = random_roll(grid), tmp_path / "piece.mid"
  piece = rolls.piece(keys, grid)
  midi.write(path, piece, tempo)
  found = pretty_midi.PrettyMIDI(str(path))
  [piano] = found.instruments
  assert piano.program == 0 and not piano.is_drum
  np.testing.assert_allclose(found.get_tempo_changes()[1], [tempo], rtol=1e-5)
  second = piece.per_beat * tempo / 60
  theirs = sorted((n.start, n.end, n.pitch) for n in piano.notes)
  ours = [(n.start / second, n.end / second, n.pitch) for n in piece.notes]
  assert len(theirs) == len(ours)
  np.testing.assert_allclose(
    sorted(theirs, key=lambda n: (round(n[0], 3), n[2])),
    sorted(ours, key=lambda n: (round(n[0], 3), n[2])),
    atol=1e-3,
  )


@pytest.mark.parametrize("tempo", [60, 131])
def test_what_another_writes_is_read(pretty_midi, tempo, tmp_path):
  keys, path = random_roll(tempo), tmp_path / "piece.mid"
  written = pretty_midi.PrettyMIDI(initial_tempo=tempo, resolution=220)
  piano = pretty_midi.Instrument(0)
  piece = rolls.piece(keys, 2)
  for note in piece.notes:
    start, end = (at / piece.per_beat * 60 / tempo for at in (note.start, note.end))
    piano.notes.append(pretty_midi.Note(80, note.pitch, start, end))
  written.instruments.append(piano)
  written.write(str(path))
  found, lost = rolls.roll(midi.read(path), 2, "piece")
  np.testing.assert_array_equal(found, keys)
  assert lost == 0
