"""The scores that have a name: public piano rolls, pinned."""

from typing import NamedTuple

from unroll.data.cache import File, public

_BACH = "public domain (J. S. Bach)"
_TRANSCRIBED = "not stated; transcriptions, passed on in an MIT repository"


class Entry(NamedTuple):
  """A public set of scores.

  Attributes:
    file: where it is, `.json` or `.mat`.
    grid: steps of a beat.
    licence: of the music, or what is known about it.
    note: what one should know.
  """

  file: File
  grid: int
  licence: str
  note: str = ""


SCORES: dict[str, Entry] = {
  "jsb_chorales": Entry(
    file=public("jsb_chorales/jsb-chorales-quarter.json"),
    grid=1,
    licence=_BACH,
    note="382 chorales in four voices, in quarter notes: the set of the literature.",
  ),
  "jsb_chorales_16th": Entry(
    file=public("jsb_chorales/Jsb16thSeparated.json"),
    grid=4,
    licence=_BACH,
    note="The same chorales in sixteenths, whose likelihood is another quantity.",
  ),
  "jsb_chorales_mat": Entry(
    file=public("jsb_chorales/JSB_Chorales.mat"),
    grid=1,
    licence=_BACH,
    note="The rolls of jsb_chorales, from the file of the TCN paper (Bai et al. 2018).",
  ),
  "nottingham": Entry(
    file=public("nottingham/Nottingham.mat"),
    grid=2,
    licence=_TRANSCRIBED,
    note="1,037 folk tunes with chords.",
  ),
  "musedata": Entry(
    file=public("musedata/MuseData.mat"),
    grid=2,
    licence=_TRANSCRIBED,
    note="783 pieces for orchestra and piano.",
  ),
  "piano_midi": Entry(
    file=public("piano_midi/Piano_midi.mat"),
    grid=2,
    licence=_TRANSCRIBED,
    note="124 pieces for the piano.",
  ),
}
