"""Laws of text and vocabulary: what goes in comes out, and nothing is trusted."""

import json
import pathlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from unroll.data import text as text_lib
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

CHINESE = "滾滾長江東逝水，浪花淘盡英雄。\r\n是非成敗轉頭空：𠀀𪚥"  # noqa: RUF001
COMBINING = "cafe\u0301 अनुच्छेद नमस्ते"
TEXTS = {
  "ascii": "To be, or not to be.\nThat is the question.\n",
  "crlf": "one\r\ntwo\rthree\n",
  "chinese": CHINESE,
  "combining": COMBINING,
  "astral": "🧵 a 👩‍🔬\x00\x7f",
  "one": "x",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_what_is_encoded_is_decoded(tokenizer, text):
  vocabulary = Vocabulary.build(text, tokenizer)
  ids = vocabulary.encode(text)
  assert ids.dtype == np.int32
  assert ids.size == len(text if tokenizer == "char" else text.encode())
  assert vocabulary.decode(ids) == text


@hypothesis.given(st.text())
def test_any_text_survives_as_bytes(text):
  vocabulary = Vocabulary.build("", "byte")
  ids = vocabulary.encode(text)
  assert ids.tolist() == list(text.encode())
  assert vocabulary.decode(ids) == text


@hypothesis.given(st.binary(min_size=1))
def test_any_file_survives_as_bytes(tmp_path_factory, data):
  path = tmp_path_factory.mktemp("any") / "file"
  path.write_bytes(data)
  vocabulary = Vocabulary.build("", "byte")
  ids = vocabulary.encode(text_lib.read_text(path, "byte"))
  assert ids.tolist() == list(data)
  assert vocabulary.decode(ids) == data.decode("utf-8", "replace")


@hypothesis.given(st.text(), st.text())
def test_the_table_agrees_with_a_lookup(train, text):
  vocabulary = Vocabulary.build(train)
  index = {token: i for i, token in enumerate(vocabulary.tokens)}
  assert vocabulary.encode(text).tolist() == [index.get(c, 0) for c in text]


WORDS = {
  "don't stop-me, <unk> N": ["don", "'", "t", "stop", "-", "me", ",", "<unk>", "N"],
  "a\r\nb\rc\n\nd": ["a", "<eos>", "b", "<eos>", "c", "<eos>", "<eos>", "d"],
  COMBINING: ["cafe\u0301", "अनुच्छेद", "नमस्ते"],
  "水，浪。": ["水", "，", "浪", "。"],  # noqa: RUF001
  "1 < 2 > x": ["1", "<", "2", ">", "x"],
  " \t\u3000": [],
}


@pytest.mark.parametrize("text", WORDS)
def test_words(text):
  assert text_lib.tokenizer("word").split(text) == WORDS[text]


def test_whitespace_keeps_pretokenized_text():
  text = " mr. <unk> does n't \n N\u0301 $\rN \r\n"
  tokens = text_lib.tokenizer("whitespace").split(text)
  assert tokens == [
    *["mr.", "<unk>", "does", "n't", "<eos>"],
    *["N\u0301", "$", "<eos>", "N", "<eos>"],
  ]


@pytest.mark.parametrize("tokenizer", ["word", "whitespace"])
def test_words_decode_to_lines(tokenizer):
  text = "not so long\nago\n\nthere"
  vocabulary = Vocabulary.build(text, tokenizer)
  assert vocabulary.decode(vocabulary.encode(text)) == text


JOINED = {
  "Hello, world (don't)!": [
    "Hello",
    "￭,",
    "world",
    "(",
    "￭don",
    "￭'",
    "￭t",
    "￭)",
    "￭!",
  ],
  "a <unk>, <eos>": ["a", "<unk>", "￭,", "<", "￭eos", "￭>"],
  "a￭b ￭￭ ￮￭": ["a", "￭￮￭", "￭b", "￮￭", "￭￮￭", "￮", "￭￮￭"],
  "a.\n.b": ["a", "￭.", "<eos>", ".", "￭b"],
  COMBINING: ["cafe\u0301", "अनुच्छेद", "नमस्ते"],
}


@pytest.mark.parametrize("text", JOINED)
def test_words_that_join_say_where(text):
  joined = text_lib.tokenizer("joined")
  assert joined.split(text) == JOINED[text]
  assert joined.join(JOINED[text]) == text


@hypothesis.given(st.lists(st.text("ab\u0301.<>'eos￭￮ 水", min_size=1)))
def test_words_that_join_come_back(words):
  text = " ".join(" ".join(words).split())
  joined = text_lib.tokenizer("joined")
  assert joined.join(joined.split(text)) == text


def test_a_space_before_marks():
  assert text_lib.normalize("Go.. A ?\nNo!,", "spaced") == "go . . a ?\nno ! ,"


def test_letters():
  assert text_lib.normalize("Ab1é--C\r\n\nd", "letters") == "ab c d"
  vocabulary = Vocabulary.build("The Time", normalize="letters")
  assert vocabulary.decode(vocabulary.encode("TIME, het!")) == "time het "
  assert text_lib.normalize(CHINESE, "none") == CHINESE


def test_the_vocabulary_is_of_the_training_text():
  vocabulary = Vocabulary.build("banana bn", reserved=("<bos>",))
  assert vocabulary.tokens == ("<unk>", "<bos>", "a", "n", "b", " ")
  assert vocabulary.unknown == 0
  assert vocabulary.encode("bench𪚥").tolist() == [4, 0, 3, 0, 0, 0]
  assert vocabulary.decode([2, 0, 2]) == "a<unk>a"


def test_rare_tokens_and_a_largest_size():
  assert Vocabulary.build("banana", min_count=2).tokens == ("<unk>", "a", "n")
  assert Vocabulary.build("banana", max_size=2).tokens == ("<unk>", "a")
  in_text = Vocabulary.build("<unk> a <unk> b a", "whitespace")
  assert in_text.tokens == ("<unk>", "a", "b")


def test_bytes_are_256_and_never_unknown():
  vocabulary = Vocabulary.build("abc", "byte")
  assert len(vocabulary) == 256
  assert vocabulary.unknown is None
  assert vocabulary.decode([0xE6, 0xB1]) == "\ufffd"


@pytest.mark.parametrize("ids", [[0, 3], [-1], [1, 2**31 - 1]])
def test_decode_refuses_ids_that_are_not_there(ids):
  with pytest.raises(ValueError, match="vocabulary of 3"):
    Vocabulary.build("ab").decode(ids)


def test_nothing_encodes_to_nothing():
  for tokenizer in text_lib.TOKENIZERS:
    vocabulary = Vocabulary.build("ab", tokenizer)
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == ""


@pytest.mark.parametrize("tokenizer", text_lib.TOKENIZERS)
def test_json_round_trip_and_digest(tokenizer):
  vocabulary = Vocabulary.build(CHINESE + COMBINING, tokenizer)
  restored = Vocabulary.from_json(vocabulary.to_json())
  assert restored == vocabulary
  assert restored.digest() == vocabulary.digest()
  other = Vocabulary.build(CHINESE, "word", "letters")
  assert other.digest() != vocabulary.digest()


def test_the_digest_is_the_same_in_every_process():
  expected = "792f1a03beecca54c4ec4919df58e78e5c5c0d071740699f9817cbb4c52dad61"
  assert Vocabulary.build("水 b").digest() == expected


GOOD = {"tokenizer": "char", "normalize": "none", "tokens": ["<unk>", "a"]}
BAD_JSON = {
  "not json": "{",
  "deep": "[" * 100_000,
  "a list": "[]",
  "a number": "1",
  "missing": json.dumps({k: v for k, v in GOOD.items() if k != "tokens"}),
  "extra": json.dumps(GOOD | {"more": 1}),
  "tokenizer": json.dumps(GOOD | {"tokenizer": "bpe"}),
  "tokenizer type": json.dumps(GOOD | {"tokenizer": 1}),
  "normalize": json.dumps(GOOD | {"normalize": "nfc"}),
  "normalize type": json.dumps(GOOD | {"normalize": None}),
  "tokens type": json.dumps(GOOD | {"tokens": "<unk>"}),
  "token type": json.dumps(GOOD | {"tokens": ["<unk>", 1]}),
  "empty token": json.dumps(GOOD | {"tokens": ["<unk>", ""]}),
  "twice": json.dumps(GOOD | {"tokens": ["<unk>", "a", "b", "a"]}),
  "no unknown": json.dumps(GOOD | {"tokens": ["a", "<unk>"]}),
  "no tokens": json.dumps(GOOD | {"tokens": []}),
  "bytes": json.dumps(GOOD | {"tokenizer": "byte"}),
}


@pytest.mark.parametrize("data", BAD_JSON.values(), ids=BAD_JSON)
def test_a_vocabulary_file_is_not_trusted(data):
  with pytest.raises(BadInput, match=r"runs/1/vocab\.json"):
    Vocabulary.from_json(data, "runs/1/vocab.json")


@pytest.mark.parametrize(
  "options",
  [
    {"tokenizer": "bpe"},
    {"normalize": "nfc"},
    {"max_size": 0},
    {"max_size": 1, "reserved": ("<bos>",)},
    {"reserved": ("<bos>", "<bos>")},
    {"tokenizer": "byte", "min_count": 2},
    {"tokenizer": "byte", "max_size": 10},
    {"tokenizer": "byte", "reserved": ("<bos>",)},
  ],
)
def test_options_that_cannot_be_heeded(options):
  with pytest.raises(BadInput):
    Vocabulary.build("abc", **options)


def test_files_are_read_as_they_are(tmp_path):
  path = tmp_path / "five.txt"
  path.write_bytes(b"a\r\nbc")
  assert text_lib.read_text(path) == "a\r\nbc"
  path.write_bytes(CHINESE.encode())
  assert text_lib.read_text(path) == CHINESE


def test_a_byte_order_mark_is_no_character():
  marked = b"\xef\xbb\xbfa\xef\xbb\xbf"
  assert text_lib.decode_text(marked, "here") == "a\ufeff"
  assert text_lib.decode_text(marked, "here", "byte").encode() == marked
  with pytest.raises(BadInput, match="0xff at offset 4"):
    text_lib.decode_text(b"\xef\xbb\xbfa\xff", "here")


LINES = {
  b"": [],
  b"\n": [""],
  b"a\nb": ["a", "b"],
  b"a\r\n\r\nb\n": ["a", "", "b"],
  b"\xef\xbb\xbfa\n\xef\xbb\xbfb": ["a", "\ufeffb"],
  "a\rb\x0cc\x1cd\x85e\u2028f\u2029g\n".encode(): ["a\rb\x0cc\x1cd\x85e\u2028f\u2029g"],
}


@pytest.mark.parametrize("data", LINES)
def test_lines_end_with_line_feeds_alone(data):
  assert text_lib.read_lines(data, "here") == LINES[data]


@hypothesis.given(
  st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n")))
)
def test_every_line_is_one_row(lines):
  lines = [line.removesuffix("\r") for line in lines]
  data = "".join(f"{line}\n" for line in lines).encode()
  found = text_lib.read_lines(data, "here")
  assert [line.removeprefix("\ufeff") for line in found[:1]] == [
    line.removeprefix("\ufeff") for line in lines[:1]
  ]
  assert found[1:] == lines[1:]
  for row in map(text_lib.one_line, found):
    assert row.splitlines() in ([row], []) and "\t" not in row


def test_lines_that_are_not_text():
  with pytest.raises(BadInput, match=r"here, line 2 .*byte 0xef at offset 2"):
    text_lib.read_lines(b"a\nna\xefve", "here")
  [line] = text_lib.read_lines(b"na\xefve", "here", "byte")
  assert Vocabulary.build("", "byte").encode(line).tolist() == list(b"na\xefve")
  assert text_lib.one_line(line) == "na\\udcefve"


def test_files_that_cannot_be_read(tmp_path):
  latin = tmp_path / "latin.txt"
  latin.write_bytes("na\u00efve".encode("latin-1"))
  with pytest.raises(BadInput, match=r"latin\.txt.*0xef at offset 2.*tokenizer=byte"):
    text_lib.read_text(latin, "word")
  empty = tmp_path / "empty.txt"
  empty.touch()
  with pytest.raises(BadInput, match=r"empty\.txt is empty"):
    text_lib.read_text(empty, "byte")
  for path in (tmp_path, pathlib.Path("/dev/null")):
    with pytest.raises(BadInput, match="not a regular file"):
      text_lib.read_text(path)
  for path in (tmp_path / "none.txt", latin / "below.txt", tmp_path / ("x" * 300)):
    with pytest.raises(BadInput, match="cannot be read"):
      text_lib.read_text(path)
