"""Specs are read in one way, whoever asks for them."""

import pytest

from unroll import specs
from unroll.types import BadInput

FORMS: specs.Forms = {
  "plain": (),
  "one": (0.5,),
  "two": (0.25, 8.0),
  "must": ("EVERY", "RATE"),
  "half": (3.0, "RATE"),
  "more": ("EVERY", 0.5),
}


@pytest.mark.parametrize(
  "spec, name, numbers",
  [
    ("full", "full", ()),
    ("tbptt:8", "tbptt", (8,)),
    ("tbptt:8,16", "tbptt", (8, 16)),
    ("every:-3", "every", (-3,)),
    # Text of another form is a name that nobody knows.
    ("", "", ()),
    ("tbptt:", "tbptt:", ()),
    ("tbptt:8,", "tbptt:8,", ()),
    ("tbptt:8:16", "tbptt:8:16", ()),
    ("tbptt:2.5", "tbptt:2.5", ()),
    ("every:²", "every:²", ()),
  ],
)
def test_whole_numbers_are_split_off(spec, name, numbers):
  assert specs.split(spec, int) == (name, numbers)


@pytest.mark.parametrize(
  "spec, numbers",
  [("normal:2.5", (2.5,)), ("adam:1e-3,1", (0.001, 1.0)), ("linear:-0.5", (-0.5,))],
)
def test_numbers_are_split_off(spec, numbers):
  assert specs.split(spec, float) == (spec.partition(":")[0], numbers)


@pytest.mark.parametrize(
  "spec, numbers",
  [
    ("plain", ()),
    ("one", (0.5,)),
    ("one:0.75", (0.75,)),
    ("two", (0.25, 8.0)),
    ("two:1,2", (1.0, 2.0)),
    ("must:3,0.1", (3.0, 0.1)),
    ("half:4,0.2", (4.0, 0.2)),
    ("more:3", (3.0, 0.5)),
    ("more:3,1", (3.0, 1.0)),
  ],
)
def test_numbers_are_all_given_or_all_by_default(spec, numbers):
  assert specs.read("schedule", spec, FORMS) == (spec.partition(":")[0], numbers)


@pytest.mark.parametrize(
  "spec",
  [
    *("", "other", "plain:1", "plain:", "one:", "one:x", "one:1,2", "two:1", "two:1,"),
    *("must", "must:1", "must:EVERY,RATE", "half", "half:3", "One", " one"),
    *("more", "more:1,2,3"),
  ],
)
def test_what_is_no_form_is_refused_with_every_form(spec):
  with pytest.raises(BadInput) as info:
    specs.read("schedule", spec, FORMS)
  assert str(info.value) == (
    f"schedule={spec} is not understood: use one of plain, one[:0.5], two[:0.25,8.0], "
    "must:EVERY,RATE, half:3.0,RATE, more:EVERY[,0.5]"
  )
