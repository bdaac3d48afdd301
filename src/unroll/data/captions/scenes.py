"""Scenes of coloured shapes and what is to be said of them, made from a seed.

A picture has one right sentence. Its shapes have different colours and are named in the
order of `COLOURS`; where the second lies from the first is told, as is the third:

  a small red circle
  a small red circle above a large blue square
  a small red circle above a large blue one
  a small red circle above a large blue square and left of a large white cross

In the third sentence both are circles. A place is told by the axis along which the two
lie further apart; it is further by a margin.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.captions.value import Captioned
from unroll.data.splits import NAMES
from unroll.types import BadInput

COLOURS = {
  "red": (225, 45, 45),
  "green": (50, 175, 60),
  "blue": (55, 95, 235),
  "yellow": (240, 215, 50),
  "purple": (165, 60, 200),
  "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = ("small", "large")
RELATIONS = ("left of", "right of", "above", "below")
BACKGROUND = 40  # the grey of what is no shape
RADII = (0.1, 0.17)  # of small and large shapes, in sides of a picture
MARGIN = 0.1  # how much further apart along one axis than along the other, in sides
OBJECTS = 3  # the most in a picture
LEAST = 24  # pixels of a side
FINE = 8  # parts of a pixel's side that a shape covers or not
DRAWN = 4096  # scenes drawn at once

# What training has not: nothing, some shapes in some colours, or how some shapes lie
# from some others.
HELD_OUT = ("none", "objects", "relations")


class Scenes(NamedTuple):
  """N scenes of up to three shapes; where there is none all numbers are -1.

  Attributes:
    colour: `[N, 3]`, which of `COLOURS`, in rising order.
    shape: `[N, 3]`, which of `SHAPES`.
    size: `[N, 3]`, which of `SIZES`.
    centre: `[N, 3, 2]`, in pixels, x before y.
  """

  colour: NDArray[np.int64]
  shape: NDArray[np.int64]
  size: NDArray[np.int64]
  centre: NDArray[np.int64]

  def some(self, rows: NDArray | slice) -> "Scenes":
    """Those of some rows, or where a mask is true."""
    return Scenes(*(leaf[rows] for leaf in self))

  @property
  def there(self) -> NDArray[np.bool_]:
    """Where there is a shape, `[N, 3]`."""
    return self.colour >= 0

  @property
  def relation(self) -> NDArray[np.int64]:
    """Where the first shape lies from the second and third, `[N, 2]` of `RELATIONS`."""
    x, y = np.moveaxis(self.centre[:, :1] - self.centre[:, 1:], -1, 0)
    found = np.where(np.abs(x) > np.abs(y), (x > 0).astype(int), 2 + (y > 0))
    return np.where(self.there[:, 1:], found, -1)


def parts(
  counts: tuple[int, int, int], size: int, objects: int, held_out: str, seed: int
) -> dict[str, Captioned]:
  """Scenes to train on, to validate and to test; no picture is there twice.

  Args:
    counts: of pictures of "train", "val" and "test".
    size: pixels of a side.
    objects: the most shapes in a picture, up to 3.
    held_out: a name in `HELD_OUT`: what no picture has but those of a fourth part,
      "held_out", of as many as the test; "none": there is no such part.
    seed: of all of them.

  Raises:
    BadInput: pictures are too small, or one alone has no relation to hold out.
  """
  if size < LEAST:
    raise BadInput(f"size={size}: scenes need {LEAST} pixels or more")
  if not 1 <= objects <= OBJECTS:
    raise BadInput(f"objects={objects}: scenes have 1 to {OBJECTS} shapes")
  if held_out not in HELD_OUT:
    raise BadInput(f"held_out={held_out}: choose {', '.join(HELD_OUT)}")
  if held_out == "relations" and objects < 2:
    raise BadInput(
      "held_out=relations needs two shapes, and objects=1 has one: give more objects, "
      "or held_out=objects"
    )
  random, seen = np.random.default_rng(seed), set[bytes]()
  wanted = sum(counts), counts[2] * (held_out != "none")
  found: tuple[list[Scenes], list[Scenes]] = ([], [])
  while any(sum(map(_count, own)) < least for own, least in zip(found, wanted)):
    drawn = draw(random, size, objects)
    rows = np.concatenate([leaf.reshape(len(leaf), -1) for leaf in drawn], axis=1)
    place = {row.tobytes(): number for number, row in enumerate(rows)}
    new = np.array([n for row, n in place.items() if row not in seen], int)
    if len(new) < len(rows) / 50:
      raise BadInput(
        f"there are few scenes of size={size} and objects={objects} beside "
        f"{len(seen)}: ask for fewer"
      )
    seen |= place.keys()
    apart = held(drawn, held_out)[new]
    for own, chosen in zip(found, (new[~apart], new[apart])):
      own.append(drawn.some(chosen))
  usual, unusual = (Scenes(*map(np.concatenate, zip(*own))) for own in found)
  ends = np.cumsum(counts).tolist()
  edges = zip(NAMES, [0, *ends], ends)
  chosen = {name: usual.some(slice(start, end)) for name, start, end in edges}
  if held_out != "none":
    chosen["held_out"] = unusual.some(slice(counts[2]))
  return {
    name: Captioned(pictures(own, size), [(text,) for text in sentences(own)])
    for name, own in chosen.items()
  }


def draw(random: np.random.Generator, size: int, objects: int) -> Scenes:
  """Draws scenes: of some thousands those whose places can be told."""
  drawn = (DRAWN, OBJECTS)
  count = random.integers(1, objects, size=(DRAWN, 1), endpoint=True)
  there = np.arange(OBJECTS) < count
  colours = random.permuted(np.tile(np.arange(len(COLOURS)), (DRAWN, 1)), axis=1)
  colour = np.sort(np.where(there, colours[:, :OBJECTS], len(COLOURS)), axis=1)
  shape, large = (
    random.integers(len(SHAPES), size=drawn),
    random.integers(2, size=drawn),
  )
  radius = np.array(radii(size))[large]
  centre = random.integers(radius[..., None], size - radius[..., None], (*drawn, 2))
  clear = np.ones(DRAWN, bool)
  for i in range(OBJECTS):
    for j in range(i):
      apart = np.sort(np.abs(centre[:, i] - centre[:, j]), axis=1)
      told = apart[:, 1] - apart[:, 0] >= MARGIN * size
      beside = apart[:, 1] > radius[:, i] + radius[:, j]
      clear &= (told & beside) | ~there[:, i]
  # The more shapes the fewer are clear: as many are kept of each number of shapes.
  rows = [np.flatnonzero(clear & (count[:, 0] == n + 1)) for n in range(objects)]
  kept = np.sort(np.concatenate([own[: min(map(len, rows))] for own in rows]))
  colour, shape, large = (np.where(there, leaf, -1) for leaf in (colour, shape, large))
  centre = np.where(there[..., None], centre, -1)
  return Scenes(colour, shape, large, centre).some(kept)


def held(scenes: Scenes, held_out: str) -> NDArray[np.bool_]:
  """Which scenes have what training has not, `[N]`.

  A quarter of the pairs of colour and shape, or of the triples of the shape named
  first, how it lies from another, and the shape of that.
  """
  if held_out == "none":
    return np.zeros(_count(scenes), bool)
  if held_out == "objects":
    own = (scenes.colour + scenes.shape) % len(SHAPES) == 0
    return np.any(own & scenes.there, axis=1)
  along = (scenes.shape[:, :1] + scenes.shape[:, 1:]) % len(RELATIONS)
  return np.any((scenes.relation == along) & scenes.there[:, 1:], axis=1)


def sentences(scenes: Scenes) -> list[str]:
  """What is to be said of each scene."""
  found = []
  rows = (scenes.colour, scenes.shape, scenes.size, scenes.relation)
  for colour, shape, size, relation in zip(*(leaf.tolist() for leaf in rows)):
    names = [
      f"a {SIZES[size[i]]} {list(COLOURS)[colour[i]]} {SHAPES[shape[i]]}"
      for i in range(OBJECTS)
      if colour[i] >= 0
    ]
    if len(names) == 2 and shape[0] == shape[1]:
      names[1] = names[1].removesuffix(SHAPES[shape[1]]) + "one"
    places = [f"{RELATIONS[r]} {name}" for r, name in zip(relation, names[1:])]
    found.append(" and ".join([" ".join(names[:1] + places[:1]), *places[1:]]))
  return found


def pictures(scenes: Scenes, size: int) -> NDArray[np.uint8]:
  """The pictures of scenes, uint8 `[N, size, size, 3]`, with soft edges."""
  out = np.full((len(scenes.colour), size, size, 3), BACKGROUND, np.uint8)
  covered = [[_covered(shape, r) for r in radii(size)] for shape in SHAPES]
  colours = np.array(list(COLOURS.values()))
  for picture, *shapes in zip(out, *(leaf.tolist() for leaf in scenes)):
    for colour, shape, large, (x, y) in zip(*shapes):
      if colour >= 0:
        own = covered[shape][large]
        radius = len(own) // 2
        box = slice(y - radius, y + radius + 1), slice(x - radius, x + radius + 1)
        picture[box] = np.rint(BACKGROUND + own * (colours[colour] - BACKGROUND))
  return out


def radii(size: int) -> tuple[int, int]:
  """Of small and large shapes in pictures of some size, in pixels."""
  small, large = (round(share * size) for share in RADII)
  return small, large


def _covered(shape: str, radius: int) -> NDArray[np.float64]:
  """How much of each pixel a shape covers, `[2 r + 1, 2 r + 1, 1]`."""
  side = 2 * radius + 1
  at = (np.arange(side * FINE) + 0.5) / (side * FINE) * 2 - 1
  x, y = np.meshgrid(at, at)
  inside = {
    "circle": x**2 + y**2 <= 1,
    "square": np.maximum(np.abs(x), np.abs(y)) <= 0.9,
    "triangle": np.abs(x) <= (y + 1) / 2,
    "cross": np.minimum(np.abs(x), np.abs(y)) <= 0.3,
  }[shape]
  return inside.reshape(side, FINE, side, FINE).mean((1, 3))[..., None]


def _count(scenes: Scenes) -> int:
  return len(scenes.colour)
