"""From a text to batches: text, vocabulary, corpora, splits, batches, prefetch."""
