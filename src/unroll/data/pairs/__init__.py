"""Texts and what they become, as translations: read, numbered, in batches."""

from unroll.data.pairs.batches import Batches, Given
from unroll.data.pairs.files import Pair
from unroll.data.pairs.reader import PAIRS, Reader, Sizes, Source

__all__ = ["PAIRS", "Batches", "Given", "Pair", "Reader", "Sizes", "Source"]
