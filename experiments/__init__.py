"""Experiments: a page each, run with `python -m experiments.NAME --flags`."""

import sys

from experiments.session import front, start

# While Python looks for the module that `python -m` names; other programs import it.
if sys.argv[:1] == ["-m"]:
  start.protect()
  if "-m" in sys.orig_argv:  # -mNAME is one word: the page answers by itself
    front.answer(sys.orig_argv[sys.orig_argv.index("-m") + 1], sys.argv[1:])
