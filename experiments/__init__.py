"""Experiments: a page each, run with `python -m experiments.NAME --flags`."""

import time

# Before anything heavy is imported: `--minutes` counts the start-up too.
STARTED = time.monotonic()
