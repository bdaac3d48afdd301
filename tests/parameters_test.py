"""How a parameter is used: one rule for the scan, half precision, and weight decay."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization, traverse_util
from rows import Hidden, drawn
from tables import (
  CELLS,
  MASKS,
  B,
  D,
  H,
  T,
  close,
  initial,
  inputs,
  noise,
  pairing,
  parameters,
  quick,
  same,
)

from unroll import compose, layers, names, optim, scan, train
from unroll.checkpoint import Checkpoints, leaves, restore
from unroll.gradients import full, truncated
from unroll.parameters import (
  Elementwise,
  Frozen,
  completed,
  frozen,
  matrices,
  trained,
)
from unroll.schedules import schedule
from unroll.types import Cell, Sums

# What a parameter may be -> whether it is a factor of products.
KINDS = {
  "vector": (jnp.ones(3), False),
  "scalar": (jnp.ones(()), False),
  "matrix": (jnp.ones((3, H)), True),
  "heads": (jnp.ones((2, 3, 3)), True),
  "kernel": (jnp.ones((3, 3, 2, 4)), True),
  "integers": (jnp.ones((3, 3), jnp.int32), False),
  "peephole": (Elementwise(jnp.ones((3, H))), False),
  "frozen": (Frozen(jnp.ones((3, H))), True),
  "frozen vector": (Frozen(jnp.ones(H)), False),
  "frozen peephole": (Frozen({"p": Elementwise(jnp.ones((3, H)))}), False),
}


@pytest.mark.parametrize("held", ["as it is", "by name"])
def test_a_matrix_has_two_axes_or_more_and_is_not_elementwise(held):
  tree = {name: leaf for name, (leaf, _) in KINDS.items()}
  tree = names.nested(tree) if held == "by name" else tree
  for name, (_, expected) in KINDS.items():
    assert jax.tree.leaves(matrices(tree)[name]) == [expected], name
    assert jax.tree.leaves(frozen(tree)[name]) == ["frozen" in name], name


@pytest.mark.parametrize("held", ["as it is", "by name"])
def test_decay_half_precision_and_the_scan_have_one_rule(held):
  """A matrix, and nothing else, is decayed, and cast, and kept narrow by the scan."""
  seen = {}

  def step(params, carry, z):
    seen.update(
      (name, jax.tree.leaves(leaf)[0].dtype)
      for name, leaf in params.items()
      if name not in ("matrix", "frozen")  # which a Matrix stands for
    )
    return carry, z

  real = {name: kind for name, kind in KINDS.items() if name != "integers"}
  tree = {name: leaf for name, (leaf, _) in real.items()}
  cell = Cell(
    lambda key: tree,
    lambda params, batch: Hidden(jnp.zeros((batch, H))),
    lambda params, xs: xs,
    step,
  )
  module = layers.Recurrent(cell, jnp.bfloat16, named=held == "by name")
  variables = module.init(jax.random.key(0), inputs())
  module.apply(variables, inputs())
  given = variables["params"]["core"]
  ours = optim.optimizer("sgd", weight_decay=0.5, clip_norm=0)
  zeros = jax.tree.map(jnp.zeros_like, given)
  decayed, _ = ours.update(zeros, ours.init(given), given, jnp.float32(1))
  for name, (_, matrix) in real.items():
    (after,) = jax.tree.leaves(decayed[name])
    assert np.all(after == (0.5 if matrix and "frozen" not in name else 1)), name
    if name in seen:
      assert (seen[name] == jnp.bfloat16) == matrix, name


@pytest.mark.parametrize("name", CELLS)
def test_the_marks_are_in_the_names(name):
  """A leaf that is declared in no way is named as it always was."""
  cell = CELLS[name]
  params = cell.init(jax.random.key(0))
  found = ["/".join(at) for at in names.by_name(params)]
  marked = {
    "echo": ["w_x/(frozen)", "w_h/(frozen)"],
    "conv_lstm": ["peepholes/(elementwise)"],
  }
  assert [n for n in found if "(" in n] == marked.get(name, [])


def test_nodes_are_plain_pytrees():
  node = Frozen({"w": jnp.ones(2), "v": Elementwise(jnp.zeros((2, 2)))})
  again = jax.tree.map(lambda leaf: leaf + 1, node)
  assert isinstance(again, Frozen) and isinstance(again.value["v"], Elementwise)
  same(again.value["w"], 2 * jnp.ones(2))
  assert "Frozen" in repr(node)
  other = jax.tree.map(jnp.zeros_like, again)
  same(serialization.from_bytes(other, serialization.to_bytes(again)), again)


def test_what_is_trained_and_what_is_not_make_the_whole():
  params = CELLS["echo"].init(jax.random.key(0))
  part = trained(params)
  assert len(jax.tree.leaves(part)) == 2
  same(completed(part, params), params)
  doubled = completed(jax.tree.map(lambda p: 2 * p, part), params)
  same(doubled, params._replace(w_y=2 * params.w_y, b=2 * params.b))
  plain = CELLS["lstm"].init(jax.random.key(0))
  same(trained(plain), plain)


# Frozen parameters. The same cell with what is frozen as plain arrays is its oracle.


def plainly(params):
  return params._replace(w_x=params.w_x.value, w_h=params.w_h.value)


def unfrozen() -> Cell:
  """The echo state network whose reservoir learns."""
  echo = CELLS["echo"]

  def held(params):
    return params._replace(w_x=_Value(params.w_x), w_h=_Value(params.w_h))

  return echo._replace(
    project=lambda params, xs: xs @ params.w_x,
    step=lambda params, carry, z: echo.step(held(params), carry, z),
  )


class _Value:
  def __init__(self, value):
    self.value = value


@pytest.mark.parametrize("backward", ["fast", "autodiff"])
@pytest.mark.parametrize("masks", ["none", "holes_resets"])
def test_what_is_frozen_has_no_gradient_and_the_rest_its_own(backward, masks):
  cell, xs = CELLS["echo"], inputs()
  params = parameters(cell)
  carry = initial(cell, params)
  valid, reset = MASKS[masks]
  options = {"valid": valid, "reset": reset, "backward": backward}

  def gradients(cell, params):
    return quick(
      jax.grad(
        lambda p, xs: pairing(scan.unroll(cell, p, carry, xs, **options)), (0, 1)
      )
    )(params, xs)

  (found, d_xs), (expected, d_expected) = (
    gradients(cell, params),
    gradients(unfrozen(), plainly(params)),
  )
  assert not np.any(found.w_x.value) and not np.any(found.w_h.value)
  assert np.any(expected.w_x) and np.any(expected.w_h)
  close((found.w_y, d_xs), (expected.w_y, d_expected), 1e-5)


def test_the_program_does_not_compute_the_gradient_of_what_is_frozen():
  """No product over all T·B rows is as wide as the reservoir."""
  wide = 24
  cell = CELLS["echo"]
  key = iter(jax.random.split(jax.random.key(0), 3))
  w_x, w_h, w_y = (
    drawn(next(key), *shape) for shape in ((D, wide), (wide, wide), (wide, 2))
  )
  carry, xs = Hidden(jnp.zeros((B, wide))), inputs()
  cells = {
    "frozen": (
      cell._replace(carry=lambda params, batch: carry),
      type(parameters(cell))(Frozen(w_x), Frozen(w_h), w_y, jnp.zeros(2)),
    ),
    "trained": (
      unfrozen()._replace(carry=lambda params, batch: carry),
      type(parameters(cell))(w_x, w_h, w_y, jnp.zeros(2)),
    ),
  }

  def wide_products(name):
    cell, params = cells[name]

    def loss(params):
      return pairing(scan.unroll(cell, params, carry, xs))

    text = (
      jax.jit(lambda p: trained(jax.grad(loss)(p))).lower(params).compile().as_text()
    )
    return sum(
      f"f32[{wide},{wide}]" in line and "dot(" in line for line in text.split("\n")
    )

  assert wide_products("trained") > wide_products("frozen") == 0


@pytest.mark.parametrize("held", ["as it is", "by name"])
@pytest.mark.parametrize("clip_by", optim.CLIPS)
@pytest.mark.parametrize("spec", optim.OPTIMIZERS)
def test_an_optimiser_leaves_it_alone(spec, clip_by, held):
  """Whatever gradient it is given, all else is as without it."""
  params = {"w": jnp.ones((3, 4)), "b": noise(1, 4), "r": Frozen(noise(2, 5, 5))}
  grads = {"w": noise(3, 3, 4), "b": noise(4, 4), "r": Frozen(1e3 * noise(5, 5, 5))}
  if held == "by name":
    params, grads = names.nested(params), names.nested(grads)
  params = jax.tree.map(jnp.asarray, params)
  ours = optim.optimizer(
    spec, clip_by=clip_by, clip_norm=0.1, weight_decay=0.1, ema=0.5
  )
  without = {name: tree["r"] for name, tree in (("p", params), ("g", grads))}
  alone, alone_grads = (
    {name: leaf for name, leaf in tree.items() if name != "r"}
    for tree in (params, grads)
  )
  state, alone_state = ours.init(params), ours.init(alone)
  assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(alone_state))
  for _ in range(3):
    params, state = ours.update(grads, state, params, jnp.float32(0.1))
    alone, alone_state = ours.update(alone_grads, alone_state, alone, jnp.float32(0.1))
  same({n: params[n] for n in alone}, alone)
  same(params["r"], without["p"])
  averages = ours.averaged(state, params)
  same({n: averages[n] for n in alone}, ours.averaged(alone_state, alone))
  same(averages["r"], without["p"])
  np.testing.assert_array_equal(
    optim.gradient_norm(grads), optim.gradient_norm(alone_grads)
  )


def squares(cell):
  def loss(params, carry, xs):
    carry, ys = scan.unroll(cell, params, carry, xs)
    value = jnp.mean(jnp.square(ys - 0.3))
    return value, (carry, {"loss": Sums(value * ys.size, jnp.float32(ys.size))})

  return loss


@pytest.mark.parametrize("scheme", [full(), truncated(2)], ids=["full", "truncated"])
def test_a_run_trains_the_rest_and_comes_back_from_its_checkpoint(scheme, tmp_path):
  cell = CELLS["echo"]
  params = parameters(cell)
  ours = optim.optimizer("adamw", ema=0.9)
  state = train.initial_state(params, ours, cell.carry(params, B))
  step = jax.jit(
    train.make_step(
      squares(cell), scheme, ours, schedule("constant", 0.05), jax.random.key(0)
    )
  )
  control = train.Control(jnp.float32(10), jnp.float32(1))
  states, metrics = [state], []
  for _ in range(4):
    state, told = step(state, inputs(), control)
    states.append(state)
    metrics.append(float(told.sums["loss"].total))
  assert metrics[-1] < metrics[0]
  same((state.params.w_x, state.params.w_h), (params.w_x, params.w_h))
  assert not np.array_equal(state.params.w_y, params.w_y)
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(2, states[2], {})
  restored = restore(tmp_path, states[0]).state
  same(restored, states[2])
  for _ in range(2):
    restored, _ = step(restored, inputs(), control)
  same(restored, state)


def test_states_of_other_cells_are_named_as_before():
  """So that checkpoints of earlier runs are restored."""
  params = CELLS["lstm"].init(jax.random.key(0))
  state = optim.optimizer("adam", ema=0.9).init(params)
  expected = [".updates", ".precondition.count"]
  expected += [f".precondition.{m}.{n}" for m in ("mu", "nu") for n in params._fields]
  expected += [f".average.{n}" for n in params._fields]
  assert list(leaves.specs(state)) == expected


def test_the_flax_layer_declares_it_by_name():
  """Optimisers of optax take the mask."""
  module = layers.Recurrent(CELLS["echo"])
  variables = module.init(jax.random.key(0), inputs())
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  assert set(flat) == {"core/w_x/(frozen)", "core/w_h/(frozen)", "core/w_y", "core/b"}
  held = frozen(variables)
  assert sum(jax.tree.leaves(held)) == 2

  def loss(variables):
    return jnp.mean(jnp.square(module.apply(variables, inputs())[1]))

  labels = jax.tree.map(lambda f: "frozen" if f else "trained", held)
  tx = optax.multi_transform(
    {"frozen": optax.set_to_zero(), "trained": optax.adam(0.1)}, labels
  )
  grads = jax.grad(loss)(variables)
  with jax.numpy_dtype_promotion("standard"):
    updates, _ = tx.update(grads, tx.init(variables), variables)
  moved = [bool(np.any(u)) for u in jax.tree.leaves(updates)]
  assert moved == [not f for f in jax.tree.leaves(held)]


class Model(nn.Module):
  """An echo state network with a layer of its own, as a user writes one."""

  @nn.compact
  def __call__(self, xs):
    _, ys = layers.Recurrent(CELLS["echo"], name="reservoir")(xs)
    return nn.Dense(2, name="readout")(ys)


def test_a_module_around_it_learns():
  model, xs = Model(), inputs()
  params = model.init(jax.random.key(0), xs)
  ours = optim.optimizer("adam", weight_decay=0.1)

  def loss(params):
    return jnp.mean(jnp.square(model.apply(params, xs) - 1))

  state, before = ours.init(params), params
  losses = []
  for _ in range(3):
    value, grads = quick(jax.value_and_grad(loss))(params)
    losses.append(value)
    params, state = ours.update(grads, state, params, jnp.float32(0.05))
  assert losses[2] < losses[1] < losses[0]
  reservoirs = [trained(p["params"]["reservoir"]) for p in (before, params)]
  assert [len(jax.tree.leaves(r)) for r in reservoirs] == [2, 2]
  for name in ("w_x", "w_h"):
    same(*(p["params"]["reservoir"]["core"][name] for p in (before, params)))


@pytest.mark.parametrize("name", ["conv_lstm", "association"])
def test_a_learned_carry_of_any_rank_is_elementwise(name):
  cell = compose.learned_carry(CELLS[name])
  params = cell.init(jax.random.key(0))
  assert not any(jax.tree.leaves(matrices(params.carry)))
  params = parameters(cell)
  xs = inputs(name)
  reset = np.zeros((T, B), bool)
  reset[2, 1] = True

  def loss(params, backward):
    run = scan.unroll(
      cell, params, cell.carry(params, B), xs, reset=reset, backward=backward
    )
    return pairing(run)

  fast, exact = (
    quick(jax.grad(lambda p, b=b: loss(p, b)))(params) for b in ("fast", "autodiff")
  )
  close(fast, exact, 1e-5)
  assert all(np.all(leaf != 0) for leaf in jax.tree.leaves(fast.carry))


@pytest.mark.parametrize("where", ["params", "carry", "xs", "optimizer"])
def test_complex_numbers_are_refused(where):
  cell = CELLS["lstm"]
  params = parameters(cell)
  given = {"params": params, "carry": cell.carry(params, B), "xs": inputs()}
  if where == "optimizer":
    wrong = params._replace(b=params.b.astype("complex64"))
    with pytest.raises(ValueError, match=r"params.b is complex64: .*two arrays"):
      optim.optimizer("adam").init(wrong)
    return
  given[where] = jax.tree.map(lambda leaf: leaf.astype("complex64"), given[where])
  with pytest.raises(ValueError, match=rf"{where}\S* is complex64: .*their real and"):
    scan.unroll(cell, *given.values())
