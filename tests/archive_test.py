"""A .npz file is read, or refused in a sentence, whatever has become of it."""

import warnings

import numpy as np
import pytest

from unroll.data import archive
from unroll.types import BadInput


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_that_has_been_cut_or_flipped(tmp_path, save):
  path, draw = tmp_path / "a.npz", np.random.default_rng(0)
  save(path, x=np.arange(60.0).reshape(3, 20), y=np.array(["a", "b", "c"]))
  whole, refused = path.read_bytes(), 0
  for number in range(400):
    data = bytearray(whole)
    if number < 100:
      del data[number * len(data) // 100 :]
    else:
      for place in draw.integers(len(data), size=1 + number % 3):
        data[place] ^= 1 << draw.integers(8)
    path.write_bytes(data)
    try:
      # A file that is left open, or a header in another form, is told by a warning.
      with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = archive.read(path, "x and y")
      assert all(isinstance(array, np.ndarray) for array in found.values())
    except BadInput as error:
      assert str(path) in str(error) and "\n" not in str(error)
      refused += 1
    except MemoryError:  # a shape beyond it: told at the door
      pass
  assert refused > 100


def test_what_is_read_is_what_was_saved(tmp_path):
  np.savez(tmp_path / "a.npz", x=np.eye(2), y=[1, 2])
  found = archive.read(tmp_path / "a.npz", "x")
  np.testing.assert_array_equal(found["x"], np.eye(2))
  assert found["y"].tolist() == [1, 2]
