"""Samples of a model of music: as settings ask for them, as files and as pictures."""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from unroll import generate, memory
from unroll.data.music import midi
from unroll.data.music.rolls import KEYS, LONGEST, Roll, piece, roll
from unroll.loading import Loaded
from unroll.report.rolls import Shown
from unroll.settings import setting
from unroll.types import BadInput

DRAWN = 64  # steps of a piece that is drawn


@dataclass(frozen=True)
class Samples:
  """Samples"""

  length: int = setting(
    64, "steps of a sample, after the primer", least=1, most=LONGEST, role="call"
  )
  samples: int = setting(1, "samples at once", least=1, most=1000, role="call")
  temperature: float = setting(
    1.0, "temperature of samples; 0: the keys likelier than not", least=0, role="call"
  )
  tempo: float = setting(
    90.0, "beats a minute of samples", least=4, most=1000, role="call"
  )
  primer: str = setting(
    "", "MIDI file whose beginning samples continue", kind="path", role="call"
  )
  primer_steps: int = setting(0, "steps of the primer; 0: all", least=0, role="call")
  output: str = setting(
    "sample.mid",
    "MIDI file that --mode=sample writes; beside it the same as a picture",
    kind="path",
    role="call",
  )


def expected(model: Loaded, keys: Roll, part: str) -> Shown:
  """A piece of a part, and what the model expects of each step after those before."""
  keys = keys[:DRAWN]
  before = np.concatenate([np.zeros_like(keys[:1]), keys[:-1]])[:, None]
  carry = model.initial_carry(model.params, 1)
  _, logits = model.apply(model.params, carry, jax.device_put(before))
  chances = np.asarray(jax.nn.sigmoid(logits[:, 0]))
  title = f"A piece of the {part} part, and what is expected of each step"
  return Shown(title, keys, chances)


def check(chosen: Samples, grid: int) -> None:
  """Refuses before training what samples cannot have."""
  t = chosen.temperature
  if not (t == 0 or generate.COLDEST <= t <= generate.HOTTEST):
    raise BadInput(
      f"temperature={t}: give 0 for the keys likelier than not, or a number from "
      f"{generate.COLDEST:g} to {generate.HOTTEST:g}"
    )
  if not chosen.output.lower().endswith((".mid", ".midi")):
    raise BadInput(f"output={chosen.output}: give the name of a .mid file")
  steps = len(primer(chosen, grid)) + chosen.length
  memory.check(
    8 * chosen.samples * steps * KEYS,
    f"samples={chosen.samples} of length={chosen.length}",
  )


def primer(chosen: Samples, grid: int) -> Roll:
  """The steps that samples continue, `[P, 88]`; none without a file of them."""
  if not chosen.primer:
    return np.zeros((0, KEYS), np.uint8)
  keys, _ = roll(midi.read(chosen.primer), grid, chosen.primer)
  return keys[: chosen.primer_steps or None]


def draw(model: Loaded, given: Roll, chosen: Samples, seed: int) -> np.ndarray:
  """What a model plays after a primer, `[samples, P + length, 88]`."""
  return model.generate(
    model.params,
    given,
    length=chosen.length,
    samples=chosen.samples,
    seed=seed,
    temperature=chosen.temperature,
  )


def write(keys: Roll, grid: int, tempo: float, path: Path) -> int:
  """Writes a roll as a MIDI file; returns the number of its notes."""
  found = piece(keys, grid)
  midi.write(path, found, tempo)
  return len(found.notes)
