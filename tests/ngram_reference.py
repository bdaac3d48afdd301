"""n-gram models as their papers have them: dictionaries, fractions and recursion.

Slow and plain; a sentence is a list that begins with the start of a sentence, `size`.
"""

import collections
from fractions import Fraction

FALLBACK = {1: [Fraction(3, 4)], 3: [Fraction(1, 2), Fraction(1), Fraction(3, 2)]}


def sentences_of(stream, size):
  """A stream cut before each start of a sentence."""
  found = []
  for token in stream:
    if token == size or not found:
      found.append([])
    found[-1].append(int(token))
  return found


def counted(sentences, order):
  """n-gram -> count, for each order."""
  found = [collections.Counter() for _ in range(order + 1)]
  for sentence in sentences:
    for start in range(len(sentence)):
      for k in range(1, min(order, len(sentence) - start) + 1):
        found[k][tuple(sentence[start : start + k])] += 1
  return found


def amounts(values, kinds):
  """Discounts from counts of counts, exactly."""
  n = collections.Counter(values)
  fallback = FALLBACK[kinds]
  if not all(n[c] for c in range(1, kinds + 1)):
    return fallback
  share = Fraction(n[1], n[1] + 2 * n[2])
  found = [c - (c + 1) * share * Fraction(n[c + 1], n[c]) for c in range(1, kinds + 1)]
  return found if all(0 < d < c for c, d in enumerate(found, 1)) else fallback


class Reference:
  """p(w | h), exactly.

  Args:
    sentences: lists of tokens.
    order: n.
    size: V.
    smoothing: of `experiments.ngram`.
    interpolated: or backing off.
    k: of add_k.
  """

  def __init__(self, sentences, order, size, smoothing, interpolated=True, k=1):
    self.order, self.size, self.k = order, size, k
    self.additive = smoothing in ("laplace", "add_k")
    self.interpolated = interpolated
    self.counts = counted(sentences, order)
    if "kneser_ney" in smoothing:
      for j in range(1, order):
        left = collections.defaultdict(set)
        for gram in self.counts[j + 1]:
          left[gram[1:]].add(gram[0])
        for gram in self.counts[j]:
          if gram[0] != size:
            self.counts[j][gram] = len(left[gram])
    self.counts[1].pop((size,), None)
    kinds = 3 if smoothing == "modified_kneser_ney" else 1
    self.amounts = [None] + [amounts(c.values(), kinds) for c in self.counts[1:]]

  def p(self, word, context):
    """The probability of a token after a context."""
    context = tuple(context)
    if self.size in context:
      context = context[len(context) - 1 - context[::-1].index(self.size) :]
    context = context[max(len(context) - self.order + 1, 0) :]
    if self.additive:
      counts = self.counts[len(context) + 1]
      total = sum(counts[(*context, w)] for w in range(self.size))
      return (counts[(*context, word)] + self.k) / (total + self.k * self.size)
    return self._discounted(word, context)

  def _off(self, order, count):
    listed = self.amounts[order]
    return listed[min(count, len(listed)) - 1] if count else 0

  def _discounted(self, word, context):
    order = len(context) + 1

    def lower(w):
      if context:
        return self._discounted(w, context[1:])
      return Fraction(1, self.size)

    counts = {w: self.counts[order][(*context, w)] for w in range(self.size)}
    total = sum(counts.values())
    if not total:
      return lower(word)
    left = sum(self._off(order, c) for c in counts.values()) / Fraction(total)
    own = (counts[word] - self._off(order, counts[word])) / Fraction(total)
    if self.interpolated:
      return own + left * lower(word)
    seen = [w for w, c in counts.items() if c]
    if len(seen) == self.size:
      return own / (1 - left)
    if counts[word]:
      return own
    return left * lower(word) / (1 - sum(lower(w) for w in seen))
