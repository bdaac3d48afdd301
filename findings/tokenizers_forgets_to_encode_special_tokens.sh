#!/usr/bin/env bash
# Guessed: a tokenizer that is told to read the letters of `<eos>` in a text as letters
#   (encode_special_tokens = True) does so after it was saved and read again: what it does
#   with a text is what its JSON says.
# In fact: the property is not in the JSON. The tokenizer that is read back turns "<eos>" in
#   a text into the special token, without a word; the one that was saved did not.
# Versions: tokenizers 0.23.3, Python 3.11, Linux x86-64, 2026-11-30.
# Why it matters: a text that spells a special token, such as documentation or somebody's
#   input, ends a sequence in a program that loads the tokenizer, and did not in the one
#   that trained it. Set the property after every load.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q tokenizers==0.23.3
cd "$folder"
bin/python -I - <<'END'
import importlib.metadata
import platform

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TEXT = "the end is spelled <eos> here"

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
alphabet = pre_tokenizers.ByteLevel.alphabet()
tokenizer.train_from_iterator(
  [TEXT], trainers.BpeTrainer(show_progress=False, initial_alphabet=alphabet)
)
tokenizer.add_special_tokens(["<eos>"])
eos = tokenizer.token_to_id("<eos>")
tokenizer.encode_special_tokens = True
again = Tokenizer.from_str(tokenizer.to_str())

version = importlib.metadata.version("tokenizers")
print(f"tokenizers {version}, Python {platform.python_version()}")
saved, loaded = (eos in one.encode(TEXT).ids for one in (tokenizer, again))
print(f"a text that spells <eos> has the special token: {saved} before saving, {loaded} after")
print(f"the property: {tokenizer.encode_special_tokens}, {again.encode_special_tokens}")
raise SystemExit(0 if (saved, loaded) == (False, True) else "this behaviour has changed")
END
