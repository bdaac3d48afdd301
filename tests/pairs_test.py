"""Pairs of texts: read line by line, numbered and back, side by side; what is wrong."""

import gzip
import itertools
import json
import os

import jax
import numpy as np
import pytest

from experiments.parts.pairs import Pairs, load
from unroll.data import cache, forcing
from unroll.data.batches import ALL
from unroll.data.pairs import PAIRS, Batches, Pair, Reader, files, named
from unroll.data.pairs.batches import given
from unroll.data.pairs.files import parallel, parted, tabbed
from unroll.data.synthetic import transductions
from unroll.types import BadInput

# Sources of all lengths, with words that targets have too, and one that has nothing.
TRAIN = [
  Pair("Ein Hund, ein Ball!", "A dog, a ball!"),
  Pair("Anna sieht Oslo", "Anna sees Oslo"),
  Pair("ja", "yes, it is so"),
  Pair("Zwei Hunde sehen (in Rom) 2 Hunde", "Two dogs"),
  Pair("nein", "no"),
]
NEW = "Bo sieht Rom und Bo"
TOKENIZERS = ("char", "word", "joined", "whitespace", "bpe:300", "unigram:300")


@pytest.fixture(autouse=True)
def few(monkeypatch):
  monkeypatch.setattr(transductions, "TRAIN", 100)
  monkeypatch.setattr(transductions, "OTHER", 10)


def reader(tokenizer="joined", **options):
  return Reader.build(TRAIN, tokenizer, **options)


def test_lines_stand_side_by_side():
  one, other = "a\n\nb\u2028c\r\n".encode(), b"\xef\xbb\xbfx\ny\nz"
  wanted = [Pair("a", "x"), Pair("", "y"), Pair("b\u2028c", "z")]
  assert parallel(one, other, "a.de", "a.en") == wanted
  packed = gzip.compress(one)
  assert parallel(packed, other, "a.de.gz", "a.en") == wanted
  table = "a\tx\tCC-BY\t\n\ty\r\nb\u2028c\tz".encode()
  assert tabbed(table, "a.tsv") == wanted


@pytest.mark.parametrize(
  "call, said",
  [
    (lambda: parallel(b"a\nb\n", b"c\n", "s", "t"), "s has 2 lines and t has 1"),
    (lambda: parallel(b"", b"c\n", "s", "t"), "s is empty"),
    (lambda: parallel(b"a\n", b"\xff\n", "s", "t"), "t, line 1 is not UTF-8"),
    (lambda: parallel(b"a\n", b"b", "s", "t.gz"), "t.gz cannot be unpacked"),
    (lambda: parallel(gzip.compress(b"a" * 99)[:-9], b"b", "s.gz", "t"), "s.gz cannot"),
    (lambda: tabbed(b"a\tb\n\nc", "t.tsv"), "t.tsv, line 2 has no tab"),
    (lambda: tabbed(b"", "t.tsv"), "t.tsv is empty"),
  ],
)
def test_faulty_files_are_refused(call, said):
  with pytest.raises(BadInput, match=said):
    call()


