"""Whether two runs are the same, bit for bit."""

import contextlib
import json

import numpy as np
from orbax.checkpoint import v1 as ocp

TIMES = {"seconds", "start_seconds", "tokens_per_second"}


def records(workdir):
  """The lines of the log, but for the times."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  stripped = ({k: v for k, v in json.loads(x).items() if k not in TIMES} for x in lines)
  return [record for record in stripped if record.keys() > {"step"}]


def steps_of(workdir):
  with contextlib.suppress(FileNotFoundError):
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*"))
  return []


def leaves(workdir):
  """The arrays of the newest checkpoint, by name, as orbax reads them."""
  return ocp.load(workdir / "checkpoints" / str(steps_of(workdir)[-1]))


def same_run(a, b):
  """Asserts the same log and, bit for bit, the same state."""
  assert records(a) == records(b)
  assert steps_of(a)[-1] == steps_of(b)[-1]
  one, other = leaves(a), leaves(b)
  assert one.keys() == other.keys()
  for name, array in one.items():
    np.testing.assert_array_equal(array, other[name], err_msg=name, strict=True)
