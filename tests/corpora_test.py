"""Laws of the corpora: the right bytes or none, and splits that cut where they say."""

import functools
import hashlib
import http.server
import os
import threading
from typing import NamedTuple

import pytest

from unroll.data import cache, corpora, embedded, splits
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

PARTS = {"train": b"one two\n", "val": b" two \n three\n", "test": "水\r\n".encode()}


class Site(NamedTuple):
  content: dict[str, bytes]
  asked: list[str]


@pytest.fixture
def data(tmp_path, monkeypatch):
  """An empty cache."""
  monkeypatch.setenv("UNROLL_DATA", str(tmp_path / "cache"))
  return tmp_path / "cache"


@pytest.fixture
def served(monkeypatch, data):
  """A public corpus `toy` on a server: what it has, and what was asked of it."""
  site = Site(dict(PARTS), [])

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      site.asked.append(self.path)
      content = site.content.get(self.path[1:])
      self.send_response(404 if content is None else 200)
      self.end_headers()
      self.wfile.write(content or b"")

    def log_message(self, *args):
      pass

  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01))
  thread.start()
  files = tuple(
    cache.File(
      path=f"toy/toy.{part}.txt",
      url=f"http://127.0.0.1:{server.server_port}/{part}",
      sha256=hashlib.sha256(content).hexdigest(),
      size=len(content),
    )
    for part, content in PARTS.items()
  )
  monkeypatch.setitem(corpora.CORPORA, "toy", corpora.Entry(files, "MIT", True))
  yield site
  server.shutdown()
  thread.join()
  server.server_close()


def test_a_missing_file_is_downloaded_once(served, data):
  first = corpora.load("toy")
  assert first.texts == {part: text.decode() for part, text in PARTS.items()}
  assert first.digest == hashlib.sha256(b"".join(PARTS.values())).hexdigest()
  assert (first.name, first.licence, first.pretokenized) == ("toy", "MIT", True)
  assert served.asked == ["/train", "/val", "/test"]
  names = sorted(path.name for path in (data / "toy").iterdir())
  assert names == ["toy.test.txt", "toy.train.txt", "toy.val.txt"]
  assert corpora.load("toy") == first
  assert len(served.asked) == 3


@pytest.mark.parametrize("content", [b"", b"one twO\n", PARTS["train"] + b"x"])
def test_a_wrong_file_is_never_used(served, data, content):
  path = data / "toy" / "toy.train.txt"
  path.parent.mkdir(parents=True)
  path.write_bytes(content)
  right, wrong = (hashlib.sha256(x).hexdigest() for x in (PARTS["train"], content))
  with pytest.raises(BadInput, match=f"toy.train.txt .*{wrong}.*{right}.*delete it"):
    corpora.load("toy")
  assert path.read_bytes() == content
  assert not served.asked


@pytest.mark.parametrize("content", [b"one twO\n", b"one two", PARTS["train"] * 9, b""])
def test_a_wrong_download_is_not_kept(served, data, content):
  served.content["train"] = content
  with pytest.raises(BadInput, match=r"/train has .* expected; put the right file"):
    corpora.load("toy")
  assert not [path for path in data.rglob("*") if path.is_file()]


def test_a_failed_download_says_where_the_file_goes(served, data):
  del served.content["val"]
  with pytest.raises(BadInput, match=r"toy\.val\.txt .*/val .*404.* by hand") as info:
    corpora.load("toy")
  assert str(data / "toy" / "toy.val.txt") in str(info.value)


def test_a_cache_that_cannot_be_written(served, data):
  data.write_text("a file, not a folder")
  with pytest.raises(BadInput, match=r"cannot be written.*UNROLL_DATA"):
    corpora.load("toy")


def test_no_file_outside_the_cache(served, data, tmp_path):
  (tmp_path / "elsewhere").mkdir()
  data.mkdir()
  (data / "toy").symlink_to(tmp_path / "elsewhere")
  with pytest.raises(BadInput, match="out of the cache"):
    corpora.load("toy")
  assert not served.asked
  assert not list((tmp_path / "elsewhere").iterdir())


def test_the_cache_may_itself_be_a_link(served, data, tmp_path):
  (tmp_path / "disk").mkdir()
  data.symlink_to(tmp_path / "disk")
  assert corpora.load("toy").texts["train"] == "one two\n"


def test_the_default_cache(monkeypatch, tmp_path):
  monkeypatch.delenv("UNROLL_DATA", raising=False)
  monkeypatch.setenv("HOME", str(tmp_path))
  assert cache.root() == tmp_path / ".cache" / "unroll"


@pytest.mark.parametrize("name", corpora.CORPORA)
def test_every_entry_is_pinned(name):
  entry = corpora.CORPORA[name]
  assert len(entry.files) in (1, 3)
  for file in entry.files:
    assert len(bytes.fromhex(file.sha256)) == 32
    assert file.size > 0
    assert file.url.startswith("http")
    assert not os.path.isabs(file.path)
    assert ".." not in file.path


