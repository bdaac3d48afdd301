"""Experiments: a page each, run with `python -m experiments.NAME --flags`."""

import signal
import sys
import time

from experiments import output

# Before anything heavy is imported: `--minutes` counts the start-up too.
STARTED = time.monotonic()
if sys.argv[0] == "-m":
  output.reopen()
  if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    # Ctrl-C in the seconds of imports is no error to be traced: it just ends the
    # process. `common.run_main` takes it back.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
