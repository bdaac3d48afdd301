"""What a program needs and which plan fits: XLA's account, the kernel's, a user's."""

import functools
import random
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from commands import run

from unroll import memory, remat
from unroll.cells import CELLS
from unroll.data.batches import Batch
from unroll.layers import stacked
from unroll.models.language import LanguageModel, next_token_loss
from unroll.types import BadInput

ROOT = Path(__file__).parents[1]
MIB = 2**20


def gradient(plan, length, batch=8, hidden=64, cell="lstm", layers=1, vocabulary=50):
  """The compiled-to-be gradient of a language model, and the shapes it takes."""
  core = stacked(*(CELLS[cell](hidden, hidden) for _ in range(layers)))
  model = LanguageModel(vocabulary, hidden, core, hidden)
  params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), int))
  carry = jax.eval_shape(
    lambda p: model.apply(p, batch, method="initial_carry"), params
  )
  dtypes = (jnp.int32, jnp.int32, jnp.float32, bool)
  steps = [jax.ShapeDtypeStruct((length, batch), dtype) for dtype in dtypes]
  loss = next_token_loss(model, remat.named_plan(plan))
  return jax.jit(jax.grad(loss, has_aux=True)), (params, carry, Batch(*steps, None))


@functools.cache
def need(plan, length):
  fn, args = gradient(plan, length)
  return memory.peak(fn.lower(*args))


@pytest.mark.parametrize(
  "plan, least, most",
  [
    *[("none", 15, 19), ("recursive:1", 3, 5), ("recursive:2", 1, 3)],
    *[("sqrt", 1.5, 5), ("recursive", 1, 2.5)],
  ],
)
@pytest.mark.slow
def test_memory_grows_as_the_plan_says(plan, least, most):
  short, long = 2**10, 2**14  # 16 times as long
  fixed = need(plan, 1)
  batches = {length: 13 * 8 * length for length in (short, long)}  # tokens and weights
  small, large = (need(plan, n) - batches[n] - fixed for n in (short, long))
  assert least < large / small < most


