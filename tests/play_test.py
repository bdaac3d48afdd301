"""What a page to play with is told, by its server or by the program inside it."""

import base64
import functools
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import Command, run
from serving_test import LANGUAGE, LAYERS, SCALER, drawn, files, model, opened
from tables import quick

from unroll import layers
from unroll.cells import CELLS
from unroll.data import text as text_lib
from unroll.diagnose.reading import reading
from unroll.exporting.elementwise import ELEMENTWISE
from unroll.models import saved
from unroll.playing import labels, language, offline, pages
from unroll.playing.series import forecasting
from unroll.playing.server import LARGEST, server
from unroll.report.play import FOLDER, play_page
from unroll.types import BadInput

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="needs node on the PATH")
RUNNER = Path(__file__).with_name("play_node.js")
SERIES = {**LAYERS, "csv": "a.csv", "series": "ett", "time": "", "time_format": ""}
SERIES |= {"target": ["a", "b"], "inputs": ["c"], "gaps": ""}


def loaded(kind, **flags):
  """A model of random numbers, as it is after `load`."""
  _, params, built = model(kind)
  given = {"language": LANGUAGE, "forecast": SERIES}.get(kind, LAYERS)
  if flags:
    built = saved.built(kind, {**given, **flags}, files(kind))
    params = drawn(built)
  return opened(kind, {**given, **flags}, built, params)


close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5)


def floats(text):
  return np.frombuffer(base64.b64decode(text), "<f4")


@functools.cache
def reader_of():
  return language.Reader(loaded("language"))


@functools.cache
def program_of():
  return offline.program(loaded("language"))


@pytest.mark.slow
def test_a_text_is_read_as_the_model_reads_it():
  own, reader = loaded("language"), reader_of()
  tokens = reader.encode({"text": "the fox "})["tokens"]
  carry = layers.initial_carry(own.module, own.params, 1)
  _, logits = quick(own.apply)(own.params, carry, np.array(tokens, np.int32)[:, None])
  log_p = np.asarray(jax.nn.log_softmax(logits[:, 0]))
  whole = reader.read({"tokens": tokens})
  close(floats(whole["logits"]), logits[-1, 0])
  nats = [-log_p[t, token] for t, token in enumerate(tokens[1:])]
  close(floats(whole["nats"]), np.array(nats, np.float32))
  # In parts, from a state that is remembered, or from the start.
  reader._carries.clear()
  for first in ([], tokens[:4]):
    if first:
      reader.read({"tokens": first})
    rest = reader.read({"tokens": tokens, "from": 4})
    close(floats(rest["logits"]), logits[-1, 0])
    close(floats(rest["nats"]), np.array(nats[4:], np.float32))
    shown = floats(rest["shown"]).reshape(len(tokens) - 4, -1)
    close(shown, floats(whole["shown"]).reshape(len(tokens), -1)[4:])
  units = sum(strip.shown for strip in reader.strips)
  assert [s.name for s in reader.strips] == ["layer 1 h"] * 2 and units == 12
  assert [s.gate for s in reader.strips] == [False, True]
  gates = floats(whole["shown"]).reshape(len(tokens), 12)[:, 6:]
  assert 0 < gates.min() and gates.max() < 1


@pytest.mark.parametrize(
  "given, said",
  [
    ({}, "a list of 1 to 8192"),
    ({"tokens": []}, "a list of 1 to 8192"),
    ({"tokens": [0] * 8193}, "a list of 1 to 8192"),
    ({"tokens": [-1]}, "whole numbers from 0 to"),
    ({"tokens": [True]}, "whole numbers from 0 to"),
    ({"tokens": [99]}, "whole numbers from 0 to"),
    ({"tokens": [1], "from": 1}, "from 0 to 0"),
    ({"tokens": [1], "from": "0"}, "from 0 to 0"),
  ],
)
def test_what_is_no_text_is_refused(given, said):
  with pytest.raises(BadInput, match=said):
    reader_of().read(given)


