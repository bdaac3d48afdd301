"""Transformers: attention in place of recurrence, as a layer and as settings."""

from unroll.transformer.blocks import cache, transformer
from unroll.transformer.cache import Cache
from unroll.transformer.form import Form
from unroll.transformer.settings import Stack, Transformer, refuse, stack

__all__ = [
  "Cache",
  "Form",
  "Stack",
  "Transformer",
  "cache",
  "refuse",
  "stack",
  "transformer",
]