RESIDENT = """
import jax, jax.numpy as jnp
from memory_test import gradient
from unroll import memory

def resident(field):
  lines = dict(line.split(":") for line in open("/proc/self/status"))
  return int(lines[field].split()[0]) * 1024

for length in (16, 4000):  # the first for what the process itself takes
  fn, shapes = gradient("none", length, hidden=128)
  program = fn.lower(*shapes)
  predicted, compiled = memory.peak(program), program.compile()
  open("/proc/self/clear_refs", "w").write("5")  # forgets the peak of the compiler
  before = resident("VmRSS")
  args = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
  jax.block_until_ready(compiled(*args))
  counted = resident("VmHWM") - before
print(predicted, counted)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel by /proc")
@pytest.mark.slow
def test_what_xla_says_is_what_the_kernel_counts():
  done = subprocess.run(
    [sys.executable, "-c", RESIDENT],
    env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=True,
  )
  predicted, counted = map(int, done.stdout.split())
  assert predicted > 100 * MIB
  assert abs(counted / predicted - 1) < 0.15, (counted / MIB, predicted / MIB)


STEPS = 256  # none, sqrt, and recursive:2, the deepest


def lower(plan):
  """The gradient of a long product: what each of the steps keeps is 128 KiB."""

  def loss(carry, xs):
    def run(carry, xs):
      return jax.lax.scan(lambda c, x: (jnp.tanh(c) * x, None), carry, xs)

    return jnp.sum(remat.segmented(run, carry, xs, plan)[0])

  shapes = ((512, 64), (STEPS, 512, 1))
  carry, xs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return jax.jit(jax.grad(loss)).lower(carry, xs)


def size(name):
  return memory.peak(lower(remat.named_plan(name)))


def test_the_cheapest_plan_that_fits_is_chosen():
  everything, root = size("none"), size("sqrt")
  assert everything > 5 * root
  fit = memory.cheapest(lower, everything, STEPS)
  assert fit.plan.name == "none" and fit.needs == {"none": everything}
  fit = memory.cheapest(lower, everything - 1, STEPS)
  assert fit.plan.name == "sqrt" and fit.needs == {"none": everything, "sqrt": root}
  fit = memory.cheapest(lower, root - 1, STEPS)
  assert fit.plan.name == "recursive:2" and fit.needs["recursive:2"] < root


def test_a_budget_that_nothing_fits_is_refused_with_the_smallest_need():
  least = memory.size(size("recursive:2"))
  sentence = f"memory_budget=1.0 KiB: .* needs {least} under remat=recursive:2"
  with pytest.raises(BadInput, match=sentence):
    memory.cheapest(lower, 2**10, STEPS)


def test_a_short_sequence_has_no_plan_but_none():
  with pytest.raises(BadInput, match="remat=none, the leanest"):
    memory.cheapest(lambda plan: lower(plan), 1, 8)


@pytest.mark.parametrize(
  "spec, count",
  [
    ("1", 1),
    ("1024", 1024),
    ("12B", 12),
    ("64KiB", 2**16),
    ("800MiB", 800 * MIB),
    ("2GiB", 2**31),
    ("1.5 GiB", 3 * 2**29),
    (" 1TiB ", 2**40),
  ],
)
def test_sizes_are_read(spec, count):
  assert memory.named_size(spec) == count
  # What is written can be given back, and is enough.
  assert count <= memory.named_size(memory.size(count)) <= 1.1 * count


@pytest.mark.parametrize(
  "spec",
  ["", "0", "0GiB", "0.1B", "-1", "2GB", "2G", "GiB", "2 GiB more", "1e9", "nan"],
)
def test_other_sizes_are_refused(spec):
  with pytest.raises(BadInput, match=rf"memory_budget={re.escape(spec)}: give a size"):
    memory.named_size(spec)


# The flags.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("memory")
  draw = random.Random(0)
  text = "".join(draw.choice("abcdefgh \n") for _ in range(4000))
  (folder / "book.txt").write_text(text, "utf-8")
  return folder


def charlm(folder, *argv, experiment="charlm"):
  shape = ("--hidden=8", "--embedding=4", "--layers=1", "--batch=2", "--window=128")
  often = ("--corpus=book.txt", "--steps=4", "--truncation=full", "--dispatch=2")
  return run(folder, experiment, *often, *shape, *argv)


@pytest.mark.slow
def test_auto_says_what_it_chose_and_trains(folder):
  done = charlm(folder, "--remat=auto", "--memory_budget=90KiB", "--workdir=auto")
  said = r"--remat=auto: (\S+) needs ([\d.]+) KiB of 90.0 KiB; none would need "
  chosen, need = re.search(said, done.err).groups()
  assert done.code == 0 and "validation: " in done.out
  assert chosen in ("sqrt", "recursive:2") and float(need) <= 90
  # Sums have another order under another plan: it is another run.
  done = charlm(folder, "--remat=sqrt", "--workdir=auto")
  assert done.code == 2 and "--remat (there auto, here sqrt)" in done.err


@pytest.mark.slow
def test_cloze_trains_in_segments(folder):
  done = charlm(folder, "--remat=every:10", experiment="cloze")
  assert done.code == 0 and "validation: " in done.out


@pytest.mark.parametrize(
  "flags, words",
  [
    (["--remat=auto", "--memory_budget=1KiB"], ["leanest", "KiB under --remat="]),
    (["--remat=auto", "--memory_budget=2GB"], ["--memory_budget=2GB", "2GiB"]),
    (["--remat=every:0"], ["--remat=every:0", "every:K", "auto"]),
  ],
)
def test_bad_flags_are_one_sentence_and_leave_nothing(folder, flags, words):
  done = charlm(folder, *flags, "--workdir=refused")
  assert done.code == 2 and done.err.startswith("error: ")
  assert done.err.count("\n") == 1 and all(word in done.err for word in words)
  assert not (folder / "refused").exists()
