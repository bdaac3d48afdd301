"""MIDI files: the notes of a file, and a file of notes."""

import io
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll import files
from unroll.types import BadInput

DRUMS = 9  # the channel whose notes are drums: a pitch names an instrument there
VELOCITY = 80  # of the notes that are written
TICKS = 960  # a beat, of what is written and of files that count in seconds
LONGEST = 2**28 - 1  # ticks between two events, the most that a file can say


class Note(NamedTuple):
  """A note, from one tick up to another.

  Attributes:
    start: in ticks.
    end: in ticks, after the start.
    pitch: its number in MIDI, 60 for the middle C.
  """

  start: int
  end: int
  pitch: int


class Piece(NamedTuple):
  """The notes of a piece.

  Attributes:
    notes: by start, then by pitch.
    per_beat: ticks of a beat, which is a quarter note.
    end: the tick where the piece ends; silence may follow the last note.
  """

  notes: tuple[Note, ...]
  per_beat: int
  end: int


def read(path: str | Path) -> Piece:
  """The notes of a MIDI file of format 0 or 1, all tracks and channels together.

  Times are in beats, which the tempo does not change; a file that counts in frames of
  a second (SMPTE) has its beats from its tempo map. Drums are left out, and pedals are
  not held down. The first note-off of a pitch ends its oldest note in that track and
  channel; a note without one ends with the last of its pitch, or with the track.

  Args:
    path: of the file.

  Raises:
    BadInput: it cannot be read, is no MIDI file, is cut off, or has no notes.
  """
  path = Path(path)
  try:
    data = path.read_bytes()
  except OSError as error:
    raise BadInput(
      f"{path} cannot be read ({error.strerror}): give a MIDI file"
    ) from None
  division, tracks = _events(data, path)
  notes = sorted(note for track in tracks for note in _notes(track))
  if not notes:
    drums = any(m.type == "note_on" for track in tracks for _, m in track)
    raise BadInput(
      f"{path} has no notes{' but drums' if drums else ''}: give a file that has some"
    )
  end = max(track[-1][0] for track in tracks if track)
  if division & 0x8000:
    return _from_seconds(notes, end, tracks, division)
  return Piece(tuple(notes), division, end)


def encoded(piece: Piece, tempo: float) -> bytes:
  """A MIDI file of format 0, on a piano.

  Notes of one pitch must not overlap, as those of a roll do not: readers differ in
  which of them a note-off ends.

  Args:
    piece: the notes.
    tempo: beats a minute, about 3.6 to 60,000,000.

  Raises:
    BadInput: the tempo is none that a file can have.
  """
  mido = _mido()
  microseconds = round(60e6 / tempo) if tempo > 0 else 0
  if not 1 <= microseconds < 2**24:
    raise BadInput(f"tempo={tempo}: give 4 to 60,000,000 beats a minute")
  track = mido.MidiTrack()
  track.append(mido.MetaMessage("set_tempo", tempo=microseconds))
  track.append(mido.Message("program_change", program=0))
  events = [(note.start, "note_on", note.pitch) for note in piece.notes]
  events += [(note.end, "note_off", note.pitch) for note in piece.notes]
  now = 0
  for at, kind, pitch in sorted(events):  # at one tick note_off comes before note_on
    track.append(mido.Message(kind, note=pitch, velocity=VELOCITY, time=at - now))
    now = at
  track.append(mido.MetaMessage("end_of_track", time=max(piece.end - now, 0)))
  out = io.BytesIO()
  mido.MidiFile(type=0, ticks_per_beat=piece.per_beat, tracks=[track]).save(file=out)
  return out.getvalue()


def write(path: str | Path, piece: Piece, tempo: float) -> None:
  """Writes a MIDI file: see `encoded`.

  Raises:
    OSError: it cannot be written.
  """
  files.write(Path(path), encoded(piece, tempo))


Events = list[tuple[int, Any]]  # ticks from the start, and the message of mido


