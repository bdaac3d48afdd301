"""An epoch of a classifier of sentences, by library: a table."""

from collections.abc import Sequence

from bench.race import Contestant, Row
from bench.sentences import there
from bench.table import NONE, OURS, markdown, number


def contestants(devices: int, peers: Sequence[str], keeps: bool) -> list[Contestant]:
  """Ours and the peers, with the sentences that are there.

  PyTorch comes twice: with packed sequences, which it has a function for, and with
  padded ones and a layer each way, which take more lines of a user, and are faster.
  """
  data = {"data": there()}
  ours = Contestant(OURS, OURS, data, devices)
  ways: dict[str, dict[str, dict[str, bool]]] = {
    "torch": {"torch, packed": {}, "torch, padded by hand": {"packed": False}},
    "keras": {"keras": {}},
  }
  return [
    ours,
    *(
      Contestant(name, peer, data | options, keeps=keeps)
      for peer in peers
      for name, options in ways[peer].items()
    ),
  ]


def table(rows: Sequence[Row]) -> str:
  """A line for each way: seconds of an epoch, and of the first, which compiles."""
  head = ["", "an epoch, s", f"/ {OURS}", "the first, s", "padding", "batches"]
  body = []
  for row in rows:
    ours = row.results[OURS].get("minimum")
    for name, result in row.results.items():
      cells = [name, *[NONE] * 5]
      if (least := result.get("minimum")) is not None:
        cells[1] = f"{number(least)} ({number(result['median'])})"
        cells[2] = NONE if ours is None else f"{least / ours:.2f}"
        cells[3] = number(result["first"])
        cells[4] = f"{result['padding']:.1%}" if "padding" in result else NONE
        cells[5] = result["configuration"]
      body.append(cells)
  return markdown(head, body)
