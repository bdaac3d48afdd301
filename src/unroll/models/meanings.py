"""What the rows and columns of parameters stand for: tokens, words, labels of a run.

Two models of one shape may number them differently.
"""

from collections.abc import Callable, Mapping

from unroll.data import captions, pairs, tokens
from unroll.data.classes.reader import Reader
from unroll.data.delimited import BOS, EOS
from unroll.data.lexicon import Lexicon
from unroll.data.speech import reader as speech
from unroll.data.vocabulary import VOCABULARY
from unroll.models.built import LEXICON, SPEECH, Meanings


def meanings(kind: str, files: Mapping[str, str]) -> Meanings:
  """What the entries of the parameters of a model stand for.

  Args:
    kind: of the model, a key of `saved.MODELS`.
    files: the texts that accompany its run, by name.

  Returns:
    Meanings by the names of parameters, without the first level "params"; of a kind
    that reads numbers and writes numbers there are none.
  """
  return _MEANINGS[kind](files) if kind in _MEANINGS else {}


def _language(files: Mapping[str, str]) -> Meanings:
  known = tokens.from_json(files[VOCABULARY]).tokens
  return {**_read(known), **_written(known)}


def _classify(files: Mapping[str, str]) -> Meanings:
  reader = Reader.from_files(files)
  known = reader.vocabulary.tokens if reader.vocabulary else None
  return {**(_read(known) if known else {}), **_written(reader.classes)}


def _tag(files: Mapping[str, str]) -> Meanings:
  known = Lexicon.from_json(files[LEXICON], LEXICON)
  ends = (*known.labels, "")  # the last stands for both ends of a sentence
  return {
    ("embed", "embedding"): (known.words, None),
    ("letters", "embedding"): (known.characters, None),
    ("transitions", "(elementwise)"): (ends, ends),
    **_written(known.labels),
  }


def _translate(files: Mapping[str, str]) -> Meanings:
  reader = pairs.Reader.from_files(files)
  return {**_read(reader.source.tokens), **_decoder(reader.target.tokens)}


def _caption(files: Mapping[str, str]) -> Meanings:
  return _decoder(captions.Reader.from_files(files).vocabulary.tokens)


def _transcribe(files: Mapping[str, str]) -> Meanings:
  labels = speech.Reader.from_json(files[SPEECH], SPEECH).labels
  # A decoder, which CTC has not, begins with a token more.
  return {**_written((EOS, *labels)), **_decoder((EOS, *labels, BOS))}


def _read(known: tuple[str, ...]) -> Meanings:
  return {("embed", "embedding"): (known, None)}


def _written(known: tuple[str, ...]) -> Meanings:
  return {
    ("output", "kernel"): (None, known),
    ("output", "bias"): (known,),
    ("output_bias",): (known,),
  }


def _decoder(known: tuple[str, ...]) -> Meanings:
  both = {**_read(known), **_written(known)}
  return {("decoder", *name): meaning for name, meaning in both.items()}


_MEANINGS: Mapping[str, Callable[[Mapping[str, str]], Meanings]] = {
  "language": _language,
  "cloze": _language,
  "classify": _classify,
  "tag": _tag,
  "translate": _translate,
  "caption": _caption,
  "transcribe": _transcribe,
}
