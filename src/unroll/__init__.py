"""Recurrent networks in JAX: pure-function cells, one scan, exact and truncated BPTT."""
