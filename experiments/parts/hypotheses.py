"""Hypotheses of a decoder: how settings have them looked for, and show them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unroll.data import text
from unroll.settings import setting
from unroll.types import BadInput, Params
from unroll.writing import Beam, Hypothesis

# The name of a part -> (params -> the hypotheses of all that stands in it).
Writer = Callable[[str], Callable[[Params], list[list[Hypothesis]]]]


@dataclass(frozen=True)
class Hypotheses:
  """Hypotheses"""

  beams: int = setting(
    1,
    "hypotheses side by side; 1: the likeliest token at each step",
    role="call",
    least=1,
    most=1000,
  )
  best: int = setting(
    1, "hypotheses that are written of each thing that is read", role="call", least=1
  )
  length_penalty: float = setting(
    0.0,
    "more favours longer hypotheses, 0.6 to 1 is common; 0: by log-probability",
    role="call",
  )
  coverage_penalty: float = setting(
    0.0,
    "what it costs to leave places unread that attention can read",
    least=0,
    role="call",
  )

  @property
  def how(self) -> Beam:
    """How they are looked for."""
    if self.best > self.beams:
      raise BadInput(
        f"best={self.best} is more than beams={self.beams} can find: raise beams"
      )
    return Beam(self.beams, self.best, self.length_penalty, self.coverage_penalty)

  @property
  def first(self) -> Beam:
    """The same for the best of each alone, which is what is judged."""
    return self.how._replace(best=1)


def write(found: Sequence[Hypothesis], before: str = "") -> None:
  """Prints the hypotheses of one thing, a line each; several with their scores."""
  for one in found:
    score = f"{one.score:.4f}\t" if len(found) > 1 else ""
    print(f"{before}{score}{text.one_line(one.text)}")


def rows(found: Sequence[Hypothesis]) -> list[dict[str, object]]:
  """The hypotheses of one thing, as JSON has them."""
  return [
    {"text": one.text, "log_prob": one.log_prob, "score": one.score} for one in found
  ]
