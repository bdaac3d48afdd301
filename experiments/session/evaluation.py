"""An evaluation: from sums over a split to the numbers that people read."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.session.task import Task
from unroll.data.batches import Source
from unroll.data.prefetch import epoch
from unroll.types import Params, Sums


class Pass:
  """One pass over a source: its dispatches, placed on the devices.

  What fits into one dispatch stays there; anything larger is read anew, so that the
  memory of an evaluation does not grow with the split.

  Args:
    source: the batches.
    place: (count, stacked batches) -> both as the program takes them.
  """

  def __init__(self, source: Source, place: Any):
    self.source, self._place = source, place
    self._whole: list[Any] = []

  def __iter__(self) -> Iterator[tuple[Any, Any]]:
    if self._whole:
      yield from self._whole
      return
    for count, batches in epoch(self.source):
      placed = self._place(count, batches)
      if count == len(self.source):
        self._whole = [placed]
      yield placed


def numbers(
  task: Task, split: str, sums: Mapping[str, dict[str, Sums]], params: Params | None
) -> dict[str, float]:
  """The numbers of an evaluation, by name.

  Args:
    task: what is evaluated.
    split: its name, before each number's.
    sums: those of each source, on the host.
    params: for the judge; None where there is none.

  Returns:
    "split/measure" for every measure, by the first source; before them, for each
    source, "split/measure_source" of the first measure.
  """
  evaluation, (first, *_) = task.evaluations[split], task.measures
  judged = dict(task.judge(params, split)) if task.judge else {}
  whole = {name: {**part, **evaluation.facts} for name, part in sums.items()}
  chosen = whole[next(iter(evaluation.sources))]
  measured = {m.name: m.of(chosen) for m in task.measures if m.name not in judged}
  found = {}
  if first.name in measured:
    found = {f"{first.name}_{name}": first.of(part) for name, part in whole.items()}
  found |= {m.name: {**measured, **judged}[m.name] for m in task.measures}
  return {f"{split}/{name}": float(value) for name, value in found.items()}
