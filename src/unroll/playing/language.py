"""What the server of a page answers about a language model: it reads tokens."""

import base64
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from unroll.data.powers import power
from unroll.data.text import EOS, JOINER
from unroll.data.vocabulary import Vocabulary
from unroll.diagnose.reading import reading
from unroll.loading import Loaded
from unroll.playing.steps import Strip, steps_of
from unroll.serving.language import opening
from unroll.types import BadInput, Carry

LONGEST = 8192  # tokens that are read at once
CARRIES = 32  # texts whose ends are remembered, so that one token more is one step
RECENT = 96  # steps of which units are shown


class Reader:
  """Reads texts; it remembers carries of some, and answers the same without them."""

  def __init__(self, loaded: Loaded):
    self._steps, self._vocabulary = steps_of(loaded), loaded.vocabulary
    self._carries: OrderedDict[bytes, Carry] = OrderedDict()
    self._lock = threading.Lock()

  @property
  def strips(self) -> tuple[Strip, ...]:
    """What is shown of every step."""
    return self._steps.strips

  def encode(self, given: Mapping[str, Any]) -> dict[str, Any]:
    """`{"text": …}` -> `{"tokens": […]}`; of an empty text a line break."""
    text = given.get("text")
    if not isinstance(text, str):
      raise BadInput('text is missing: give {"text": "…"}')
    tokens = opening(self._vocabulary, text).tolist()
    if len(tokens) > LONGEST:
      raise BadInput(f"the text has {len(tokens)} tokens: give at most {LONGEST}")
    return {"tokens": tokens}

  def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the model says of a text.

    Args:
      given: `{"tokens": […], "from": n}`: n tokens were told of before.

    Returns:
      `logits` after the last token; `nats` of the new tokens but the first, which the
      logits before it tell; `shown`, the units `[steps, S]` after the last of the new
      tokens: float32 in base64.
    """
    tokens, known = self._checked(given)
    with self._lock:  # one text at a time: more would take turns on the same cores
      carry, start = self._carries.get(tokens[:known].tobytes()), known
      if carry is None:
        carry, start = self._steps.carry, 0
      new = tokens[start:]
      padded = np.zeros(power(len(new)), np.int32)
      padded[: len(new)] = new
      given_to = jax.device_put((padded, np.int32(len(new))))
      found = reading(self._steps.step, self._steps.params, carry, *given_to)
      self._remember(tokens.tobytes(), found.carry)
      nats, shown, logits = jax.device_get((found.nats, found.shown, found.logits))
    before = known - start
    last = shown[max(before, len(new) - RECENT) : len(new)]
    return {
      "logits": _packed(logits),
      "nats": _packed(nats[before : len(new) - 1]),
      "shown": _packed(last),
    }

  def _checked(self, given: Mapping[str, Any]) -> tuple[NDArray[np.int32], int]:
    tokens, known, size = given.get("tokens"), given.get("from", 0), self._size
    if not isinstance(tokens, list) or not 0 < len(tokens) <= LONGEST:
      raise BadInput(f"tokens: give a list of 1 to {LONGEST} of them")
    if not all(type(token) is int and 0 <= token < size for token in tokens):
      raise BadInput(f"tokens: give whole numbers from 0 to {size - 1}")
    if type(known) is not int or not 0 <= known < len(tokens):
      raise BadInput(f"from: give a whole number from 0 to {len(tokens) - 1}")
    return np.array(tokens, np.int32), known

  @property
  def _size(self) -> int:
    return len(self._vocabulary)

  def _remember(self, tokens: bytes, carry: Carry) -> None:
    self._carries[tokens] = carry
    self._carries.move_to_end(tokens)
    while len(self._carries) > CARRIES:
      self._carries.popitem(last=False)


def told(vocabulary: Vocabulary, strips: tuple[Strip, ...]) -> dict[str, Any]:
  """What a page knows of a language model, to be written as JSON."""
  name = vocabulary.tokenizer
  pieces = [_piece(vocabulary, number) for number in range(len(vocabulary))]
  spaced = name in ("word", "whitespace", "joined")
  joined = [i for i, t in enumerate(vocabulary.tokens) if t.startswith(JOINER)]
  return {
    "kind": "language",
    "tokenizer": name,
    "normalize": vocabulary.normalize,
    "pieces": pieces,
    "spaced": spaced,
    "joined": joined if name == "joined" else [],
    "unknown": vocabulary.unknown,
    "longest": LONGEST,
    "recent": RECENT,
    "strips": [{**s._asdict(), "shown": s.shown} for s in strips],
  }


def _piece(vocabulary: Vocabulary, number: int) -> str:
  """A token as it stands in a text."""
  token = vocabulary.tokens[number]
  match vocabulary.tokenizer:
    case "char":
      return token
    case "byte":
      return token if number < 128 else f"\\x{number:02x}"
    case "word" | "whitespace" | "joined":
      return "\n" if token.removeprefix(JOINER) == EOS else token.removeprefix(JOINER)
  return vocabulary.decode([number])


def _packed(array: NDArray) -> str:
  return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()
