"""The fuzz of the scan: it sees faults, repeats itself, and finds none."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import differential
from tests.differential import Finding, check, plain
from tests.fuzz_scan import drawn
from tests.programs import LONG, Around, Deep, Own, Plain, Program
from unroll import compose

LSTM = Plain("lstm", derivative=False)
OWN = Own(
  weights=("square", "peephole"),
  params="dict",
  project="matmul",
  carry=("rows", "count", "draw"),
  held="named",
  start="weight",
  step=(("+", ("product", "again", 0, ("carry", 0)), ("lookup", 0, ("carry", 2))),),
  output=("closed", 0, ("product", "peephole 0", 1, ("carry", 0))),
)
DEEP = compose.Wiring(residual=True, dropout=0.5)


def fuzz(*flags: str) -> None:
  """The command, in a process of its own: it needs two devices."""
  command = [sys.executable, "-m", "tests.fuzz_scan", *flags]
  root = Path(__file__).parents[1]
  done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stdout + done.stderr
  assert " right" in done.stdout


@pytest.mark.slow
def test_many_programs_agree():
  fuzz("--programs=700", "--seed=1", "--shrink=100")


def test_a_seed_draws_the_same_programs():
  some = [drawn(3, index) for index in range(20)]
  assert some == [drawn(3, index) for index in range(20)]
  assert len(set(some)) == 20
  assert eval(repr(some[-1]), vars(differential) | globals()) == some[-1]


@pytest.mark.parametrize(
  ("cell", "asked"),
  [(OWN, "value"), (OWN, "square of dθ"), (LSTM, "gradient"), (LSTM, "forward")],
  ids=["own", "own-second", "lstm", "lstm-forward"],
)
def test_a_program_evaluated_in_numpy_is_the_program_compiled(cell, asked):
  program = Program(
    cell,
    length=3,
    batch=2,
    asked=asked,
    inputs="few words",
    valid="junk",
    reset=True,
    within="remat",
    closed=("memory",),
  )
  with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
    arrays = differential.drawn(program)
    evaluated, compiled = (
      differential.computed(program, plain, arrays, compiled)
      for compiled in (False, True)
    )
  assert jax.tree.structure(evaluated) == jax.tree.structure(compiled)
  for a, b in zip(jax.tree.leaves(evaluated), jax.tree.leaves(compiled), strict=True):
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_keys_pass_through_loops_that_numpy_evaluates():
  """A draw in a branch within a scan: the interpreter has rows of keys."""
  cell = Around(Deep((OWN,), DEEP), "remat")
  program = Program(cell, length=3, batch=2, within="cond", closed=("row",))
  assert check(program, unroll=plain) == "right"


def test_a_context_and_all_carries_are_examined():
  reading = OWN._replace(carry=("rows",), step=OWN.step[:1])
  for within in ("nothing", "chunks", "vmap"):
    program = Program(
      reading, length=4, batch=2, within=within, context=("memory", "row"), every=True
    )
    assert check(program) == "right"
    for fault in (last_only, no_context):
      assert isinstance(check(program, unroll=fault), Finding)


def last_only(cell, *args, **options):
  """Every carry is the last."""
  carries, ys = plain(cell, *args, **options)
  return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[-1:], leaf.shape), carries), ys


def no_context(*args, **options):
  stopped = jax.lax.stop_gradient(options["context"])
  return plain(*args, **options | {"context": stopped})


def no_reset(*args, **options):
  return plain(*args, **options | {"reset": None})


def no_mask(*args, **options):
  return plain(*args, **options | {"valid": None})


def forwards(*args, **options):
  return plain(*args, **options | {"reverse": False})


def half_a_gradient(cell, params, *rest, **options):
  def half(leaf):
    return (leaf + jax.lax.stop_gradient(leaf)) * 0.5

  return plain(cell, jax.tree.map(half, params), *rest, **options)


def once_only(cell, *args, **options):
  """Its backward pass takes what it kept of the forward pass for constants."""

  @jax.custom_vjp
  def run(*args):
    return plain(cell, *args, **options)

  def forward(*args):
    out, pullback = jax.vjp(lambda *args: plain(cell, *args, **options), *args)
    return out, jax.tree.map(jax.lax.stop_gradient, pullback)

  run.defvjp(forward, lambda pullback, out: pullback(out))
  return run(*args)


def wrong_by_a_millionth(cell, params, *rest, **options):
  carry, ys = plain(cell, params, *rest, **options)
  return carry, ys * (1 + 1e-6)


def refuses(*args, **options):
  raise ValueError("this cell needs backward='autodiff'")


def breaks(*args, **options):
  raise ValueError("no such thing")


BUSY = Program(LSTM, length=7, batch=4, valid="bool", reset=True, reverse=True)


@pytest.mark.parametrize(
  ("unroll", "asked", "kind"),
  [
    (no_reset, "value", "wrong value, fast, one device, float64"),
    (no_mask, "gradient", "wrong value, fast, one device, float64"),
    (forwards, "gradient", "wrong value, fast, one device, float64"),
    (half_a_gradient, "gradient", "wrong gradient, fast, one device, float64"),
    (once_only, "square of dx", "wrong second, fast, one device, float64"),
    (wrong_by_a_millionth, "value", "wrong value, fast, one device, float64"),
    (breaks, "value", "raises ValueError: no such thing"),
  ],
  ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_fault_is_found(unroll, asked, kind):
  program = BUSY._replace(asked=asked)
  assert check(program, unroll=plain) == "right"
  verdict = check(program, unroll=unroll)
  assert isinstance(verdict, Finding) and verdict.kind == kind


def test_a_sum_that_stops_growing_is_found():
  program = Program(
    OWN._replace(
      carry=("rows",),
      start="zeros",
      step=(("product", "peephole 0", 1, ("z",)),),
      output=("carry", 0),
    ),
    dtype="bfloat16",
  )
  long = program._replace(length=LONG, batch=2)
  assert check(program, unroll=plain) == "right"
  verdict = check(long, unroll=plain)
  assert isinstance(verdict, Finding) and verdict.kind.startswith("wrong gradient")


def test_a_refusal_names_the_way():
  assert check(BUSY, unroll=refuses) == "refused: gradient"
  other = check(BUSY._replace(backward="autodiff"), unroll=refuses)
  assert isinstance(other, Finding)