def test_counts_part_in_order_and_fractions_by_source():
  pairs = [Pair(str(n // 3), str(n)) for n in range(90)]
  found = parted(pairs, "5,2,1", "it")
  assert found == {"train": pairs[:5], "val": pairs[5:7], "test": pairs[7:8]}
  found = parted(pairs, "0.52,0.2,0.28", "it")
  assert found == parted(pairs, "0.52,0.2,0.28", "it")
  assert sorted(itertools.chain(*found.values())) == sorted(pairs)
  sources = [{pair.source for pair in own} for own in found.values()]
  assert sum(map(len, sources)) == len(set.union(*sources)) == 30
  assert [len(own) for own in found.values()] == [48, 18, 24]
  for spec in (
    "0.5",
    "1,2,3,4",
    "80,11",
    "5,0",
    "0.9,0.2",
    "a,b",
    "0.99,0.001",
    "-1,3",
  ):
    with pytest.raises(BadInput, match=f"split={spec}"):
      parted(pairs, spec, "it")


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("joint", [False, True])
def test_a_target_comes_back(tokenizer, joint):
  own = reader(tokenizer, joint=joint)
  assert (own.source is own.target) == joint
  size, bos, eos = own.sizes.target, own.sizes.bos, own.sizes.eos
  assert [own.target.tokens[i] for i in (bos, eos)] == ["<bos>", "<eos>"]
  targets = [pair.target for pair in TRAIN]
  sources = own.read([pair.source for pair in TRAIN])
  for text, ids in zip(targets, own.write(targets, sources), strict=True):
    assert ids.dtype == np.int32 and ids[-1] == eos
    assert not np.isin(ids[:-1], (bos, eos)).any() and ids.max() < size
    back = own.text([bos, *ids, 5])
    assert back.replace(" ", "") == text.replace(" ", "")
    assert back == text or tokenizer == "word"
    assert ids[:-1].tolist() == own.target.encode(text).tolist()
  with pytest.raises(ValueError, match=f"{size} does not fit the {size} tokens"):
    own.text([size])


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_text_cannot_spell_what_begins_and_ends(tokenizer):
  own = reader(tokenizer, joint=True, end=True)
  [source] = own.read(["ja <eos> <bos> <eos>"])
  [target] = own.write(["no <eos> <bos> no"], [source])
  marks = own.sizes.bos, own.sizes.eos
  assert not np.isin(source.tokens[:-1], marks).any()
  assert not np.isin(source.copies[:-1], marks).any()
  assert source.tokens[-1] == source.copies[-1] == target[-1] == own.sizes.eos
  assert not np.isin(target[:-1], marks).any() and len(target) >= 5
  if ":" in tokenizer:
    assert own.text(target) == "no <eos> <bos> no"


def test_a_source_says_what_a_copy_puts_out():
  own = reader("word", copy=True)
  size, known = own.sizes.target, own.target.tokens.index
  sees, oslo, new = own.read(["Oslo sieht Anna , Oslo", "", NEW])
  assert sees.pieces == ("Oslo", "sieht", "Anna", ",", "Oslo")
  assert sees.copies.tolist() == [
    *(known("Oslo"), size, known("Anna"), known(","), known("Oslo"))
  ]
  assert sees.new == ("sieht",)
  assert oslo.tokens.shape == oslo.copies.shape == (0,) and oslo.new == ()
  assert new.new == ("Bo", "sieht", "Rom", "und")
  assert (new.copies - size).tolist() == [0, 1, 2, 3, 0]
  assert new.tokens[0] == 0 and new.tokens[1] > 0
  [ids] = own.write(["Bo sees Rom in Oslo"], [new])
  assert ids.tolist() == [
    *(size, known("sees"), size + 2, 0, known("Oslo"), own.sizes.eos)
  ]
  assert own.text(ids, new) == "Bo sees Rom <unk> Oslo"
  [plain] = reader("word").write(["Bo sees Rom in Oslo"], [new])
  assert plain.tolist() == [0, ids[1], 0, 0, *ids[4:]]


def test_a_source_is_read_backwards_and_to_its_end():
  plain, other = reader(), reader(reverse=True, end=True)
  [one], [two] = plain.read([NEW]), other.read([NEW])
  assert two.pieces == (*one.pieces[::-1], "<eos>")
  names = [
    [r.source.tokens[i] for i in s.tokens] for r, s in ((plain, one), (other, two))
  ]
  assert names[1] == [*names[0][::-1], "<eos>"]
  assert two.new == ("Bo", "und", "Rom", "sieht")
  [end] = other.read([""])
  assert end.pieces == ("<eos>",)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("joint", [False, True])
def test_a_reader_comes_back_from_its_file(tokenizer, joint):
  own = reader(tokenizer, normalize="lower", joint=joint, reverse=True)
  assert list(own.files()) == [PAIRS]
  back = Reader.from_files(own.files())
  assert back == own and back.sizes == own.sizes
  assert back.read([NEW])[0].pieces == own.read([NEW])[0].pieces


def test_a_damaged_file_is_refused():
  fields = json.loads(reader().files()[PAIRS])
  plain = json.loads(reader().source.to_json())
  texts = ["", "[]", "{}", "[" * 10**5, "null"]
  for wrong in (
    {"copy": 1},
    {"source": 3},
    {"target": plain},
    {"target": None},
    {"x": 1},
  ):
    texts.append(json.dumps({**fields, **wrong}))
  for text in texts:
    with pytest.raises(BadInput, match=PAIRS):
      Reader.from_files({PAIRS: text})
  with pytest.raises(BadInput, match="is missing"):
    Reader.from_files({})


def test_a_reader_knows_whether_case_is_lost():
  lost = {how: reader(normalize=how).lower for how in ("none", "lower", "spaced")}
  assert lost == {"none": False, "lower": True, "spaced": True}


@pytest.mark.parametrize("tokenizer", ["byte", "own.json"])
def test_a_tokenizer_without_room_is_refused(tokenizer):
  with pytest.raises(BadInput, match=f"tokenizer={tokenizer} has no room for <bos>"):
    reader(tokenizer)


def many(count=60):
  """Sources and targets whose numbers are different everywhere."""
  draw = np.random.default_rng(0)
  own = reader("char", copy=True)
  texts = [
    "".join(chr(n) for n in draw.integers(65, 123, size=draw.integers(12)))
    for _ in range(2 * count)
  ]
  sources = own.read(texts[:count])
  return own, sources, own.write(texts[count:], sources)


def test_batches_have_every_pair_once_in_few_shapes():
  own, sources, targets = many()
  source = Batches(sources, targets, 4, buckets=3)
  shapes, seen = set(), []
  for step in range(len(source)):
    batch, rows = source[step], source.chosen(step)
    inputs = batch.inputs
    shapes.add((inputs.tokens.shape[0], batch.targets.shape[0]))
    assert inputs.sampling is None and (batch.weight == batch.valid).all()
    for column, row in enumerate(rows.tolist()):
      seen += [row] * (row >= 0)
      size, length = (
        (len(sources[row].tokens), len(targets[row])) if row >= 0 else (0, 0)
      )
      assert inputs.valid[:, column].tolist() == [
        n < size for n in range(len(inputs.valid))
      ]
      assert batch.valid[:, column].sum() == length
      for array in (inputs.tokens, inputs.copies):
        assert not array[size:, column].any()
      if row >= 0:
        assert inputs.tokens[:size, column].tolist() == sources[row].tokens.tolist()
        assert inputs.copies[:size, column].tolist() == sources[row].copies.tolist()
        assert batch.targets[:length, column].tolist() == targets[row].tolist()
        assert targets[row][-1] == own.sizes.eos
  assert sorted(seen) == list(range(len(sources)))
  fits = [np.maximum(len(s.tokens), len(t)) for s, t in zip(sources, targets)]
  assert shapes == {
    (
      max(len(s.tokens) for s, n in zip(sources, fits) if n <= bound),
      max(len(t) for t, n in zip(targets, fits) if n <= bound),
    )
    for bound in source.bounds
  }


def test_sampling_is_a_pure_function_of_seed_and_step():
  _, sources, targets = many()

  def sampling(step, seed=3, spec="linear:0.9,0.1,40", fed="drawn", columns=ALL):
    own = Batches(sources, targets, 8, seed=seed, columns=columns)
    return forcing.sampled(own, spec, fed)[step].inputs.sampling

  whole = sampling(7)
  assert whole.forced.dtype == bool and whole.uniform.dtype == np.float32
  assert same(whole, sampling(7))
  shape = whole.forced.shape
  assert not (whole.forced == sampling(7, seed=4).forced[: shape[0], : shape[1]]).all()
  steady = [sampling(step, spec="0.5") for step in range(7, 40)]
  like = [each for each in steady[1:] if each.forced.shape == steady[0].forced.shape]
  assert like and not any((each.forced == steady[0].forced).all() for each in like)
  halves = [sampling(7, columns=part) for part in (slice(0, 4), slice(4, 8))]
  assert same(jax.tree.map(lambda *a: np.concatenate(a, 1), *halves), whole)
  for step in (0, 30, 200):
    draws = [sampling(step, seed).forced.mean() for seed in range(30)]
    rate = forcing.schedule("linear:0.9,0.1,40")(step)
    assert np.mean(draws) == pytest.approx(rate, abs=0.06)
  likeliest = sampling(7, fed="likeliest")
  assert likeliest.uniform is None and (likeliest.forced == whole.forced).all()
  assert sampling(5, spec="0").forced.sum() == 0
  assert sampling(5, spec="1", fed="likeliest") is None
  assert sampling(5, spec="exponential:1").forced.all()
  with pytest.raises(BadInput, match=r"^fed=drawn says nothing to teacher_forcing=1"):
    sampling(5, spec="1")


def same(one, other):
  """Whether two trees have the same numbers."""
  return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def test_sources_alone_stand_side_by_side():
  own = reader()
  found = given(own.read([NEW, "", "ja"]), np.array([2, -1, 0, 1]), 6)
  assert found.valid.sum(0).tolist() == [1, 0, 5, 0] and found.sampling is None


def write(folder, pairs, name="train"):
  for side, texts in zip(("de", "en"), zip(*pairs)):
    (folder / f"{name}.{side}").write_text("".join(f"{text}\n" for text in texts))
  return {
    name: str(folder / f"{name}.de"),
    f"{name}_target": str(folder / f"{name}.en"),
  }


def test_training_leaves_out_what_is_empty_or_long_and_says_so(tmp_path):
  odd = [Pair("", "nothing"), Pair("nichts", " "), *TRAIN]
  chosen = write(tmp_path, odd) | write(tmp_path, [Pair("", "x"), *TRAIN], "val")
  said = []
  data = load(Pairs(**chosen, longest=6), warn=said.append)
  assert said == [
    "2 of 7 training pairs have an empty side, and are left out",
    "1 of 5 training pairs have more than 6 tokens on a side, and are left out",
  ]
  assert data.parts["train"] == [TRAIN[i] for i in (0, 1, 2, 4)]
  assert data.texts("val")[:2] == [("", "x"), tuple(TRAIN[0])]
  assert len(data.sources["val"]) == len(data.targets["val"]) == 6
  batch = data.evaluation("val")[0]
  assert batch.valid.any(0).sum() == 6 and batch.inputs.valid.any(0).sum() == 5
  assert "nothing" not in data.reader.target.tokens
  again = load(Pairs(**chosen, longest=6), data.reader, said.append)
  assert again.reader is data.reader and again.sha256 == data.sha256
  fewer = load(Pairs(**chosen, first=3), warn=said.append)
  assert fewer.parts["train"] == TRAIN[:1] and fewer.sha256 != data.sha256
  step = data.training(2, 0, slice(0, 1))[0]
  assert step.targets.shape[1] == 1


def test_a_table_is_split_and_read_with_its_vocabulary(tmp_path):
  table = tmp_path / "pairs.tsv"
  table.write_text("".join(f"{p.source}\t{p.target}\tcredit\n" for p in TRAIN))
  data = load(Pairs(train=str(table), split="3,2", tokenizer="word", normalize="none"))
  assert data.parts == {"train": TRAIN[:3], "val": TRAIN[3:]}
  assert "Zwei" not in data.reader.source.tokens


@pytest.mark.parametrize(
  "settings, said",
  [
    ({"train_target": "a"}, "`train_target` is a file and `train` is none"),
    ({"val": "a"}, "`val` and `test` are files and `train` is none"),
    ({"train": "a.tsv"}, "a.tsv cannot be read"),
    ({"data": "multi31k"}, "did you mean multi30k"),
    ({"data": "multi30k:de-de"}, "languages de, en, fr"),
    ({"data": "fra_eng:de-en"}, "languages en, fr; choose two, as in fra_eng:en-fr"),
    ({"data": "multi30k", "split": "0.9,0.1"}, "multi30k has parts of its own"),
    ({"data": "copy:1,2", "tokenizer": "bpe"}, "tokenizer=bpe"),
    ({"data": "copy:1,2", "tokenizer": "bpe:300", "min_count": 2}, "min_count=2"),
    ({"data": "copy:2,2", "longest": 1}, "longest=1 leaves no training pair"),
  ],
)
def test_settings_that_do_not_fit_are_refused(settings, said):
  with pytest.raises(BadInput, match=said):
    load(Pairs(**settings), warn=lambda said: None)


def test_files_that_do_not_fit_are_refused(tmp_path):
  own = write(tmp_path, TRAIN)
  empty = write(tmp_path, [Pair("", "a"), Pair("b", "")], "val")
  for settings, said in (
    ({**own, "test": own["train"]}, "`test` is a file and `val` is none"),
    ({**own, **empty, "split": "1,1"}, "split=1,1: the files are split already"),
    ({**own}, "leaves none for val"),
    ({"train": empty["val"], "train_target": empty["val_target"], **empty}, "all 2"),
  ):
    with pytest.raises(BadInput, match=said):
      load(Pairs(**settings))


def test_pairs_made_by_a_rule_are_characters(tmp_path):
  data = load(Pairs(data="addition:1"))
  assert data.reader.source.tokenizer == "char" and "longer" in data.parts
  assert data.reader.text(data.targets["val"][0]) == data.texts("val")[0][1]


# Of each set: pairs of its parts, and the first of training.
PUBLISHED = {
  "multi30k:en-fr": ((29000, 1014, 1000), "Two young, White males are outside near"),
  "multi30k": ((29000, 1014, 1000), "Zwei junge weiße Männer sind im Freien in"),
  "fra_eng": ((512, 128), "Go."),
}


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("UNROLL_DATA"), reason="UNROLL_DATA is not set")
@pytest.mark.parametrize("spec", PUBLISHED)
def test_the_published_counts_are_found(spec):
  if not (cache.root() / spec.partition(":")[0]).exists():
    pytest.skip("not in the cache")
  parts = named.load(spec, "512,128" if spec == "fra_eng" else "")
  counts, first = PUBLISHED[spec]
  assert tuple(map(len, parts.values())) == counts
  assert parts["train"][0].source.startswith(first)
  assert all(pair.source and pair.target for own in parts.values() for pair in own)
  if spec == "fra_eng":
    assert Pair("Back off!", "Recule !") in parts["train"]
    assert parts["train"][:2] == [Pair("Go.", "Va !"), Pair("Hi.", "Salut !")]
    assert files.digest(parts) == files.digest(named.load("fra_eng:en-fr", "512,128"))