@pytest.mark.parametrize("name", embedded.EMBEDDED)
def test_embedded_corpora_need_no_files(name, data):
  corpus = corpora.load(name)
  assert 300_000 < len(corpus.texts["all"]) <= embedded.STDLIB_LIMIT * 1.01
  assert corpus == corpora.load(name)
  assert not data.exists()


def test_the_users_own_file(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "ptb").write_bytes(b"mine\r\n")
  assert corpora.load("./ptb").texts == {"all": "mine\r\n"}
  monkeypatch.setenv("HOME", str(tmp_path))
  assert corpora.load("~/ptb").texts == {"all": "mine\r\n"}
  (tmp_path / "raw").write_bytes(b"\xff\x00")
  with pytest.raises(BadInput, match="tokenizer=byte"):
    corpora.load("raw")
  raw = corpora.load("raw", "byte")
  assert Vocabulary.build("", "byte").encode(raw.texts["all"]).tolist() == [255, 0]
  assert raw.digest == hashlib.sha256(b"\xff\x00").hexdigest()


@pytest.mark.parametrize("name", ["tinyshakespear", "nowhere/text.txt", "~none", ""])
def test_no_such_corpus(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(BadInput, match="corpus") as info:
    corpora.load(name)
  assert ("did you mean tinyshakespeare?" in str(info.value)) == (name[:4] == "tiny")


def corpus_of(text):
  return corpora.Corpus("toy", {"all": text}, False, "", "")


DIGITS = "0123456789"
CUTS = {
  "": ["012345678", "9"],
  "0.9,0.1": ["012345678", "9"],
  "0.7,0.2,0.1": ["0123456", "78", "9"],
  "0.25,0.5": ["01", "23456"],
  "0:6,4:10": ["012345", "456789"],
  "5:10,0:5,2:3": ["56789", "01234", "2"],
}


@pytest.mark.parametrize("spec", CUTS)
def test_splits(spec):
  texts = splits.split(corpus_of(DIGITS), spec)
  assert texts == dict(zip(splits.NAMES, CUTS[spec]))


def test_fractions_lose_nothing():
  for size in range(1, 200):
    text = "".join(map(chr, range(size)))
    parts = splits.split(corpus_of(text), "0.7,0.2,0.1")
    assert "".join(parts.values()) == text


def test_ranges_count_normalised_characters():
  texts = splits.split(corpus_of("A -- 1 b\r\nC"), "0:3,2:5", "letters")
  assert texts == {"train": "a b", "val": "b c"}


@pytest.mark.parametrize(
  "spec",
  [
    *["1", "0.9", "0.9,", ",", "0.9,0.2", "-0.5,0.5", "0,0.5", "nan,0.1", "inf,0.1"],
    *["0.5,0.2,0.2,0.1", "a,b", "0:5", "0:5,5:11", "0:5,5:5", "5:2,0:1", "0:5,0.5"],
    *["0:5,-1:3", "0:5,:", "1e999999999,0.1", f"0:{'9' * 5000},0:1"],
  ],
)
def test_specs_that_are_no_split(spec):
  with pytest.raises(BadInput, match="split="):
    splits.split(corpus_of(DIGITS), spec)


def test_the_official_split(served):
  corpus = corpora.load("toy")
  assert splits.split(corpus) == corpus.texts
  assert splits.split(corpus, normalize="letters")["val"] == " two three "
  with pytest.raises(BadInput, match="toy has a split of its own"):
    splits.split(corpus, "0.9,0.1")


with_data = pytest.mark.skipif(
  not os.environ.get("UNROLL_DATA"), reason="UNROLL_DATA is not set"
)
CHARACTERS = {  # of each split, and the kinds of them with <unk>
  "timemachine": ([178_979], 71),
  "tinyshakespeare": ([1_115_394], 66),
  "ptb": ([5_101_618, 399_782, 449_945], 51),
  "ptb_char": ([5_017_482, 393_042, 442_423], 51),
  "sanguo": ([608_315], 4744),
}


@with_data
@pytest.mark.parametrize("name", corpora.CORPORA)
def test_published_corpora(name):
  if not all((cache.root() / f.path).exists() for f in corpora.CORPORA[name].files):
    pytest.skip("not in the cache")
  texts = corpora.load(name).texts.values()  # verified against the checksums
  if name in CHARACTERS:
    sizes, kinds = CHARACTERS[name]
    assert [len(text) for text in texts] == sizes
    assert len(Vocabulary.build("".join(texts))) == kinds


@with_data
def test_ptb_has_ten_thousand_words():
  corpus = corpora.load("ptb")
  vocabulary = Vocabulary.build(corpus.texts["train"], "whitespace")
  assert len(vocabulary) == 10_000
  sizes = [vocabulary.encode(text).size for text in corpus.texts.values()]
  assert sizes == [929_589, 73_760, 82_430]


@with_data
def test_the_time_machine_of_d2l():
  texts = splits.split(corpora.load("timemachine"), "0:173428,0:10032", "letters")
  assert len(Vocabulary.build(texts["train"])) == 28
  with pytest.raises(BadInput, match="173428"):
    splits.split(corpora.load("timemachine"), "0:173429,0:10032", "letters")
