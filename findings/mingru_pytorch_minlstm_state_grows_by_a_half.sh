#!/usr/bin/env bash
# Guessed: minLSTM of minGRU-pytorch goes on from the state that it has returned, in chunks as
#   step by step, as minGRU of the same package does.
# In fact: a chunk of more than one step sends the state once more through the function that
#   makes candidates positive, which adds 0.5 to what is positive already: it starts from
#   h + 0.5 in every unit. Calls of one step use the state as it is. A state of zeros is
#   therefore not the same as none.
# Versions: minGRU-pytorch 0.2.1, torch 2.13.0 (CPU build), numpy 2.4.6, einops 0.8.2, Python
#   3.11, Linux x86-64, 2026-12-01.
# Why it matters: training in chunks that hand their state on (truncated backpropagation), and
#   reading a prompt in pieces, run on states that the model never had; generation step by step
#   is right, so that training and use differ. Here a sequence in chunks is the sequence, of every
#   cell: `test_a_split_sequence_is_the_whole` in `tests/scan_test.py`.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q torch==2.13.0 numpy==2.4.6 einops==0.8.2 minGRU-pytorch==0.2.1
cd "$folder"
bin/python -I - <<'END'
import platform
from importlib.metadata import version

import torch
from minGRU_pytorch import minGRU
from minGRU_pytorch.minLSTM import minLSTM

torch.manual_seed(0)
B, T, CUT, D = 2, 10, 5, 8
xs = torch.randn(B, T, D)


def steps(model, state):
  ys = []
  for t in range(CUT, T):
    y, state = model(xs[:, t : t + 1], state, return_next_prev_hidden=True)
    ys.append(y)
  return torch.cat(ys, 1)


def off(one, two):
  return (one - two).abs().max().item()


names = ", ".join(f"{name} {version(name)}" for name in ("minGRU-pytorch", "torch"))
print(f"{names}, Python {platform.python_version()}")
found = {}
with torch.no_grad():
  for kind in (minGRU, minLSTM):
    model = kind(D)
    whole = model(xs)[:, CUT:]
    _, state = model(xs[:, :CUT], return_next_prev_hidden=True)
    chunk = model(xs[:, CUT:], state)
    found[kind.__name__] = (
      off(chunk, whole),
      off(steps(model, state), whole),
      off(chunk, steps(model, state + 0.5)),
    )
for name, (chunked, stepped, more) in found.items():
  print(f"{name}, from the state after {CUT} of {T} steps, beside the whole sequence:")
  print(f"  as a chunk: off by {chunked:.1e}; step by step: off by {stepped:.1e}")
  print(f"  the chunk, beside steps from the state + 0.5: off by {more:.1e}")
gru, lstm = found["minGRU"], found["minLSTM"]
as_found = max(gru[0], gru[1], lstm[1], lstm[2]) < 1e-5 and lstm[0] > 0.1
raise SystemExit(0 if as_found else "this behaviour has changed")
END
