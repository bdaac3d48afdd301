#!/usr/bin/env bash
# Guessed: the package arpa reads every number of an ARPA file as the number that is written.
# In fact: of a back-off weight with an exponent it keeps what stands before it: -2.5e-05 is
#   read as -2.5, without a word. Exponents of log-probabilities are read right, and what it
#   writes itself has the wrong weight. KenLM reads the same file as it is meant.
# Versions: arpa 0.1.0b4, Python 3.11, Linux x86-64, 2026-12-01. Reported to it as issue 5 in 2019.
# Why it matters: a weight near 0 is that of a context which tells little, and C++ and Python
#   write it with an exponent below 1e-4. Words after such a context become 10^2.5 times too
#   rare, and a perplexity wrong. Files of this project have no exponents: `tests/arpa_test.py`.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q arpa==0.1.0b4
cd "$folder"
bin/python -I - <<'END'
import platform
from importlib.metadata import version

import arpa

FILE = """\\data\\
ngram 1=4
ngram 2=1

\\1-grams:
-99\t<s>\t-0.25
-0.5\t</s>
-0.5\ta\t{}
-0.5\tb

\\2-grams:
-2e-01\t<s> a

\\end\\
"""

print(f"arpa {version('arpa')}, Python {platform.python_version()}")
found = []
for weight in ("-2.5e-05", "-0.000025"):
  (model,) = arpa.loads(FILE.format(weight))
  found.append((model.log_p("<s> a"), model.log_p("a b")))
  print(f"weight {weight}: log10 p(a | <s>), p(b | a): {found[-1]}")
(known, dropped), (also_known, kept) = found
as_found = known == also_known == -0.2 and dropped == -3 and abs(kept + 0.500025) < 1e-9
raise SystemExit(0 if as_found else "this behaviour has changed")
END
