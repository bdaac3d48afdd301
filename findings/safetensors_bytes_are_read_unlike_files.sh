#!/usr/bin/env bash
# Guessed: safetensors.numpy.load of the bytes of a file gives what load_file of the file
#   gives, and load reads what save of the same module wrote.
# In fact: load_file reads bfloat16, and load of the same bytes raises KeyError: 'BF16'. So
#   do load_file and load of safetensors.flax.
# Versions: safetensors 0.8.0, numpy 2.4.6, ml_dtypes 0.6.0, jax 0.10.2, Python 3.11,
#   Linux x86-64, 2026-11-30.
# Why it matters: weights from an archive, a database or a network are bytes, and bfloat16
#   is how most are kept; a program that was tried with files fails with them. Write the
#   bytes to a file first.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q safetensors==0.8.0 numpy==2.4.6 ml_dtypes==0.6.0 jax==0.10.2 jaxlib==0.10.2
cd "$folder"
bin/python -I - <<'END'
import importlib.metadata
import platform

import ml_dtypes
import numpy as np
import safetensors.flax
import safetensors.numpy

array = np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)
data = safetensors.numpy.save({"a": array})
with open("a.safetensors", "wb") as file:
  file.write(data)

version = importlib.metadata.version("safetensors")
print(f"safetensors {version}, Python {platform.python_version()}")
found = []
for module in (safetensors.numpy, safetensors.flax):
  for read, given in ((module.load_file, "a.safetensors"), (module.load, data)):
    try:
      same = bool(np.array_equal(np.asarray(read(given)["a"]), array))
      found.append(f"equal: {same}")
    except Exception as error:
      found.append(repr(error))
    print(f"{module.__name__}.{read.__name__}: {found[-1]}")
expected = ["equal: True", "KeyError('BF16')"] * 2
raise SystemExit(0 if found == expected else "this behaviour has changed")
END
