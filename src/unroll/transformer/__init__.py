"""Transformers: attention in place of recurrence, as a layer and as settings."""

from unroll.transformer.blocks import cache, transformer
from unroll.transformer.cache import Cache
from unroll.transformer.form import Form
from unroll.transformer.settings import Stack, Transformer, stack

__all__ = [
  "Cache",
  "Form",
  "Stack",
  "Transformer",
  "cache",
  "stack",
  "transformer",
]
