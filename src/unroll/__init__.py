"""Recurrent networks in JAX: pure-function cells, one scan, full and truncated BPTT."""
