"""What makes two runs the same one, and what a damaged configuration is taken for."""

import json

import pytest
from absl.testing import flagsaver

from experiments.session import common, identity
from unroll.data.vocabulary import Vocabulary
from unroll.types import BadInput

FLAGS = common.FLAGS
WRONG = [
  None,
  True,
  1,
  2**40,
  1.5,
  float("nan"),
  "x",
  "1",
  [],
  [1],
  ["x"],
  {},
  {"a": 1},
]


@pytest.fixture
def made(tmp_path):
  """The folder of a run with the flags as they are by default."""
  with flagsaver.flagsaver():
    FLAGS.mark_as_parsed()
    tokens = Vocabulary.build("ab", "char", "none")
    config = identity.identity("charlm", common.config(), tokens, "0" * 64)
    identity.write(tmp_path, config)
    yield tmp_path


def flags_of(path):
  return identity.read(path)["flags"]


def test_a_configuration_is_taken_over_as_it_was_written(made):
  before = flags_of(made)
  identity.adopt(made, identity.read(made), ())
  assert json.loads(json.dumps(common.config())) == before
  assert identity.differences(identity.read(made), identity.read(made)) == []


def test_no_value_of_another_type_is_taken_over(made):
  """For every flag and many values: as it would be written, or refused by name."""
  config = identity.read(made)
  taken = 0
  for name, own in config["flags"].items():
    for value in WRONG:
      changed = {**config, "flags": {**config["flags"], name: value}}
      try:
        identity.adopt(made, changed, ())
      except BadInput as error:
        assert "config.json has" in str(error) and f"--{name}" in str(error)
      else:
        taken += 1
        found = FLAGS[name].value
        kind = type(FLAGS[name].default)
        assert isinstance(found, kind) or FLAGS[name].default is None
        assert value is None or found == value or value != value
      FLAGS[name].value = own
  assert 0 < taken < len(WRONG) * len(config["flags"]) / 2


@pytest.mark.parametrize(
  "text",
  [
    *('{"flags": [1]}', '{"versions": 5}', '{"history": {"a": 1}}', '{"data": 7}'),
    *("[]", "null", "7", '"a"', "{}", "[" * 100_000, "{", ""),
  ],
)
def test_what_is_no_configuration(made, text):
  whole = identity.read(made)
  if text.startswith("{") and text.endswith("}") and len(text) > 2:
    text = json.dumps({**whole, **json.loads(text)})
  (made / "config.json").write_text(text)
  with pytest.raises(BadInput, match=r"config\.json is not .*: restore it"):
    identity.read(made)


@pytest.mark.parametrize("name", sorted(common.MAY_CHANGE))
def test_what_may_change_is_no_other_run(made, name):
  before = identity.read(made)
  identity.update(made, 0)
  FLAGS[name].value = 7
  assert identity.update(made, 5)[name][1] == FLAGS[name].value
  after = identity.read(made)
  assert identity.differences(before, after) == []
  old = {name: before["flags"][name]}
  assert after["history"] == [{"until_step": 5, "flags": old}]
  assert identity.update(made, 9) == {} and identity.read(made) == after


def test_what_is_another_run(made):
  config = identity.read(made)
  for name in config["flags"].keys() - common.MAY_CHANGE - {"corpus"}:
    changed = {**config, "flags": {**config["flags"], name: "other"}}
    [said] = identity.differences(config, changed)
    assert said.startswith(f"--{name} (there ")
  for part in ("experiment", "data", "vocabulary"):
    assert len(identity.differences(config, {**config, part: "other"})) == 1


def test_a_flag_younger_than_the_run_is_as_by_default(made):
  config = identity.read(made)
  older = {k: v for k, v in config["flags"].items() if k not in ("ema", "stride")}
  older = {**config, "flags": older}
  assert identity.differences(older, config) == []
  changed = {**config, "flags": {**config["flags"], "ema": 0.5}}
  assert identity.differences(older, changed) == ["--ema (there 0.0, here 0.5)"]


@pytest.mark.parametrize(
  "there, here, same",
  [
    ("a.txt", "b/a.txt", True),
    ("tinyshakespeare", "input.txt", True),
    ("ptb", "all.txt", False),  # an official split there, none here
    ("wikitext2", "wikitext2", True),
  ],
)
def test_the_same_text_elsewhere(made, there, here, same):
  config = identity.read(made)
  one, other = (
    {**config, "flags": {**config["flags"], "corpus": corpus}}
    for corpus in (there, here)
  )
  assert (identity.differences(one, other) == []) == same
  changed = {**other, "data": "1" * 64}
  assert identity.differences(one, changed)
