"""A trial by torch.nn; this file alone imports it."""

from typing import Any

import torch
from torch.nn.utils import rnn

from unroll.convert.parity import Measured, Named, Trial
from unroll.convert.stacks import Stack


def run(arrays: Named, stack: Stack, given: Trial) -> Measured:
  """A trial by torch.nn, which loads the arrays as its own state dict."""
  model = _model(stack)
  model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
  xs = torch.tensor(given.xs, requires_grad=True)
  packed = rnn.pack_padded_sequence(xs, given.lengths.tolist())
  last = []
  for part in model.rnns if hasattr(model, "rnns") else [model.rnn]:
    packed, state = part(packed)
    h, c = state if isinstance(state, tuple) else (state, None)
    last += [
      s for i, one in enumerate(h) for s in ([one] if c is None else [c[i], one])
    ]
  ys, _ = rnn.pad_packed_sequence(packed, total_length=len(xs))
  pairs = zip([ys, *last], [given.outputs, *given.states], strict=True)
  sum((one * torch.tensor(weight)).sum() for one, weight in pairs).backward()
  return Measured(
    ys.detach().numpy(),
    [state.detach().numpy() for state in last],
    {name: held.grad.numpy() for name, held in model.named_parameters()},
    xs.grad.numpy(),
  )


def _model(stack: Stack) -> Any:
  """The layers in torch.nn: one module, or one a layer where their widths differ."""
  kinds = {"lstm": "LSTM", "lstm_projected": "LSTM", "gru": "GRU"}
  make = getattr(torch.nn, kinds.get(stack.cell, "RNN"))
  options: dict[str, Any] = {"bidirectional": stack.directions == 2}
  if make is torch.nn.RNN:
    options["nonlinearity"] = "tanh" if stack.cell == "rnn" else "relu"

  def sized(inputs: int, hidden: int, count: int) -> Any:
    if stack.cell == "lstm_projected":
      memory = stack.layers[0][0]["w_y"].shape[0]
      return make(inputs, memory, count, proj_size=hidden, **options)
    return make(inputs, hidden, count, **options)

  model = torch.nn.Module()
  if len(set(stack.hidden)) == 1:
    model.rnn = sized(stack.inputs, stack.hidden[0], len(stack.hidden))
  else:
    widths = zip(stack.reads, stack.hidden)
    model.rnns = torch.nn.ModuleList(sized(*both, 1) for both in widths)
  return model
