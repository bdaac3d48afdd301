#!/usr/bin/env bash
# Guessed: torchrecurrent's LEMCell is the long expressive memory (Rusch et al. 2022) that its
#   documentation has: the output of a step reads the memory c(t) that this step has written.
# In fact: it reads c(t-1), the memory before the step. The new memory itself is right, and is
#   in the state that is returned; it reaches the output one step late.
# Versions: torchrecurrent 0.2.5, torch 2.13.0 (CPU build), numpy 2.4.6, Python 3.11, Linux
#   x86-64, 2026-12-01.
# Why it matters: with weights of the authors' code, or of another library, outputs differ at
#   every step; a network that was trained with it is right nowhere else. Here the output reads
#   what was just written: the rows of `lem` in `tests/gated_rows.py`, by the paper.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q torch==2.13.0 numpy==2.4.6 torchrecurrent==0.2.5
cd "$folder"
bin/python -I - <<'END'
import platform
from importlib.metadata import version

import torch
from torchrecurrent import LEMCell

torch.manual_seed(0)
D, H, B = 3, 4, 2
cell = LEMCell(D, H)
x, h, c = torch.randn(B, D), torch.randn(B, H), torch.randn(B, H)

with torch.no_grad():
  found_h, found_c = cell(x, (h, c))
  fast, slow, new, output = (x @ cell.weight_ih.T + cell.bias_ih).chunk(4, 1)
  more_fast, more_slow, more_new = (h @ cell.weight_hh.T + cell.bias_hh).chunk(3, 1)
  fast = cell.dt * torch.sigmoid(fast + more_fast)
  slow = cell.dt * torch.sigmoid(slow + more_slow)
  written = (1 - slow) * c + slow * torch.tanh(new + more_new)

  def out(memory):
    read = torch.tanh(output + memory @ cell.weight_ch.T + cell.bias_ch)
    return (1 - fast) * h + fast * read

  def off(one, two):
    return (one - two).abs().max().item()

  of_memory = off(found_c, written)
  documented, before = off(found_h, out(written)), off(found_h, out(c))

names = ", ".join(f"{name} {version(name)}" for name in ("torchrecurrent", "torch"))
print(f"{names}, Python {platform.python_version()}")
print(f"the new memory beside the paper's: off by {of_memory:.1e}")
print(f"the output, read from the new memory: off by {documented:.3f}")
print(f"the output, read from the memory before: off by {before:.1e}")
as_found = of_memory < 1e-6 and before < 1e-6 and documented > 0.1
raise SystemExit(0 if as_found else "this behaviour has changed")
END
