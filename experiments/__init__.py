"""Experiments: a page each, run with `python -m experiments.NAME --flags`."""

from experiments.session import front
from experiments.session import start as start

front.answer()
