"""Tasks of long memory, made from a seed: a sequence, and what is asked of it."""
