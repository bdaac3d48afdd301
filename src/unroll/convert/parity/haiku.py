"""A trial by the cells of Haiku; this file alone imports it."""

import haiku as hk

from unroll.convert.parity import Measured, Named, Trial
from unroll.convert.parity.cells import run_steps
from unroll.convert.stacks import Stack
from unroll.convert.tables.haiku import HAIKU


def run(arrays: Named, stack: Stack, given: Trial) -> Measured:
  """A trial by Haiku."""
  kinds = {"lstm": (hk.LSTM, "lstm"), "gru_reset_before": (hk.GRU, "gru")}
  make, name = kinds.get(stack.cell, (hk.VanillaRNN, "vanilla_rnn"))

  def step(width, own, state, x):
    tree: dict[str, dict] = {}
    for key, array in own.items():
      module, _, leaf = f"{name}/{key}".rpartition("/")
      tree.setdefault(module, {})[leaf] = array

    def once(x, state):
      if make is hk.LSTM:
        _, after = make(width)(x, hk.LSTMState(state[1], state[0]))
        return after.cell, after.hidden
      return (make(width)(x, state[0])[1],)

    return hk.without_apply_rng(hk.transform(once)).apply(tree, x, state)

  return run_steps(step, HAIKU, arrays, stack, given)
