"""What makes two runs the same one, and what a damaged configuration is taken for."""

import json

import pytest

from experiments import charlm
from experiments.session import identity
from experiments.session.settings import Settings
from experiments.session.task import Size, Task
from unroll.metrics import NATS
from unroll.types import BadInput

PAGE = charlm.PAGE
CHANGING = [n for n, s in PAGE.settings.items() if s.role == "changing"]
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
TASK = Task(
  *(None, None, None, None, {}, (NATS,)),
  size=Size(1, 1, 1.0),
  data="0" * 64,
  model="language",
  files={"vocab.json": "ab"},
  splits={"train": 9, "val": 1},
)


@pytest.fixture
def made(tmp_path):
  """The folder of a run with the settings as they are by default."""
  identity.write(tmp_path, identity.identity(Settings.of(PAGE), TASK), TASK.measures)
  return tmp_path


def read(path):
  return identity.read(path, PAGE)


def differences(there, here):
  return identity.differences(PAGE, there, here)


def plain(settings):
  return json.loads(json.dumps(settings.values("run", "changing", "data")))


def test_a_configuration_is_taken_over_as_it_was_written(tmp_path):
  """Whatever the values of the run, and of the call that takes them over."""
  other = Settings.of(PAGE, hidden=(7, 5), ema=0.5, forget_bias=1.0, seed=3, steps=4)
  identity.write(tmp_path, identity.identity(other, TASK), TASK.measures)
  found = identity.adopted(Settings.of(PAGE), tmp_path, read(tmp_path), ())
  assert plain(found) == plain(other) == read(tmp_path)["flags"]
  assert differences(read(tmp_path), read(tmp_path)) == []


@pytest.mark.slow
def test_no_value_of_another_type_is_taken_over(made):
  """For every setting and many values: as it would be written, or refused by name."""
  config = json.loads((made / "config.json").read_text())
  taken = 0
  # Each setting meets a sixth of the values, others than its neighbours.
  pairs = [
    (name, value)
    for number, name in enumerate(config["flags"])
    for value in WRONG[number % 6 :: 6]
  ]
  for name, value in pairs:
    changed = {**config, "flags": {**config["flags"], name: value}}
    (made / "config.json").write_text(json.dumps(changed))
    try:
      found = identity.adopted(Settings.of(PAGE), made, read(made), ())
    except BadInput as error:
      assert "config.json has" in str(error) and f"--{name}" in str(error)
      continue
    taken += 1
    (value_found,) = [v for n, v in plain(found).items() if n == name]
    if PAGE.settings[name].listed:
      kind = PAGE.settings[name].type
      assert value_found == [kind(part) for part in value]
    else:
      assert value_found == value or value != value
      assert type(value) in (type(value_found), int)
  assert 0 < taken < len(pairs) / 2


@pytest.mark.parametrize(
  "text",
  [
    *('{"flags": [1]}', '{"versions": 5}', '{"history": {"a": 1}}', '{"data": 7}'),
    *('{"files": [1]}', '{"files": {"a": 1}}', '{"splits": 3}'),
    *("[]", "null", "7", '"a"', "{}", "[" * 100_000, "{", ""),
  ],
)
def test_what_is_no_configuration(made, text):
  whole = read(made)
  if text.startswith("{") and text.endswith("}") and len(text) > 2:
    text = json.dumps({**whole, **json.loads(text)})
  (made / "config.json").write_text(text)
  with pytest.raises(BadInput, match=r"config\.json is not .*: restore it"):
    read(made)


@pytest.mark.parametrize("name", CHANGING)
def test_what_may_change_is_no_other_run(made, name):
  before = read(made)
  assert identity.update(made, Settings.of(PAGE), 0) == {}
  value = "other" if PAGE.settings[name].type is str else 7
  settings = Settings.of(PAGE, **{name: value})
  assert identity.update(made, settings, 5)[name][1] == value
  after = read(made)
  assert differences(before, after) == []
  old = {name: before["flags"][name]}
  assert after["history"] == [{"until_step": 5, "flags": old}]
  assert identity.update(made, settings, 9) == {} and read(made) == after


OTHER = {bool: True, int: 97, float: 0.25, str: "other"}


def test_what_is_another_run(made):
  config = read(made)
  for name in config["flags"].keys() - {*CHANGING, "corpus"}:
    setting = PAGE.settings[name]
    value = setting.choices[-1] if setting.choices else OTHER[setting.type]
    value = [value] if setting.listed else value
    if value == config["flags"][name]:
      value = setting.choices[0]
    changed = {**config, "flags": {**config["flags"], name: value}}
    [said] = differences(config, changed)
    assert said.startswith(f"--{name} (there ")
  others = {"experiment": "x", "data": "x", "files": {}, "splits": {"train": 8}}
  for part, other in others.items():
    assert len(differences(config, {**config, part: other})) == 1


def test_every_setting_of_a_page_is_of_the_run_unless_it_says_otherwise(made):
  """What a page forgets to say errs on the safe side."""
  left = PAGE.settings.keys() - read(made)["flags"].keys()
  assert left == {name for name, s in PAGE.settings.items() if s.role == "call"}


def test_a_setting_younger_than_the_run_is_as_by_default(made):
  config = read(made)
  older = {k: v for k, v in config["flags"].items() if k not in ("ema", "stride")}
  older = {**config, "flags": older}
  assert differences(older, config) == []
  changed = {**config, "flags": {**config["flags"], "ema": 0.5}}
  assert differences(older, changed) == ["--ema (there 0.0, here 0.5)"]


def test_the_run_of_an_older_version_is_the_same_one(made):
  """It had the digest of a vocabulary, widths as texts, and said nothing of splits."""
  config = read(made)
  flags = {**config["flags"], "hidden": ["256"]}
  older = {"experiment": "charlm", "flags": flags, "data": "0" * 64}
  older["vocabulary"] = config["files"]["vocab.json"]
  (made / "config.json").write_text(json.dumps(older))
  assert differences(read(made), config) == [] == differences(config, read(made))


@pytest.mark.parametrize(
  "part, same",
  [({}, True), ({"data": "1" * 64}, False), ({"splits": {"val": 2}}, False)],
)
def test_the_same_data_elsewhere(made, part, same):
  """Data may move, as long as they are the same and are split alike."""
  config = read(made)
  flags = {**config["flags"], "corpus": "elsewhere/a.txt"}
  assert (differences(config, {**config, "flags": flags, **part}) == []) == same
