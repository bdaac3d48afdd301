"""Pairs of texts by name: public files, pinned, and rules that make them."""

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import NamedTuple

from unroll.data import cache
from unroll.data.cache import public
from unroll.data.pairs.files import Pair, parallel, parted, tabbed
from unroll.data.splits import NAMES
from unroll.data.synthetic import transductions
from unroll.errors import guess
from unroll.types import BadInput


class Entry(NamedTuple):
  """A public set of translations.

  Attributes:
    languages: those there are; any two are a direction.
    load: (source language, target language, split) -> the pairs of each part.
    direction: the usual one.
    licence: of the text.
    note: what one should know.
  """

  languages: tuple[str, ...]
  load: Callable[[str, str, str], Mapping[str, list[Pair]]]
  direction: str
  licence: str
  note: str


def _multi30k(source: str, target: str, split: str) -> dict[str, list[Pair]]:
  if split:
    raise BadInput(f"split={split}: multi30k has parts of its own; leave it out")
  found = {}
  for part, name in zip(NAMES, ("train", "val", "test_2016_flickr")):
    files = [public(f"multi30k/{name}.{side}.gz") for side in (source, target)]
    one, other = (cache.read(file) for file in files)
    found[part] = parallel(one, other, files[0].path, files[1].path)
  return found


def _fra_eng(source: str, target: str, split: str) -> dict[str, list[Pair]]:
  file = public("fra_eng/fra-eng.zip")
  with zipfile.ZipFile(io.BytesIO(cache.read(file))) as archive:
    data = archive.read("fra-eng/fra.txt")
  # French has spaces of its own before a mark, three of them: each is one as any other.
  spaces = str.maketrans("\u202f\u00a0\u2009", "   ")
  pairs = [
    Pair(english.translate(spaces), french.translate(spaces))
    for english, french in tabbed(data, file.path)
  ]
  if source == "fr":
    pairs = [Pair(french, english) for english, french in pairs]
  return parted(pairs, split, "fra_eng")


SETS: dict[str, Entry] = {
  "multi30k": Entry(
    languages=("de", "en", "fr"),
    load=_multi30k,
    direction="de-en",
    licence="not stated; for research, cite Elliott et al. 2016",
    note="Captions of pictures, the first task of WMT 2016 and its test set of that "
    "year: 29,000, 1,014 and 1,000 sentences, not tokenised.",
  ),
  "fra_eng": Entry(
    languages=("en", "fr"),
    load=_fra_eng,
    direction="en-fr",
    licence="CC BY 2.0 FR, tatoeba.org and manythings.org/anki",
    note="167,130 short English sentences with a French one each, by length, as in "
    "Dive into Deep Learning, which takes the first: split=512,128.",
  ),
}


def synthetic(spec: str) -> bool:
  """Whether a spec is that of a rule, whose targets are right or wrong."""
  return spec.partition(":")[0] in transductions.FORMS


def load(spec: str, split: str = "", first: int = 0) -> Mapping[str, list[Pair]]:
  """The pairs of a set by part.

  Args:
    spec: a name, or a name and a direction: "multi30k:en-de"; or that of a rule, see
      `transductions.load`.
    split: see `files.parted`, for a set that has no parts of its own.
    first: training pairs that a rule makes; 0: as many as it makes by itself.

  Raises:
    BadInput: there is no such set or direction, or it cannot be had.
  """
  name, _, direction = spec.partition(":")
  if synthetic(spec):
    if split:
      raise BadInput(f"split={split}: {name} has parts of its own; leave it out")
    return transductions.load(spec, pairs=first)
  if name not in SETS:
    names = (*SETS, *transductions.FORMS)
    raise BadInput(
      f"data={spec}: choose one of {', '.join(names)}, or give files with `train`"
      f"{guess(name, names)}"
    )
  entry = SETS[name]
  source, _, target = (direction or entry.direction).partition("-")
  if source == target or not {source, target} <= set(entry.languages):
    raise BadInput(
      f"data={spec}: {name} has the languages {', '.join(entry.languages)}; choose "
      f"two, as in {name}:{entry.direction}"
    )
  return entry.load(source, target, split)
