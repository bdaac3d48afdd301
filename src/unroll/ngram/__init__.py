"""n-gram models: counts, smoothing, perplexity, ARPA files; in NumPy, without JAX."""
