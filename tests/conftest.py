"""Strict arithmetic for every test: no silent rank broadcasting, no silent casts.

The processes that tests start see signals as from a terminal, also where pytest itself
was started to ignore some, as by nohup or in the background of a script.
"""

import signal

import jax

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
