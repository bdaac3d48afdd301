#!/usr/bin/env bash
# Guessed: chrF of a corpus counts every hypothesis, as BLEU and TER do; words where the
#   reference has none are wrong, and lower it.
# In fact: a hypothesis whose reference is empty adds nothing to chrF: neither what it has
#   matched, which is nothing, nor what it has written. A corpus with one perfect sentence
#   and any number of sentences where there should be none has chrF2 100. BLEU and TER of
#   the same corpus count what was written: 56.8 and 83.3.
# Versions: sacrebleu 2.6.0, Python 3.11, Linux x86-64, 2026-11-30.
# Why it matters: where empty references are valid, as of lines that are to be left out, or
#   of captions of nothing, chrF does not see that a model writes there. Read it beside
#   BLEU or exact matches.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q sacrebleu==2.6.0
cd "$folder"
bin/python -I - <<'END'
import platform

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF, TER

FOUND = ["the cat sat on a mat", "a dog ran far away"]
WANTED = ["the cat sat on a mat", ""]

print(f"sacrebleu {sacrebleu.__version__}, Python {platform.python_version()}")
scores = {
  metric.__class__.__name__: metric.corpus_score(FOUND, [WANTED]).score
  for metric in (BLEU(), CHRF(), TER())
}
for name, score in scores.items():
  print(f"{name}: {score:.1f}")
as_found = scores["CHRF"] == 100 and scores["BLEU"] < 60 and scores["TER"] > 80
raise SystemExit(0 if as_found else "this behaviour has changed")
END
