"""How values are written on the command line of a sweep, and what is made of them."""

import itertools
import math

import pytest

from launch.space import Choice, Range, Space, merged, read
from unroll.errors import BadInput


@pytest.mark.parametrize(
  ("argument", "domain"),
  [
    ("--cell=rnn,gru", Choice(("rnn", "gru"))),
    ("--hidden=[256,128],[512]", Choice(("256,128", "512"))),
    (
      "--truncation=tbptt:16,[tbptt:16,64],full",
      Choice(("tbptt:16", "tbptt:16,64", "full")),
    ),
    ("--truncation=ok:2,4,[ok:2],1,rtrl", Choice(("ok:2,4", "ok:2", "1", "rtrl"))),
    ("--truncation=adaptive:.5,10,40,uoro:8", Choice(("adaptive:.5,10,40", "uoro:8"))),
    ("--optimizer=adam:0.9,1e-3,sgd", Choice(("adam:0.9,1e-3", "sgd"))),
    ("--cell=lru:a=0.9,b=0.99,gru", Choice(("lru:a=0.9,b=0.99", "gru"))),
    ("--rates=embed:0.1,output:0", Choice(("embed:0.1", "output:0"))),
    ("--clip_norm=log:0.1:10", Range(0.1, 10, True, False)),
    ("--clip_norm=log:0.1:10:3", Choice(("0.1", "1", "10"))),
    ("--clip_norm=0,log:1e-2:1:3,5", Choice(("0", "0.01", "0.1", "1", "5"))),
    ("--dropout=linear:0:.5:3", Choice(("0", "0.25", "0.5"))),
    ("--layers=int:1:4", Range(1, 4, False, True)),
    ("--layers=int:1:4:4", Choice(("1", "2", "3", "4"))),
    ("--hidden=logint:16:64:3", Choice(("16", "32", "64"))),
    ("--residual=true,false", Choice(("true", "false"))),
    ("--seed=1,1,2", Choice(("1", "2"))),
  ],
)
def test_a_domain_is_read(argument: str, domain: object) -> None:
  name = argument[2:].split("=")[0]
  assert read([argument]) == Space({}, {name: domain})


@pytest.mark.parametrize(
  ("argument", "value"),
  [
    ("--steps=100", "100"),
    ("-steps=100", "100"),
    ("--residual", "true"),
    ("--hidden=[256,128]", "256,128"),
    ("--truncation=ok:2,4", "ok:2,4"),
    ("--truncation=[ok:2,4]", "ok:2,4"),
    ("--schedule=linear:0.1", "linear:0.1"),  # no range: it has one number
    ("--prompt=", ""),
    ("--prompt=a=b", "a=b"),
  ],
)
def test_one_value_is_fixed(argument: str, value: str) -> None:
  [(_, read_value)] = read([argument]).fixed.items()
  assert read_value == value


@pytest.mark.parametrize(
  ("arguments", "word"),
  [
    (["gru"], "'gru' is not a flag"),
    (["--"], "not a flag"),
    (["--a=1", "--a=2"], "given twice"),
    (["--a=log:0:1"], "above 0"),
    (["--a=log:2:1"], "lower and a higher"),
    (["--a=linear:0:1:0"], "one point"),
    (["--a=int:0.5:2"], "whole numbers"),
    (["--a=1,log:0.1:1"], "number of points"),
    (["--a=[1,2"], "brackets"),
    (["--a=1],[2"], "brackets"),
    (["--a=1,,2"], "nothing between"),
  ],
)
def test_what_cannot_be_is_refused(arguments: list[str], word: str) -> None:
  with pytest.raises(BadInput, match=word):
    read(arguments)


def test_a_grid_has_every_combination_once() -> None:
  line = read(["--a=1,2,3", "--b=x,y", "--c=0"])
  assert line.grid() == [{"a": a, "b": b} for a in "123" for b in "xy"]
  assert read(["--a=1"]).grid() == [{}]
  with pytest.raises(BadInput, match="range"):
    read(["--a=log:1:2"]).grid()


def test_lines_share_what_is_the_same_in_all() -> None:
  lines = [read(["--cell=rnn", "--h=64,128", "--s=9"]), read(["--cell=gru", "--s=9"])]
  shared, points = merged(lines)
  assert shared == {"s": "9"}
  assert points == [
    {"cell": "rnn", "h": "64"},
    {"cell": "rnn", "h": "128"},
    {"cell": "gru"},
  ]


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_points_are_evenly_spaced_between_the_ends(log: bool, count: int) -> None:
  points = [float(text) for text in Range(0.5, 32, log, False).points(count)]
  assert len(points) == count and points[0] == 0.5
  if count > 1:
    assert points[-1] == 32
    scaled = [math.log(p) if log else p for p in points]
    steps = [b - a for a, b in itertools.pairwise(scaled)]
    assert max(steps) - min(steps) < 1e-5
