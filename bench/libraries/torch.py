"""PyTorch on the CPU: oneDNN layers, time-major, a thread a core."""

from collections.abc import Callable

import torch
from torch import nn

from bench.shapes import Shape
from bench.timing import CORES, Timed, fastest

LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
STEPS = 10  # a call, as many as ours


def layer(shape: Shape) -> Timed:
  """Forward and backward of sum(y²), for parameters and inputs."""
  torch.set_num_threads(CORES)
  core = _core(shape)
  xs = torch.randn(shape.steps, shape.batch, shape.inputs, requires_grad=True)
  leaves = [*core.parameters(), xs]

  def call():
    for leaf in leaves:
      leaf.grad = None
    with _mixed(shape):
      ys, _ = core(xs)
    (ys.float() * ys).sum().backward()
    return [leaf.grad for leaf in leaves]

  return Timed(call)


def _mixed(shape: Shape):
  """Products of bfloat16 beside parameters of float32, where they are asked for."""
  return torch.autocast("cpu", torch.bfloat16, enabled=shape.dtype == "bfloat16")


def _core(shape: Shape) -> nn.Module:
  return LAYERS[shape.cell](
    shape.inputs, shape.hidden, shape.layers, bidirectional=shape.bidirectional
  )


def step(shape: Shape) -> Timed:
  """The training step of a character language model; seconds a step."""
  torch.set_num_threads(CORES)
  adams = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {}}
  return fastest({name: _training(shape, adam) for name, adam in adams.items()})


def _training(shape: Shape, adam: dict[str, bool]) -> Timed:
  embed, core = nn.Embedding(shape.vocabulary, shape.inputs), _core(shape)
  output = nn.Linear(shape.width, shape.vocabulary)
  parameters = [*embed.parameters(), *core.parameters(), *output.parameters()]
  optimizer = torch.optim.Adam(parameters, lr=2e-3, **adam)
  loss = nn.CrossEntropyLoss()
  tokens = torch.randint(shape.vocabulary, (STEPS, shape.steps + 1, shape.batch))
  carry = None

  def call():
    nonlocal carry
    for chunk in tokens:
      optimizer.zero_grad(set_to_none=True)
      with _mixed(shape):
        ys, carry = core(embed(chunk[:-1]), carry)
        nats = loss(output(ys).flatten(0, 1), chunk[1:].flatten())
      nats.backward()
      nn.utils.clip_grad_norm_(parameters, 1.0)
      optimizer.step()
      carry = (
        tuple(part.detach() for part in carry)
        if isinstance(carry, tuple)
        else carry.detach()
      )

  return Timed(call, STEPS)


def generate(shape: Shape) -> Timed:
  """Sampling in a Python loop; seconds a token of each stream."""
  ways = {"nn.LSTM": _layers, "nn.LSTMCell": _cells}
  return fastest(
    {
      f"{name}, {threads} threads": _sampling(shape, way(shape), threads)
      for name, way in ways.items()
      for threads in {1, CORES}
    }
  )


def _sampling(shape: Shape, core: Callable, threads: int) -> Timed:
  embed = nn.Embedding(shape.vocabulary, shape.inputs)
  output = nn.Linear(shape.width, shape.vocabulary)

  @torch.inference_mode()
  def call():
    torch.set_num_threads(threads)
    tokens, carry, drawn = torch.zeros(shape.batch, dtype=torch.long), None, []
    with _mixed(shape):
      for _ in range(shape.steps):
        y, carry = core(embed(tokens), carry)
        tokens = torch.multinomial(torch.softmax(output(y), -1), 1)[:, 0]
        drawn.append(tokens)
    return torch.stack(drawn)

  return Timed(call, shape.steps)


def _layers(shape: Shape) -> Callable:
  core = _core(shape)

  def step(x, carry):
    ys, carry = core(x[None], carry)
    return ys[0], carry

  return step


def _cells(shape: Shape) -> Callable:
  inputs = [shape.inputs] + [shape.hidden] * (shape.layers - 1)
  cells = [nn.LSTMCell(size, shape.hidden) for size in inputs]

  def step(x, carry):
    new = []
    for cell, state in zip(cells, carry or [None] * len(cells)):
      new.append(cell(x, state))
      x = new[-1][0]
    return x, new

  return step
