"""Line ends of a corpus: what is learned of them is said."""

import pytest

from experiments.parts import text


@pytest.mark.parametrize(
  "tokenizer, ends, said",
  [
    ("char", "\r\n", True),
    ("byte", "\r\n", True),
    ("char", "\n", False),
    ("word", "\r\n", False),
  ],
)
def test_a_carriage_return_that_is_learned_is_said(
  tmp_path, capsys, tokenizer, ends, said
):
  path = tmp_path / "book.txt"
  path.write_bytes(ends.join(["one two", "three"] * 20).encode())
  settings = text.Text(corpus=str(path), tokenizer=tokenizer)
  known = text.load(settings).vocabulary
  told = capsys.readouterr().err
  assert ("has lines that end in \\r\\n" in told) == said
  text.load(settings, known)
  assert "lines that end" not in capsys.readouterr().err
