"""Strict arithmetic for every test: no silent rank broadcasting, no silent casts."""

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
