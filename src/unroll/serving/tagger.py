"""A tagger: a label for each word."""

from collections.abc import Sequence

from unroll.data.conll import Sentence
from unroll.data.lexicon import Lexicon
from unroll.models.built import LEXICON, Built
from unroll.serving.value import Functions
from unroll.tagging import labeller
from unroll.types import Params


def functions(built: Built) -> Functions:
  """What a tagger answers.

  `predict(params, sentences)`: the labels of sentences, each a sequence of words.
  """
  lexicon = Lexicon.from_json(built.files[LEXICON], LEXICON)

  def predict(params: Params, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
    read = [Sentence(tuple(words), (), ()) for words in sentences]
    return labeller(built.module, lexicon, read)(params)

  return Functions(predict)
