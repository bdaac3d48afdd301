#!/usr/bin/env bash
# Guessed: mido reads the division of a MIDI file that counts in frames of a second (SMPTE,
#   bit 15 set) as such, or refuses the file, as it says of tracks of format 2.
# In fact: the two bytes are taken for one signed number of ticks a beat, without a word:
#   25 frames of 40 parts are -6360. A note of one second then lasts -0.079 seconds, and the
#   file is of negative length. pretty_midi, which reads by mido, raises an error about a
#   note that ends before it starts.
# Versions: mido 1.3.3, Python 3.11, Linux x86-64, 2026-11-29.
# Why it matters: a set of MIDI files from video or notation programs has times that run
#   backwards; a sort by time, or a grid, makes of them music that nobody wrote. Look at the
#   sign of `ticks_per_beat` before using any time.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q mido==1.3.3
cd "$folder"
bin/python -I - <<'EOF'
import importlib.metadata
import io
import platform
import struct

import mido

FRAMES, PARTS = 25, 40  # a tick is a millisecond
# A note on, 1,000 ticks later (in two bytes) its note-off, and the end of the track.
TRACK = bytes.fromhex("00 90 3c 40  87 68 80 3c 40  00 ff 2f 00")


def chunk(name, body):
  return name + struct.pack(">I", len(body)) + body


def length(division):
  header = struct.pack(">HHH", 0, 1, division)
  file = mido.MidiFile(file=io.BytesIO(chunk(b"MThd", header) + chunk(b"MTrk", TRACK)))
  return file.ticks_per_beat, file.length


version = importlib.metadata.version("mido")
print(f"mido {version}, Python {platform.python_version()}")
beats = length(500)
print("500 ticks a beat, 120 beats a minute: ticks a beat, seconds:", *beats)
frames = length((256 - FRAMES) << 8 | PARTS)
print("25 frames of 40 parts, 1,000 ticks a second:", *frames)
as_found = beats == (500, 1.0) and frames[0] == -6360 and -0.08 < frames[1] < -0.07
raise SystemExit(0 if as_found else "this behaviour has changed")
EOF
