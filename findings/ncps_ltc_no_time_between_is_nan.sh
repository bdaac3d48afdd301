#!/usr/bin/env bash
# Guessed: LTC(inputs, timespans) takes two events at the same time, a span of 0, as a step of
#   no time, after which its state is what it was; CfC of the same library takes them.
# In fact: the state and all outputs from there on are NaN, in every unit: the solver divides
#   the capacitance by span / unfolds. No error is raised. A span of 1e-6 is fine.
# Versions: ncps 1.0.1, torch 2.13.0 (CPU build), numpy 2.4.6, Python 3.11, Linux x86-64,
#   2026-11-29.
# Why it matters: series with irregular times, which these cells are for, often have several
#   events with one time stamp; a single one makes the loss of a batch NaN.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q torch==2.13.0 ncps==1.0.1 numpy==2.4.6
cd "$folder"
bin/python -I - <<'EOF'
import platform
from importlib.metadata import version

import torch
from ncps.torch import LTC, CfC

torch.manual_seed(0)
xs = torch.randn(1, 4, 3)


def finite(make, middle):
  """Which of four steps have finite outputs, the second with such a span."""
  spans = torch.tensor([1.0, middle, 1.0, 1.0]).reshape(1, 4, 1)
  with torch.no_grad():
    ys, _ = make(xs, timespans=spans)
  return torch.isfinite(ys).all(-1)[0].tolist()


ltc, cfc = LTC(3, 5), CfC(3, 5)
print(f"ncps {version('ncps')}, torch {torch.__version__}, Python {platform.python_version()}")
found = {
  "LTC, span 0": finite(ltc, 0.0),
  "LTC, span 1e-6": finite(ltc, 1e-6),
  "CfC, span 0": finite(cfc, 0.0),
}
for name, steps in found.items():
  print(f"{name}: finite outputs at steps", steps)
as_found = list(found.values()) == [[True, False, False, False], [True] * 4, [True] * 4]
raise SystemExit(0 if as_found else "this behaviour has changed")
EOF