def _events(data: bytes, path: Path) -> tuple[int, list[Events]]:
  """The division of time that a file's header has, and the events of each track."""
  mido = _mido()
  division, tracks = _chunks(data, path)
  found = []
  for number, track in enumerate(tracks, 1):
    # A file of one track: mido neither passes over other chunks nor reads SMPTE.
    alone = struct.pack(">4sIHHH4sI", b"MThd", 6, 0, 1, TICKS, b"MTrk", len(track))
    try:
      (messages,) = mido.MidiFile(file=io.BytesIO(alone + track), clip=True).tracks
    except Exception as error:  # of many kinds, whatever stands in the bytes
      said = "its last event is not whole" if isinstance(error, EOFError) else error
      raise BadInput(
        f"{path}: track {number} is damaged ({said}): give a sound copy"
      ) from None
    if any(message.time > LONGEST for message in messages):
      raise BadInput(f"{path}: track {number} is damaged (a time is beyond all limits)")
    times = np.cumsum([message.time for message in messages], dtype=np.int64).tolist()
    found.append(list(zip(times, messages)))
  return division, found


def _chunks(data: bytes, path: Path) -> tuple[int, list[bytes]]:
  """The division of time, and the bytes of each track; other chunks are passed over."""
  if data[:4] != b"MThd":
    raise BadInput(
      f"{path} is no MIDI file: it begins with {data[:4]!r}, and one begins with MThd"
    )
  if len(data) < 14:
    raise BadInput(f"{path} is cut off within its header: give the whole file")
  size, form, count, division = struct.unpack(">IHHH", data[4:14])
  if form > 1:
    raise BadInput(
      f"{path} is a MIDI file of format {form}, whose tracks are no one piece: save it "
      "as format 0 or 1"
    )
  if not division:
    raise BadInput(f"{path} has 0 ticks a beat: give a sound copy")
  at, tracks = 8 + size, list[bytes]()
  while len(tracks) < count:
    if len(data) < at + 8:
      raise BadInput(
        f"{path} is cut off: it has {len(tracks)} of {count} tracks; give the whole "
        "file"
      )
    name, size = struct.unpack(">4sI", data[at : at + 8])
    body = data[at + 8 : at + 8 + size]
    if len(body) < size:
      raise BadInput(
        f"{path} is cut off: track {len(tracks) + 1} has {len(body)} of {size} bytes; "
        "give the whole file"
      )
    if name == b"MTrk":
      tracks.append(body)
    at += 8 + size
  return division, tracks


def _notes(track: Events) -> Iterable[Note]:
  sounding: dict[tuple[int, int], list[int]] = defaultdict(list)
  ended: dict[tuple[int, int], int] = {}
  for at, message in track:
    if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
      continue
    key = (message.channel, message.note)
    if message.type == "note_on" and message.velocity:
      sounding[key].append(at)
      continue
    ended[key] = at
    if sounding[key]:
      start = sounding[key].pop(0)
      if start < at:
        yield Note(start, at, message.note)
  for key, starts in sounding.items():
    for start in starts:
      last = ended.get(key, -1)
      end = last if last > start else track[-1][0]
      if start < end:
        yield Note(start, end, key[1])


def _from_seconds(
  notes: Sequence[Note], end: int, tracks: Sequence[Events], division: int
) -> Piece:
  """A piece whose ticks are parts of a second, in ticks of a beat."""
  frames = 256 - (division >> 8)
  rate = 30 / 1.001 if frames == 29 else frames  # 29 stands for that of NTSC
  a_second = rate * max(division & 0xFF, 1)
  tempos = sorted(
    (at, max(message.tempo, 1))
    for track in tracks
    for at, message in track
    if message.type == "set_tempo"
  )
  changes = dict([(0, 500000), *tempos])  # 120 beats a minute until it is said
  since, microseconds = np.array(list(changes.items()), float).T
  beat = a_second * microseconds / 1e6  # ticks of one, after each change
  passed = np.concatenate([[0], np.cumsum(np.diff(since) / beat[:-1])])

  def ticks(at: Iterable[int]) -> NDArray[np.int64]:
    times = np.array(list(at), float)
    last = np.searchsorted(since, times, side="right") - 1
    beats = passed[last] + (times - since[last]) / beat[last]
    return np.round(beats * TICKS).astype(np.int64)

  starts, ends = ticks(n.start for n in notes), ticks(n.end for n in notes)
  found = zip(starts.tolist(), ends.tolist(), (note.pitch for note in notes))
  whole = tuple(sorted(Note(*each) for each in found if each[0] < each[1]))
  return Piece(whole, TICKS, int(ticks([end])[0]))


def _mido() -> ModuleType:
  try:
    import mido
  except ImportError:
    raise BadInput(
      "MIDI files need the package mido: pip install -e '.[music]' brings it"
    ) from None
  return mido
