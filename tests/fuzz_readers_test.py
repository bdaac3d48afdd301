"""Every reader reads damaged files, or refuses them in one sentence."""

import signal

import pytest

from tests.fuzz_readers import READERS, fuzz
from unroll.types import BadInput


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_damaged_file_is_read_or_refused(reader, tmp_path):
  found = fuzz(reader, 300, 0, tmp_path)
  signal.alarm(0)
  assert not found.faults
  assert found.kept  # it reaches what whole files do not


def test_a_sentence_is_one_line_without_orders_to_a_terminal():
  error = BadInput("labels.csv has the column 'a\nb\x1b[2J\u2028', no 'é ✓'")
  assert str(error) == "labels.csv has the column 'a\\nb\\x1b[2J\\u2028', no 'é ✓'"
  assert str(BadInput()) == "" and error.args == (str(error),)