def test_few_texts_are_remembered():
  own = reader_of()
  for size in range(1, 9):
    own.read({"tokens": [1] * size})
  programs = reading._cache_size()
  for token in range(10):
    for size in range(1, 9):
      own.read({"tokens": [token] * size, "from": size // 2})
  assert len(own._carries) == language.CARRIES
  own._carries.clear()
  texts = own.encode({"text": "the fox "})["tokens"]
  afresh = own.read({"tokens": texts, "from": 4})
  own.read({"tokens": texts[:4]})
  gone_on = own.read({"tokens": texts, "from": 4})
  for name, told in gone_on.items():
    close(floats(told), floats(afresh[name]))
  assert reading._cache_size() == programs  # one for each power of two


def refuses(answer):
  for given in ({}, {"text": " "}, {"text": 3}, {"text": "x" * 100_001}):
    with pytest.raises(BadInput, match="text: "):
      answer(given)


@pytest.mark.slow
def test_labels_of_a_text():
  own = loaded("classify")
  answer = labels.classifying(own)
  found = answer({"text": "the fox"})["labels"]
  chances = own.predict(own.params, ["the fox"])[0]
  order = np.argsort(-chances)
  assert [name for name, _ in found] == [("bad", "good", "none")[i] for i in order]
  close(np.array([p for _, p in found]), chances[order])
  refuses(answer)
  with pytest.raises(BadInput, match="a page takes texts only"):
    labels.classifying(own._replace(files=files("series")))


@pytest.mark.slow
@pytest.mark.parametrize("output", ["crf", "softmax"])
def test_labels_of_words(output):
  own = loaded("tag", output=output)
  answer = labels.tagging(own)
  told = answer({"text": "the fox saw\n\na <b> dog"})["sentences"]
  words = [[one["word"] for one in line] for line in told]
  assert words == [["the", "fox", "saw"], ["a", "<b>", "dog"]]
  best = own.predict(own.params, words)
  assert [[one["labels"][0][0] for one in line] for line in told] == best
  for line in told:
    for one in line:
      assert sum(p for _, p in one["labels"]) == pytest.approx(1, abs=1e-5)
  refuses(answer)


@pytest.mark.slow
def test_a_table_goes_on():
  own = loaded("forecast")
  rows = [[5.0, -3.0, 2.0], [6, -2.5, 1], [4, -3.5, 0], [5, -3, 4], [7, -2, 3]]
  text = "a,b,c\n" + "\n".join(",".join(map(str, row)) for row in rows)
  answer = forecasting(own)
  found = answer({"text": text})
  expected = own.predict(own.params, np.array(rows[1:])[:, None])
  assert [one["name"] for one in found["columns"]] == ["a", "b"]
  for number, one in enumerate(found["columns"]):
    close(np.array(one["ahead"]), expected[:, 0, number])
    assert one["past"] == [row[number] for row in rows[1:]]
    assert one["times"] == ["1", "7"]
  assert found["csv"].startswith("time,a,b\n5,")
  for text, said in {
    "a,b,c\n1,2,3": "has 1 rows, and window=4",
    "a,b\n1,2": "has no column 'c'",
    "a,b,c\n1,2,x": "'x' is not a number",
  }.items():
    with pytest.raises(BadInput, match=said):
      answer({"text": text})
  assert SCALER["mean"][0] == 5  # the numbers above are in the units of the columns


# The server.

NO_OBJECT = ("the request is not JSON", "the request is not a JSON object")


@pytest.fixture(scope="module")
def serving_page():
  def echo(given):
    if "bad" in given:
      raise BadInput("a sentence about <b>")
    return {"given": 1 / given.get("by", 1)}

  with server("<p>é</p>", {"/ask": echo}) as found:
    thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield found.server_address[1]
    found.shutdown()
  thread.join()


def asked(port, method, path, body=None, **headers):
  """The status and the JSON, or the text, of an answer."""
  connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
  named = {name.replace("_", "-"): value for name, value in headers.items()}
  connection.request(method, path, body, named)
  response = connection.getresponse()
  data = response.read()
  assert response.headers["X-Content-Type-Options"] == "nosniff"
  assert response.headers["X-Frame-Options"] == "DENY"
  connection.close()
  if response.headers.get_content_type() == "text/html":
    return response.status, data.decode()
  found = json.loads(data)
  return response.status, found.get("error", found)


def test_a_server_answers_its_page_alone(serving_page, capfd):
  port = serving_page
  ask = functools.partial(asked, port)
  kind = {"Content_Type": "application/json"}
  assert ask("GET", "/") == (200, "<p>é</p>")
  assert ask("POST", "/ask", "{}", **kind) == (200, {"given": 1})
  assert ask("GET", "/", Host=f"localhost:{port}")[0] == 200
  own = f"http://127.0.0.1:{port}"
  assert ask("POST", "/ask", "{}", Origin=own, **kind)[0] == 200
  assert ask("POST", "/ask", '{"bad": 1}', **kind) == (400, "a sentence about <b>")
  for body in ("", "{", "[1]", "[" * 100_000, b"\xff"):
    status, said = ask("POST", "/ask", body, **kind)
    assert status == 400 and said in NO_OBJECT, body
  for path in ("/x", "/..", "/../../etc/passwd", "/%2e%2e/", "/?a", "/ask"):
    assert ask("GET", path)[0] == 404, path
  assert ask("POST", "/", "{}", **kind)[0] == 404
  assert ask("POST", "/ask", "{}")[0] == 415
  large = "x" * (LARGEST + 1)
  assert ask("POST", "/ask", large, **kind)[0] == 413
  assert ask("POST", "/ask", "{}", Content_Length="x", **kind)[0] == 411
  assert ask("PUT", "/ask", "{}", **kind)[0] == 501
  for wrong in ("evil.example", f"evil.example:{port}", "127.0.0.1", ""):
    assert ask("GET", "/", Host=wrong)[0] == 403, wrong
    assert ask("POST", "/ask", "{}", Host=wrong, **kind)[0] == 403, wrong
  for wrong in ("http://evil.example", "null", f"https://127.0.0.1:{port}"):
    assert ask("POST", "/ask", "{}", Origin=wrong, **kind)[0] == 403, wrong
  assert capfd.readouterr().err == ""
  assert ask("POST", "/ask", '{"by": 0}', **kind)[0] == 500
  assert "ZeroDivisionError" in capfd.readouterr().err
  with pytest.raises(BadInput, match=f"port={port} cannot be had"):
    server("", {}, port)


# The page.

EVIL = "</script><img src=x onerror=alert(1)>"


def test_a_page_asks_nobody_and_keeps_texts_texts():
  text = play_page(EVIL, EVIL, {"kind": "language", "pieces": [EVIL]}, served=False)
  assert EVIL not in text and "<img" not in text
  assert "connect-src 'none'" in text and "default-src 'none'" in text
  assert "{{" not in text.replace("${{", "")
  assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
  assert "https://" not in text and "innerHTML" not in text and "eval(" not in text
  assert "connect-src 'self'" in play_page("", "", {}, served=True)


@pytest.mark.parametrize("kind", ["memory", "music"])
def test_models_without_a_page_are_refused(kind):
  own = loaded("language")._replace(config={"experiment": kind, "model": kind})
  for make in (pages.played, pages.whole_page):
    with pytest.raises(BadInput, match=f"experiments.{kind} has no page to play with"):
      make(own, "")


def test_a_page_without_a_server_is_refused():
  with pytest.raises(BadInput, match="is for charlm, and this is a run of tag"):
    own = loaded("language")
    pages.whole_page(own._replace(config={"experiment": "tag", "model": "tag"}), "")
  subwords = own.vocabulary.__class__("joined", "none", own.vocabulary.tokens)
  with pytest.raises(BadInput, match="tokenizer=joined is not one"):
    offline.program(own._replace(vocabulary=subwords))
  large = {**own.params, "more": {"x": np.zeros(2**24 + 1, np.float32)}}
  with pytest.raises(BadInput, match="more than the 64 of a page"):
    offline.program(own._replace(params=large))
  flags = {**own.config["flags"], "model": "transformer"}
  with pytest.raises(BadInput, match="a Transformer has no page without a server"):
    offline.program(own._replace(config={**own.config, "flags": flags}))


# The program in the page, without a browser.


def interpreted(own, **given):
  """What Node makes of a program."""
  scripts = [str(FOLDER / f"{name}.js") for name in ("interpreter", "draws", "sources")]
  done = subprocess.run(
    [NODE, str(RUNNER)],
    input=json.dumps({"scripts": scripts, "program": own, **given}),
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout)


def known():
  """The operators that the interpreter names."""
  return set(
    re.findall(r"\b([A-Z][A-Za-z]+)\b", (FOLDER / "interpreter.js").read_text())
  )


def agrees(own, tokens=(1, 2, 3, 4, 5, 6, 2)):
  """Compares logits and units with those of the model, step by step."""
  steps, program = offline.program(own) if own else program_of()
  assert {node["op"] for node in program["nodes"]} <= known()
  if not NODE:
    return program
  found = interpreted(program, tokens=tokens)
  carry, step = steps.carry, quick(steps.step)
  for token, logits, shown in zip(tokens, found["logits"], found["shown"]):
    carry, *own = step(steps.params, carry, np.array([token], np.int32))
    np.testing.assert_allclose(logits, own[0], atol=1e-4)
    np.testing.assert_allclose(shown, own[1], atol=1e-4)
  return program


def test_the_interpreter_knows_the_operators():
  assert set(ELEMENTWISE.values()) <= known()
  arrays = Path(offline.__file__).parents[1] / "exporting" / "arrays.py"
  nodes = re.findall(r'node\("(\w+)"', arrays.read_text())
  shapes = {"Squeeze", "Unsqueeze"}  # which `listed` has as Reshape
  assert len(nodes) > 10 and set(nodes) - shapes <= known()


def test_a_program_is_the_model():
  program = agrees(None)
  assert "Tanh" in {node["op"] for node in program["nodes"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_every_cell(name):
  agrees(loaded("language", cell=name))


@pytest.mark.slow
@pytest.mark.parametrize(
  "flags",
  [
    {"cell": "lstm", "layers": 2, "skip": True, "embedding": 0},
    {"cell": "gru", "layers": 2, "residual": True, "heads": 2, "learned_carry": True},
    {"cell": "lstm", "zoneout": (0.1,), "dropout": 0.5, "weight_dropout": 0.5},
    {"cell": "mlstm", "tie_embeddings": True, "embedding": 6},
  ],
)
def test_other_layers(flags):
  agrees(loaded("language", **flags))


@needs_node
@pytest.mark.parametrize("seed", [0, pytest.param(2**31 - 1, marks=pytest.mark.slow)])
def test_random_numbers_are_those_of_jax(seed):
  numbers = [0, 1, 2, 77, 1000]
  found = interpreted(None, seed=seed, tokens=numbers)["noise"]
  keys = jax.vmap(jax.random.fold_in, (None, 0))(
    jax.random.key(seed), np.array(numbers)
  )
  own = jax.vmap(lambda key: jax.random.gumbel(key, (1001,), np.float32))(keys)
  close(found, np.diag(own[:, np.array(numbers)]))


@needs_node
def test_a_page_splits_texts_as_vocabularies_do():
  said = (
    "The fox's <unk> naïve_1, ДОГ:\r\n a\tb—c \n\n.,!x "
    "हिन्दी 数\x1c\x85\xa0½ 👍🏽\u200b\ufeff"
  )
  cases = [
    (name, how, said) for name in offline.TOKENIZERS for how in text_lib.NORMALIZERS
  ]
  found = interpreted(None, tokens=[], splits=cases)["splits"]
  for (name, how, text), tokens in zip(cases, found):
    own = text_lib.tokenizer(name).split(text_lib.normalize(text, how))
    assert tokens == ([*map(ord, own)] if name == "byte" else [*own]), (name, how)


@needs_node
@pytest.mark.parametrize(
  "chosen",
  [
    {"temperature": 0.7, "topK": 3, "seed": 4},
    pytest.param({"temperature": 1, "topK": 0, "seed": 3}, marks=pytest.mark.slow),
    pytest.param({"temperature": 0, "topK": 0, "seed": 0}, marks=pytest.mark.slow),
  ],
)
def test_a_page_writes_what_sampling_writes(chosen):
  own, (_, program) = loaded("language"), program_of()
  tokens = own.vocabulary.encode("the fox").tolist()
  options = {**chosen, "unknown": own.vocabulary.unknown}
  found = interpreted(program, tokens=tokens, length=50, options=options)["drawn"]
  [expected] = own.generate(
    own.params,
    "the fox",
    length=50,
    seed=chosen["seed"],
    temperature=chosen["temperature"],
    top_k=chosen["topK"],
  )
  assert own.vocabulary.decode(tokens + found) == expected


# The command.


@pytest.mark.slow
def test_the_command(tmp_path):
  (tmp_path / "book.txt").write_text("the quick brown fox jumps over it. " * 60)
  flags = ("--corpus=book.txt", "--hidden=6", "--layers=1", "--steps=2", "--batch=2")
  done = run(tmp_path, "charlm", *flags, "--length=5", "--workdir=run")
  assert done.code == 0, done.err
  written = run(tmp_path, "play", "--workdir=run", "--export=a.html")
  assert written.code == 0 and written.out.startswith("a.html: 0."), written.err
  text = (tmp_path / "a.html").read_text("utf-8")
  assert "experiments.charlm, lstm, step 2" in text
  command = Command(tmp_path, "play", "--workdir=run")
  until = time.monotonic() + 60
  out = command._streams / "1"
  while not (out.exists() and out.read_text()) and time.monotonic() < until:
    time.sleep(0.1)
  port = int(
    re.fullmatch(r"http://127.0.0.1:(\d+)/ until Ctrl-C\n", out.read_text())[1]
  )
  assert "experiments.charlm" in asked(port, "GET", "/")[1]
  kind = {"Content_Type": "application/json"}
  status, found = asked(port, "POST", "/encode", '{"text": "the"}', **kind)
  assert status == 200
  status, _ = asked(port, "POST", "/read", json.dumps(found), **kind)
  assert status == 200
  os.kill(command.process.pid, signal.SIGINT)
  assert command.wait().code == 0
  for flags, said in {
    (): "--workdir",
    ("--workdir=none",): "none holds no config.json",
    ("--workdir=run", "--port=70000"): "port",
    ("--workdir=run", "--export=no/a.html"): "no/a.html",
  }.items():
    refused = run(tmp_path, "play", *flags)
    assert refused.code == 2 and said in refused.err, refused.err
