"""Transformers on the pages, as commands: trained, resumed, sampled, started with."""

import json

import jax
import numpy as np
import pytest

from tests.commands import run
from unroll.checkpoint import steps
from unroll.loading import load

TINY = [
  *("--model=transformer", "--blocks=2", "--model_width=8", "--attention_heads=2"),
  *("--context=6", "--mlp=12", "--batch=4", "--dropout=0.1"),
]
TEXT = ["--corpus=book.txt", "--embedding=6", "--truncation=tbptt:8", *TINY]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("transformer")
  words = np.random.default_rng(1).choice(["the", "quick", "fox", "sat"], 600)
  (folder / "book.txt").write_text(" ".join(words) + "\n")
  rows = [f"the fox {n}\t{'odd' if n % 2 else 'even'}" for n in range(60)]
  (folder / "lines.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
  done = run(folder, "charlm", *TEXT, "--steps=4", "--eval_every=2", "--workdir=run")
  assert done.code == 0, done.err
  return folder


@pytest.mark.slow
def test_a_run_goes_on_bit_for_bit(folder):
  flags = [*TEXT, "--eval_every=2"]
  for stop in (2, 4):
    done = run(folder, "charlm", *flags, f"--steps={stop}", "--workdir=parts")
    assert done.code == 0, done.err
  found = [load(folder / name, checkpoint="newest").params for name in ("run", "parts")]
  assert steps(folder / "parts" / "checkpoints")[-1] == 4
  for a, b in zip(*(jax.tree.leaves(params) for params in found)):
    np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
  "flags",
  [
    ["--mode=sample", "--length=20", "--samples=2"],
    ["--mode=eval"],
    ["--mode=eval", "--dynamic_rate=0.1", "--eval_steps=1"],
  ],
)
def test_a_run_is_used_as_any_other(folder, flags):
  done = run(folder, "charlm", *flags, "--workdir=run", "--json")
  assert done.code == 0, done.err
  assert json.loads(done.out.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
  "flags, says",
  [
    (["--cell=gru"], "--cell=gru says nothing to --model=transformer"),
    (["--attention_heads=3"], "multiple of twice the heads"),
    (["--recurrent_penalty=1"], "--recurrent_penalty=1.0 says nothing to"),
  ],
)
def test_what_does_not_apply_is_refused(folder, flags, says):
  done = run(folder, "charlm", *TEXT, *flags, "--steps=1", "--workdir=none")
  assert done.code == 2 and says in done.err and "Traceback" not in done.err
  assert not (folder / "none").exists()


@pytest.mark.slow
def test_a_masked_model_fills_gaps_and_starts_a_classifier(folder):
  done = run(folder, "cloze", *TEXT, "--steps=3", "--workdir=cloze")
  assert done.code == 0, done.err
  fill = ["--mode=fill", "--workdir=cloze", "--text=the qu_ck", "--json"]
  done = run(folder, "cloze", *fill)
  assert done.code == 0 and json.loads(done.out.splitlines()[-1])["text"], done.err
  refuse = [*TEXT, "--merge=sum", "--steps=1", "--workdir=none"]
  done = run(folder, "cloze", *refuse)
  assert done.code == 2 and "--merge=sum says nothing" in done.err
  flags = ["--data=lines.tsv", "--embedding=6", "--bidirectional", "--pooling=mean"]
  flags += [*TINY, "--init_from=cloze", "--unfreeze=1", "--steps=3", "--workdir=labels"]
  done = run(folder, "classify", *flags)
  assert done.code == 0, done.err
  told = done.out + done.err
  assert "of the other run" in told and "its own: output/bias, output/kernel" in told


@pytest.mark.slow
def test_a_translator_writes_with_beams(folder):
  lines = [f"{w}\t{w[::-1]}" for w in ("ab", "abc", "ca", "b", "cab")]
  for part, many in (("train", 8), ("val", 1)):
    (folder / f"{part}.tsv").write_text("\n".join(lines * many) + "\n")
  flags = [
    "--train=train.tsv",
    "--val=val.tsv",
    "--tokenizer=char",
    "--embedding=8",
    "--source_embedding=8",
    *TINY,
  ]
  made = run(folder, "translate", *flags, "--steps=3", "--workdir=reverse")
  assert made.code == 0, made.err
  (folder / "in.txt").write_text("abc\n\nab\n")
  use = ["--mode=translate", "--workdir=reverse", "--input=in.txt", "--beams=3"]
  done = run(folder, "translate", *use, "--best=2")
  assert done.code == 0, done.err
  done = run(folder, "translate", *flags, "--coverage", "--workdir=none", "--steps=1")
  assert done.code == 2 and "--coverage" in done.err
