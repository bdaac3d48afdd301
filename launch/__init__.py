"""Sweeps: what to run, and where; experiments are reached by command line alone."""

import signal
import sys

if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
  # Ctrl-C while libraries are imported just ends the process; `main.run_main` takes it
  # back.
  signal.signal(signal.SIGINT, signal.SIG_DFL)
