"""Strings of spoken digits, joined from recordings of single ones.

String `number` is drawn from (seed, number) alone: which digits, who says them, which
recordings of them, the silence around each, and the noise.
"""

import collections
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.classes import audio, fsdd
from unroll.data.speech.value import Utterances


class Recording(NamedTuple):
  """A label as someone says it: its samples, `[samples]`."""

  label: str
  speaker: str
  sound: NDArray[np.floating]


class Joined(NamedTuple):
  """How recordings become strings.

  Attributes:
    least: labels of a string, at the least.
    most: labels of a string, at the most.
    mixed: whether each label is said by anybody, and not all of a string by one.
    gap: the longest silence before, between and after the labels, in seconds.
    noise: the standard deviation of white noise, as a part of the root mean square of
      the string.
  """

  least: int = 3
  most: int = 7
  mixed: bool = False
  gap: float = 0.2
  noise: float = 0.0


def recordings(rate: int) -> dict[str, list[Recording]]:
  """The recordings of fsdd in each part, at so many samples a second.

  Raises:
    BadInput: they are not there.
  """
  return {
    part: [_read(p, rate) for p in own] for part, own in fsdd.recordings().items()
  }


def strings(
  own: Sequence[Recording], joined: Joined, rate: int, count: int, seed: int
) -> Utterances:
  """So many strings; each is put together when it is asked for.

  Args:
    own: the recordings, of which every speaker has each label.
    joined: how.
    rate: samples a second.
    count: how many strings.
    seed: of all draws.
  """
  takes = _takes(own)
  plans = [_plan(takes, joined, rate, seed, number) for number in range(count)]
  sizes = np.array([len(recording.sound) for recording in own])
  digest = hashlib.sha256(f"{joined} {rate} {count} {seed}".encode())
  for recording in own:
    digest.update(f"{recording.label} {recording.speaker}\0".encode())
    digest.update(np.ascontiguousarray(recording.sound).data)
  return Utterances(
    lambda number: _put_together(own, plans[number], joined.noise, seed, number),
    np.array(
      [plan.silences.sum() + sizes[plan.rows].sum() for plan in plans], np.int64
    ),
    tuple(tuple(own[row].label for row in plan.rows) for plan in plans),
    tuple(f"string {number}" for number in range(count)),
    digest.hexdigest(),
  )


class _Plan(NamedTuple):
  """Which recordings, `[n]`, and the samples of silence around them, `[n + 1]`."""

  rows: NDArray[np.int64]
  silences: NDArray[np.int64]


def _read(path: Path, rate: int) -> Recording:
  label, speaker, _ = path.stem.split("_")
  return Recording(label, speaker, audio.mono(path, rate))


def _takes(own: Sequence[Recording]) -> Mapping[str, Mapping[str, list[int]]]:
  """The recordings by speaker and label."""
  takes: dict[str, dict[str, list[int]]] = collections.defaultdict(dict)
  for row, recording in enumerate(own):
    takes[recording.speaker].setdefault(recording.label, []).append(row)
  return takes


def _plan(takes, joined: Joined, rate: int, seed: int, number: int) -> _Plan:
  draw = np.random.default_rng((seed, number))
  size = int(draw.integers(joined.least, joined.most, endpoint=True))
  speakers = sorted(takes)
  who = draw.integers(len(speakers), size=size if joined.mixed else 1)
  rows = []
  for one in np.broadcast_to(who, size).tolist():
    said = takes[speakers[one]]
    own = said[sorted(said)[draw.integers(len(said))]]
    rows.append(own[draw.integers(len(own))])
  silences = draw.uniform(0, joined.gap * rate, size + 1).astype(np.int64)
  return _Plan(np.array(rows, np.int64), silences)


def _put_together(
  own: Sequence[Recording], plan: _Plan, noise: float, seed: int, number: int
) -> NDArray[np.floating]:
  parts = [np.zeros(plan.silences[0])]
  for row, silence in zip(plan.rows, plan.silences[1:]):
    parts += [own[row].sound, np.zeros(silence)]
  sound = np.concatenate(parts)
  if noise:
    draw = np.random.default_rng((seed, number, 1))
    loudness = np.sqrt(np.mean(sound**2))
    sound = sound + draw.normal(0, noise * loudness, len(sound))
  return sound
