#!/usr/bin/env bash
# Guessed: a unigram tokenizer that is trained twice on the same text, with the same options,
#   is the same, as one of byte pairs is.
# In fact: no two trainings agree. Scores differ in their last digits, as sums are taken in
#   the order of threads and hash tables. And the characters of the alphabet that pruning has
#   dropped are put back in the order of a hash table, each 0.0001 below the one before: they
#   have other ids and scores every time. One thread (RAYON_NUM_THREADS=1) does not help.
#   Byte pairs (BPE) of the same text are equal byte for byte.
# Versions: tokenizers 0.23.3, Python 3.11, Linux x86-64, 2026-11-29.
# Why it matters: a run that trains its tokenizer has other ids, and so another model, each
#   time, whatever its seed; two processes that each train one disagree about what an id is.
#   Sort the pieces and round their scores, or train once and hand out the file.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q tokenizers==0.23.3
cd "$folder"
RAYON_NUM_THREADS=1 bin/python -I - <<'EOF'
import importlib.metadata
import json
import platform

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TEXT = [f"the fox number {i} jumps over dog {i * i} and back again" for i in range(300)]
TIMES = 5


def trained(kind):
  byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
  options = dict(
    vocab_size=400, show_progress=False, initial_alphabet=byte_level.alphabet()
  )
  if kind == "unigram":
    tokenizer = Tokenizer(models.Unigram())
    trainer = trainers.UnigramTrainer(**options)
  else:
    tokenizer, trainer = Tokenizer(models.BPE()), trainers.BpeTrainer(**options)
  tokenizer.pre_tokenizer = byte_level
  tokenizer.train_from_iterator(TEXT, trainer)
  return tokenizer.to_str()


version = importlib.metadata.version("tokenizers")
print(f"tokenizers {version}, Python {platform.python_version()}")
pairs = {trained("bpe") for _ in range(TIMES)}
print(f"byte pairs: {len(pairs)} different tokenizers of {TIMES} trainings")
unigrams = {trained("unigram") for _ in range(TIMES)}
print(f"unigrams: {len(unigrams)} different tokenizers of {TIMES} trainings")
orders = {tuple(p for p, _ in json.loads(t)["model"]["vocab"]) for t in unigrams}
print(f"unigrams: {len(orders)} different orders of their pieces, and so of ids")
as_found = len(pairs) == 1 and len(unigrams) > 1 and len(orders) > 1
raise SystemExit(0 if as_found else "this behaviour has changed")
EOF
