"""Sweep folders as a sweep leaves them, made without one: for tests of what shows them.

python -m tests.sweep_folder grid FOLDER      (or: random FOLDER [TRIALS])
"""

import itertools
import json
import math
import random
import sys
from pathlib import Path
from typing import Any

OBJECTIVE = "val/loss"
SAMPLE = """The first argument is the {cell} of the class, as in the module's own
statement. If the name is not bound to an object, a "NameError" exception is raised;
otherwise the value of the expression <{cell}> & "its" operand are evaluated.
"""
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
FLOOR = {"rnn": 2.35, "gru": 1.93, "lstm": 1.88}  # bits, of 64 units with good clipping
Trial = dict[str, Any]


def grid(sweep: Path, *, seeds: int = 3, steps: int = 600) -> Path:
  """Cell x hidden x clip_norm, some of it failed, pruned, running or waiting."""
  rows = itertools.product(("rnn", "gru", "lstm"), (32, 64, 128), (0.1, 0.5, 2.0, 10.0))
  names = ("cell", "hidden", "clip_norm")
  trials = []
  for slot, row in enumerate(rows):
    state = {3: "failed", 7: "failed", 11: "pruned", 34: "running", 35: "waiting"}
    trial = _trial(sweep, slot, dict(zip(names, row)), state.get(slot, "complete"))
    _train(sweep, trial, seeds=seeds, steps=steps)
    trials.append(trial)
  importance = {"cell": 0.58, "hidden": 0.29, "clip_norm": 0.13}
  return _write(sweep, trials, "grid", importance, seeds)


def drawn(sweep: Path, trials: int = 200, *, steps: int = 200) -> Path:
  """A random search over three numbers and two words."""
  chance = random.Random(0)
  made = []
  for slot in range(trials):
    params = {
      "learning_rate": 10 ** chance.uniform(-4, -1.3),
      "clip_norm": 10 ** chance.uniform(-1, 1),
      "dropout": chance.uniform(0, 0.6),
      "cell": chance.choice(["gru", "lstm"]),
      "truncation": chance.choice(["tbptt:16", "tbptt:64", "full"]),
    }
    state = "complete"
    if params["learning_rate"] > 0.03 and chance.random() < 0.4:
      state = "failed"
    elif chance.random() < 0.12:
      state = "pruned"
    trial = _trial(sweep, slot, params, state)
    _train(sweep, trial, seeds=1, steps=steps)
    made.append(trial)
  importance = dict(
    zip(
      ("learning_rate", "dropout", "truncation", "clip_norm", "cell"),
      (0.71, 0.14, 0.09, 0.055, 0.005),
    )
  )
  return _write(sweep, made, "random", importance, 1)


def _trial(sweep: Path, slot: int, params: dict[str, Any], state: str) -> Trial:
  errors = {
    "failed": "50 steps in a row up to step 150 had a loss or gradient that is not "
    "finite: lower --learning_rate or --clip_norm",
    "pruned": "worse at step 200 than the median of the trials before",
  }
  return {
    "slot": slot,
    "state": state,
    "attempts": 2 if state == "failed" else int(state != "waiting"),
    "params": params,
    "values": [],
    "seconds": None,
    "error": errors.get(state),
    "runs": [],
  }


def _train(sweep: Path, trial: Trial, *, seeds: int, steps: int) -> None:
  """Writes the trial's runs: losses that fall as losses do."""
  if trial["state"] == "waiting":
    return
  params = trial["params"]
  cell, hidden = params["cell"], params.get("hidden", 64)
  rate, clip = params.get("learning_rate", 2e-3), params["clip_norm"]
  floor = (
    FLOOR[cell] - 0.16 * math.log2(hidden / 64) + 0.05 * math.log10(clip / 0.7) ** 2
  )
  floor += 0.35 * abs(math.log10(rate / 3e-3)) ** 1.7
  floor += 0.9 * (params.get("dropout", 0.1) - 0.1) ** 2
  floor += {"tbptt:16": 0.12, "full": 0.02}.get(params.get("truncation", ""), 0)
  share = {"failed": 0.25, "pruned": 0.35, "running": 0.6}.get(trial["state"], 1)
  parameters = GATES[cell] * hidden * (hidden + 64) + hidden * 96
  speed = 6e5 / (GATES[cell] + 2) / (hidden / 32) ** 0.8
  bits, times = [], []
  for seed in range(seeds):
    folder = f"runs/{trial['slot']:04d}-seed{seed}"
    chance = random.Random(f"{folder} {params}")
    level = floor + chance.gauss(0, 0.02)
    (sweep / folder).mkdir(parents=True)
    records: list[dict[str, Any]] = [{"step": 10, "start_seconds": 1.5}]
    last = int(steps * share)
    for step in range(1, last + 1):
      loss = (
        level + (5.2 - level) / (1 + step / (25 * GATES[cell])) + chance.gauss(0, 0.06)
      )
      broken = trial["state"] == "failed" and step > last - 20
      norm = chance.lognormvariate(-0.7 - 0.3 * GATES[cell] / 4, 0.4)
      loss_ = None if broken else loss * math.log(2)
      records.append({"step": step, "train/loss": loss_, "grad_norm": norm})
      seconds = 1.5 + step * 32 * 64 / speed
      if step % 50 == 0:
        records.append({"step": step, "seconds": seconds, "tokens_per_second": speed})
        loss = level + 0.1 + (5.0 - level) / (1 + step / (22 * GATES[cell]))
        value = None if broken else loss
        records.append({"step": step, OBJECTIVE: value})
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (sweep / folder / "metrics.jsonl").write_text(lines)
    run: dict[str, Any] = {"seed": seed, "workdir": folder, "summary": None}
    trial["runs"].append(run)
    times.append(seconds)
    if trial["state"] == "complete":
      bits.append(loss)
      run["summary"] = {
        OBJECTIVE: loss,
        f"best/{OBJECTIVE}": loss,
        "parameters": parameters,
        "tokens_per_second": round(speed * chance.uniform(0.97, 1.03)),
        "seconds": seconds,
        "finished": True,
      }
      (sweep / folder / "sample.txt").write_text(SAMPLE.format(cell=cell) * 2)
      (sweep / folder / "report.html").write_text("<!doctype html><title>run</title>")
  trial["seconds"] = sum(times)
  if bits:
    trial["values"] = [sum(bits) / len(bits)]


def _write(
  sweep: Path,
  trials: list[Trial],
  search: str,
  importance: dict[str, float],
  seeds: int,
) -> Path:
  best = min((t for t in trials if t["values"]), key=lambda t: t["values"][0])
  flags = {"layers": "1", "steps": "600", "batch": "32", "corpus": "pydoc"}
  given = " ".join(f"--{name}={text}" for name, text in flags.items())
  listed = {
    "experiment": "experiments.charlm",
    "objective": [OBJECTIVE],
    "directions": ["minimize"],
    "flags": flags,
    "search": search,
    "command": f"python -m launch.sweep experiments.charlm {given} --search={search} "
    f"--seeds={seeds}",
    "finished": all(t["state"] not in ("waiting", "running") for t in trials),
    "trials": trials,
    "importance": importance,
    "chosen": {
      "slot": best["slot"],
      "test": {"test/loss": best["values"][0] + 0.03},
    },
  }
  (sweep / "sweep.json").write_text(json.dumps({"experiment": "experiments.charlm"}))
  (sweep / "trials.json").write_text(json.dumps(listed))
  return sweep


if __name__ == "__main__":
  make = {"grid": grid, "random": drawn}[sys.argv[1]]
  print(make(Path(sys.argv[2]), *map(int, sys.argv[3:])))
