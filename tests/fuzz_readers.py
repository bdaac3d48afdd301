"""Damaged files for every reader: each is read, or refused in one sentence.

  python -m tests.fuzz_readers --inputs=20000 --seed=1

What a reader takes is cut, flipped, spliced and mixed with what often breaks programs.
An input that reaches a line of the package that none before has is kept, and damaged
An input that reaches a line of the package that none before has is kept and damaged
way than a result or `BadInput` is shown with its bytes, and the exit code is 1.
"""

import argparse
import io
import json
import signal
import sys
import tempfile
import traceback
import warnings
import wave
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from unroll import loading, records
from unroll.data import conll, table, text, tokens
from unroll.data.captions import folder
from unroll.data.classes import arrays, audio
from unroll.data.classes import table as labelled
from unroll.data.music import midi, rolls, scores
from unroll.data.pairs import files as pairs
from unroll.data.series import regular
from unroll.data.vocabulary import Vocabulary
from unroll.ngram import arpa
from unroll.ngram import saved as counts
from unroll.ngram.counts import count
from unroll.report import sweeps
from unroll.types import BadInput

SECONDS = 20  # that a file of a few hundred bytes may take
PACKAGE = str(Path(loading.__file__).parent)
# What often breaks programs that read.
PIECES = [
  *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\r\n\r\n", b'"', b"'", b"\\", b"\t"),
  *(b",", b";", b"-1", b"0", b"1e999", b"nan", b"inf", b"9" * 40, b"-0.0", b"\x80"),
  *("é".encode(), "\u2028".encode(), "\u0130".encode(), b"[" * 2000, b"{}", b"null"),
  *(b"true", b"1_000", b" ", b"\n\n\n", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x1a"),
]


class Reader(NamedTuple):
  """What reads a kind of file.

  Attributes:
    name: of the file.
    whole: what it reads.
    read: reads the file at a path.
  """

  name: str
  whole: bytes
  read: Callable[[Path], Any]


def _wav() -> bytes:
  out = io.BytesIO()
  with wave.open(out, "wb") as file:
    file.setparams((2, 2, 8000, 0, "NONE", ""))
    file.writeframes(np.arange(200, dtype="<i2").tobytes())
  return out.getvalue()


def _npz(**values: Any) -> bytes:
  out = io.BytesIO()
  np.savez(out, **values)
  return out.getvalue()


def _counts() -> bytes:
  with tempfile.TemporaryDirectory() as place:
    path = Path(place) / "counts.npz"
    ids = np.array([3, 1, 0, 1, 2, 1, 3, 0])
    counts.write(count(ids, 2, 3), path)
    return path.read_bytes()


def _png() -> bytes:
  out = io.BytesIO()
  Image.fromarray(np.arange(75, dtype=np.uint8).reshape(5, 5, 3)).save(out, "PNG")
  return out.getvalue()


def _midi() -> bytes:
  roll = np.zeros((12, rolls.KEYS), bool)
  roll[np.arange(12), np.arange(12) * 5] = True
  return midi.encoded(rolls.piece(roll, 2), 90)


def _trials() -> bytes:
  trial = {"slot": 3, "state": "complete", "params": {"cell": "gru", "hidden": 32}}
  told = {"objective": ["val/loss"], "directions": ["minimize"]}
  return json.dumps({**told, "trials": [{**trial, "values": [2.5]}]}).encode()


def _config() -> bytes:
  flags = {"hidden": [4], "cell": ["lstm"], "seed": 0, "dtype": "float32"}
  config = {"experiment": "charlm", "flags": flags, "data": "0" * 64, "files": {}}
  return json.dumps({**config, "versions": {"jax": "1"}, "splits": {"val": 3}}).encode()


CONLLU = b"""# text = It's
1-2\tIt's\t_\t_\t_\t_\t_\t_\t_\t_
1\tIt\tit\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2\t's\tbe\tAUX\tVBZ\t_\t0\troot\t_\t_
2.1\tx\tx\tX\tX\t_\t_\t_\t_\t_

1\tGo\tgo\tVERB\tVB\t_\t0\troot\t_\t_

"""
ARPA = rb"""\data\
ngram 1=4
ngram 2=3

\1-grams:
-1.0 <s> -0.3
-0.6 </s>
-0.5 a -0.2
-0.7 b -0.1

\2-grams:
-0.3 <s> a
-0.4 a b
-0.2 b </s>

\end\
"""
SERIES = b"time,a,b\n2020-01-01,1.5,2\n2020-01-02,2.5,\n2020-01-03,-3e2,4\n" + b"".join(
  b"2020-01-%02d,%d,%d\n" % (day, day, day * day % 7) for day in range(4, 28)
)


def _series(path: Path) -> Any:
  options = {"targets": ["a"], "time": "time", "gaps": "linear"}
  return regular.load(path, warn=lambda said: None, **options)


def _folder(path: Path) -> Any:
  return folder.read(path, 4, str(path))


def _labelled(path: Path) -> Any:
  return labelled.read(path, "text", "label")


def _vocabulary(path: Path) -> Any:
  return tokens.from_json(path.read_text("utf-8", "replace"), str(path))


READERS = [
  Reader("text.txt", "To be,\nor not — to be.\n".encode(), text.read_text),
  Reader("series.csv", SERIES, _series),
  Reader("labels.csv", b'text,label\n"a, b",x\nc,y\n"d ""e""",x\n', _labelled),
  Reader("labels.tsv", b"text\tlabel\na b\tx\nc\ty\n", _labelled),
  Reader(
    "labels.jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n', _labelled
  ),
  Reader(
    "table.csv", b'a;b\n1;"2\n3"\n', lambda p: table.read_table(p.read_bytes(), str(p))
  ),
  Reader("words.conllu", CONLLU, lambda p: conll.read(p.read_bytes(), str(p))),
  Reader(
    "words.conll",
    b"EU B-ORG\nrejects O\n\nPeter B-PER\nSmith I-PER\n",
    lambda p: conll.read(p.read_bytes(), str(p)),
  ),
  Reader("pairs.tsv", b"hallo welt\thello world\nja\tyes\n", pairs.read),
  Reader("sound.wav", _wav(), audio.read_wav),
  Reader("piece.mid", _midi(), midi.read),
  Reader(
    "scores.json",
    json.dumps(
      {part: [[[60, 64], [62], []]] for part in ("train", "valid", "test")}
    ).encode(),
    lambda p: scores.load(str(p)),
  ),
  Reader("picture.png", _png(), _folder),
  Reader(
    "arrays.npz",
    _npz(x=np.arange(24.0).reshape(4, 3, 2), y=np.array([0, 1, 0, 1])),
    arrays.read,
  ),
  Reader("model.arpa", ARPA, lambda p: arpa.read(p, "\n")),
  Reader("counts.npz", _counts(), counts.read),
  Reader(
    "vocab.json",
    Vocabulary.build("to be or not").to_json().encode(),
    _vocabulary,
  ),
  Reader("config.json", _config(), lambda p: loading.configuration(p.parent)),
  Reader("trials.json", _trials(), lambda p: sweeps.read(p.parent).lines(80, 9)),
  Reader(
    "metrics.jsonl",
    b'{"step": 1, "val/loss": 2.5}\n{"step": 2, "x": null}\n',
    lambda p: records.read(p, warn=lambda said: None),
  ),
]


class Found(NamedTuple):
  """What became of damaged files.

  Attributes:
    inputs: how many.
    refused: how many of them were.
    kept: how many reached a line that none before had.
    faults: how others ended: what was raised, and an input that raises it.
  """

  inputs: int
  refused: int
  kept: int
  faults: dict[str, bytes]


def damaged(data: bytes, other: bytes, draw: np.random.Generator) -> bytes:
  """A file with a few faults."""
  made = bytearray(data)
  for _ in range(1 + draw.integers(3)):
    at = int(draw.integers(len(made) + 1))
    kind = draw.integers(6)
    if kind == 0 and made:
      made[at % len(made)] ^= 1 << int(draw.integers(8))
    elif kind == 1:
      del made[at : at + int(draw.integers(1, 9))]
    elif kind == 2:
      made[at:at] = PIECES[draw.integers(len(PIECES))]
    elif kind == 3:
      piece = PIECES[draw.integers(len(PIECES))]
      made[at : at + len(piece)] = piece
    elif kind == 4:
      start = int(draw.integers(len(other) + 1))
      made[at:at] = other[start : start + int(draw.integers(1, 60))]
    elif draw.integers(4) == 0:
      del made[at:]
  return bytes(made)


def fuzz(reader: Reader, inputs: int, seed: int, place: Path) -> Found:
  """Damages what a reader reads, many times.

  Args:
    reader: of files of one kind.
    inputs: how many damaged files.
    seed: of the damage.
    place: a folder for the file.
  """
  draw, path = np.random.default_rng(seed), place / reader.name
  corpus, lines, faults = [reader.whole], set[Any](), dict[str, bytes]()
  path.write_bytes(reader.whole)
  reader.read(path)  # which is well
  refused = 0
  for _ in range(inputs):
    start, other = (corpus[draw.integers(len(corpus))] for _ in range(2))
    data = damaged(start if draw.integers(2) else reader.whole, other, draw)
    path.write_bytes(data)
    before = len(lines)
    fault = _tried(reader, path, lines)
    refused += fault is None
    if fault:
      faults.setdefault(fault, data)
    if len(lines) > before and len(corpus) < 500:
      corpus.append(data)
  return Found(inputs, refused, len(corpus) - 1, faults)


def _tried(reader: Reader, path: Path, lines: set[Any]) -> str | None:
  """ "" where a file was read, None where it was refused, else what was raised."""

  def trace(frame: Any, event: str, _: Any) -> Any:
    if not frame.f_code.co_filename.startswith(PACKAGE):
      return None
    lines.add((frame.f_code, frame.f_lineno))
    return trace

  signal.alarm(SECONDS)
  sys.settrace(trace)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      warnings.simplefilter("error", ResourceWarning)
      reader.read(path)
    return ""
  except BadInput as error:
    said = str(error)
    return None if said and "\n" not in said else f"a sentence of several lines: {said}"
  except MemoryError:
    return None  # told at the door
  except Exception as error:
    where = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in where if frame.filename.startswith(PACKAGE)][-1]
    return f"{type(error).__name__} at {Path(own.filename).name}:{own.lineno}: {error}"
  finally:
    sys.settrace(None)
    signal.alarm(0)


def _late(number: int, frame: Any) -> None:
  raise TimeoutError(f"it took more than {SECONDS} s")


def main() -> None:
  """Prints what became of files of every kind."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--inputs", type=int, default=2000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--only", default="")
  chosen = parser.parse_args()
  signal.signal(signal.SIGALRM, _late)
  found = Counter[str]()
  with tempfile.TemporaryDirectory() as folder:
    for reader in READERS:
      if chosen.only not in reader.name:
        continue
      result = fuzz(reader, chosen.inputs, chosen.seed, Path(folder))
      found += Counter(inputs=result.inputs, faults=len(result.faults))
      print(
        f"{reader.name:14} {result.inputs:6} damaged, {result.refused:6} refused, "
        f"{result.kept:4} kept, {len(result.faults)} faults",
        flush=True,
      )
      for fault, data in result.faults.items():
        print(f"  {fault[:300]}\n    {data[:200]!r}")
  print(f"{found['inputs']} damaged files, {found['faults']} faults")
  sys.exit(bool(found["faults"]))


if __name__ == "__main__":
  main()
