#!/usr/bin/env bash
# Guessed: the state that xlstm's chunkwise mLSTM returns (return_last_state=True) is the one its
#   step-by-step mLSTM goes on from: both are of one package, and their outputs are equal.
# In fact: one scales the query by the root of the head's width, the other the key, which is what
#   is stored. Outputs agree to the last digits; the matrix C of the chunk is that root times the
#   step's. Steps that go on from a chunk's state are wrong, without a word.
# Versions: xlstm 2.0.6, torch 2.13.0 (CPU build), Python 3.11, Linux x86-64, 2026-11-29.
# Why it matters: reading a prompt in chunks and generating step by step is what a recurrent
#   language model is for; so is comparing states with another library's. The paper scales the key.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q torch==2.13.0 numpy==2.4.6 einops==0.8.2
"$folder/bin/pip" install -q --no-deps xlstm==2.0.6
cd "$folder"
bin/python -I - <<'EOF'
import importlib.util
import platform
import sysconfig
from importlib.metadata import version
from pathlib import Path

import torch

# The file by itself: importing the package asks for what this does not need.
where = Path(sysconfig.get_paths()["purelib"], "xlstm/blocks/mlstm/backends.py")
spec = importlib.util.spec_from_file_location("backends", where)
backends = importlib.util.module_from_spec(spec)
spec.loader.exec_module(backends)

WIDTH, STEPS = 16, 4
torch.manual_seed(0)
draw = lambda *shape: torch.randn(1, 1, *shape, dtype=torch.float64)  # noqa: E731
q, k, v = (draw(STEPS, WIDTH) for _ in range(3))
i, f = draw(STEPS), draw(STEPS) + 2

chunk, (c_chunk, _, _) = backends.chunkwise_simple(
  q, k, v, i, f, chunk_size=STEPS, return_last_state=True
)
c, n, m = torch.zeros(1, 1, WIDTH, WIDTH), torch.zeros(1, 1, WIDTH, 1), torch.zeros(1, 1, 1, 1)
c, n, m = c.double(), n.double(), m.double()
steps = []
for t in range(STEPS):
  at = slice(t, t + 1)
  h, (c, n, m) = backends.recurrent_step_stabilized_simple(
    c, n, m, q[:, :, at], k[:, :, at], v[:, :, at], i[:, :, at, None], f[:, :, at, None]
  )
  steps.append(h)
apart = float((torch.cat(steps, 2) - chunk).abs().max())
ratio = c_chunk / c
print(f"xlstm {version('xlstm')}, torch {torch.__version__}, Python {platform.python_version()}")
print(f"outputs differ by {apart:.1e}; C of the chunk is {float(ratio.mean()):.4f} times the step's")
as_found = apart < 1e-5 and float((ratio - WIDTH**0.5).abs().max()) < 1e-5
raise SystemExit(0 if as_found else "this behaviour has changed")
EOF
