"""PyTorch on the CPU: oneDNN layers, time-major, a thread a core."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import rnn

from bench.sentences import CLASSES, Sentences, sentences, shuffled, windowed
from bench.shapes import Shape
from bench.timing import CORES, Timed, begun, fastest

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


def forward(shape: Shape) -> Timed:
  """Forward alone, with nothing kept for a gradient."""
  torch.set_num_threads(CORES)
  core, xs = _core(shape), torch.randn(shape.steps, shape.batch, shape.inputs)

  def call():
    with torch.inference_mode(), _mixed(shape):
      core(xs)

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
  ways = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {}}
  return fastest({name: _training(shape, way) for name, way in ways.items()})


def _training(shape: Shape, way: dict[str, bool]) -> Timed:
  embed, core = nn.Embedding(shape.vocabulary, shape.inputs), _core(shape)
  output = nn.Linear(shape.width, shape.vocabulary)
  parameters = [*embed.parameters(), *core.parameters(), *output.parameters()]
  optimizers = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
  optimizer = optimizers[shape.optimizer](parameters, lr=2e-3, **way)
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


def classify(shape: Shape, data: str = "", packed: bool = True) -> Timed:
  """An epoch of a classifier of sentences: the faster of two orders of them.

  Args:
    shape: of the model.
    data: see `sentences`.
    packed: False pads the sentences, and reads them with a layer each way.
  """
  torch.set_num_threads(CORES)
  given, encoder = sentences(shape, data), _Packed if packed else _Padded
  orders = {"shuffled": shuffled, "sorted in windows": windowed}
  return fastest(
    {
      name: _classifying(given, list(order(given, shape.batch)), encoder(shape, given))
      for name, order in orders.items()
    }
  )


def _classifying(given: Sentences, batches: list, encoder: nn.Module) -> Timed:
  """An epoch of Adam on the cross-entropy of these batches."""
  texts = [torch.from_numpy(tokens).long() for tokens in given.tokens]
  labels = torch.from_numpy(given.labels).long()
  output = nn.LazyLinear(CLASSES)
  output(encoder(texts[:1]))  # makes its matrix
  parameters = [*encoder.parameters(), *output.parameters()]
  optimizer = torch.optim.Adam(parameters, lr=2e-3, fused=True)
  loss = nn.CrossEntropyLoss()

  def call():
    for rows in batches:
      optimizer.zero_grad(set_to_none=True)
      logits = output(encoder([texts[row] for row in rows]))
      loss(logits, labels[rows]).backward()
      optimizer.step()

  padded = sum(len(rows) * max(len(texts[row]) for row in rows) for rows in batches)
  note = {"padding": 1 - sum(map(len, texts)) / padded}
  return begun(Timed(call, note=note if isinstance(encoder, _Padded) else {}))


class _Packed(nn.Module):
  """The last states of sentences that are packed; only what is real is embedded."""

  def __init__(self, shape: Shape, given: Sentences):
    super().__init__()
    self.embed, self.core = nn.Embedding(given.vocabulary, shape.inputs), _core(shape)
    self.ways = 1 + shape.bidirectional

  def forward(self, texts: list[torch.Tensor]) -> torch.Tensor:
    lengths = torch.tensor([len(text) for text in texts])
    tokens = rnn.pad_sequence(texts)
    packed = rnn.pack_padded_sequence(tokens, lengths, enforce_sorted=False)
    _, (h, _) = self.core(packed._replace(data=self.embed(packed.data)))
    return torch.cat([*h[-self.ways :]], -1)


class _Padded(nn.Module):
  """The same of sentences that are padded, a layer for each way that they are read.

  A layer of both ways would begin with the padding, and packed ones oneDNN does not
  take.
  """

  def __init__(self, shape: Shape, given: Sentences):
    super().__init__()
    one = shape._replace(bidirectional=False)
    self.embed = nn.Embedding(given.vocabulary, shape.inputs)
    self.cores = nn.ModuleList(_core(one) for _ in range(1 + shape.bidirectional))

  def forward(self, texts: list[torch.Tensor]) -> torch.Tensor:
    turned = [text.flip(0) for text in texts] if len(self.cores) > 1 else []
    xs = self.embed(rnn.pad_sequence(texts + turned))
    ends = torch.tensor([len(text) for text in texts]) - 1
    columns = torch.arange(len(texts))
    parts = zip(self.cores, xs.split(len(texts), 1))
    return torch.cat([core(part)[0][ends, columns] for core, part in parts], -1)


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
