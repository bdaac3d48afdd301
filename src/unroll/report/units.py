"""A text coloured by how much each token surprised, and by what a unit did: a page."""

import base64
import html
import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll import files
from unroll.diagnose.following import Follower

TEMPLATE = Path(__file__).with_name("units.html")
BASE = TEMPLATE.with_name("base.css")  # the looks that pages have in common
LEVELS = 127  # of a state, on either side of 0


class Reading(NamedTuple):
  """What a language model did with a text.

  Attributes:
    tokens: as they stand in the text.
    nats: `[N]`, minus the log-probability of each token before it was read; NaN for the
      first.
    states: by name, such as "layer 1 c", `[N, H]` after each token.
    followers: by property, the units of all states side by side that follow it best.
  """

  tokens: Sequence[str]
  nats: NDArray
  states: Mapping[str, NDArray]
  followers: Mapping[str, Sequence[Follower]]


def page(reading: Reading, title: str, path: Path) -> Path:
  """Writes the page: one file, without requests to anywhere.

  Args:
    reading: what it shows.
    title: of the page.
    path: where.

  Returns:
    The path.
  """
  names = [(name, values.shape[1]) for name, values in reading.states.items()]
  states = np.concatenate([*reading.states.values()], axis=1)
  largest = np.abs(states).max(axis=0)
  scaled = np.rint(LEVELS * states / np.where(largest > 0, largest, 1)).astype(np.int8)
  data: dict[str, Any] = {
    "tokens": list(reading.tokens),
    "nats": [None if np.isnan(n) else round(float(n), 3) for n in reading.nats],
    "states": names,
    "largest": [float(f"{value:.4g}") for value in largest],
    "values": base64.b64encode(np.ascontiguousarray(scaled.T).tobytes()).decode(),
    "followers": {
      name: [[one.unit, round(one.correlation, 3)] for one in some]
      for name, some in reading.followers.items()
    },
  }
  # No text of a model can end the element that it stands in.
  text = json.dumps(data).replace("<", "\\u003c")
  filled = string.Template(TEMPLATE.read_text("utf-8")).substitute(
    title=html.escape(title), data=text, base=BASE.read_text("utf-8")
  )
  files.write(path, filled.encode("utf-8", "backslashreplace"))
  return path
