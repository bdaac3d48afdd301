"""Sweeps: what to run, and where; experiments are reached by command line alone."""
