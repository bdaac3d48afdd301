"""A translator in PyTorch: a bidirectional GRU, and a GRU with additive attention.

Twice: as tutorials write it, a module for each part and everything within a step, and
with all products that depend on no state before or after the loop.
"""

import torch
from torch import nn
from torch.nn import functional

from bench.shapes import Shape
from bench.timing import CORES, Timed, fastest

STEPS, BEAMS = 10, 5  # as ours
BOS, EOS = 1, 2


class Encoder(nn.Module):
  """Sources to values `[S, B, 2 H]`, and the decoder's first state."""

  def __init__(self, shape: Shape):
    super().__init__()
    self.embed = nn.Embedding(shape.vocabulary, shape.inputs)
    self.core = nn.GRU(shape.inputs, shape.hidden, bidirectional=True)
    self.bridge = nn.Linear(2 * shape.hidden, shape.hidden)

  def forward(self, source):
    values, last = self.core(self.embed(source))
    return values, torch.tanh(self.bridge(torch.cat([*last], -1)))


class Tutorial(nn.Module):
  """A step of the decoder, with everything within it."""

  def __init__(self, shape: Shape):
    super().__init__()
    hidden, values = shape.hidden, 2 * shape.hidden
    self.embed = nn.Embedding(shape.vocabulary, shape.inputs)
    self.energy = nn.Linear(hidden + values, hidden)
    self.score = nn.Linear(hidden, 1, bias=False)
    self.core = nn.GRU(shape.inputs + values, hidden)
    self.attentional = nn.Linear(hidden + values, hidden)
    self.output = nn.Linear(hidden, shape.vocabulary)

  def start(self, values):
    return values.transpose(0, 1)

  def next(self, tokens, state, values):
    query = state[:, None].expand(-1, values.shape[1], -1)
    energy = torch.tanh(self.energy(torch.cat([query, values], -1)))
    weights = torch.softmax(self.score(energy)[..., 0], -1)
    read = torch.bmm(weights[:, None], values)[:, 0]
    y, state = self.core(torch.cat([self.embed(tokens), read], -1)[None], state[None])
    out = torch.tanh(self.attentional(torch.cat([y[0], read], -1)))
    return self.output(out), state[0]

  def forward(self, targets, state, values):
    memory, logits = self.start(values), []
    for tokens in targets:
      found, state = self.next(tokens, state, memory)
      logits.append(found)
    return torch.stack(logits)


class Hoisted(nn.Module):
  """The decoder, of which only what depends on the state is within the loop."""

  def __init__(self, shape: Shape):
    super().__init__()
    hidden, values = shape.hidden, 2 * shape.hidden
    self.embed = nn.Embedding(shape.vocabulary, shape.inputs)
    self.key = nn.Linear(values, hidden, bias=False)
    self.query = nn.Linear(hidden, hidden)
    self.score = nn.Linear(hidden, 1, bias=False)
    self.inputs = nn.Linear(shape.inputs, 3 * hidden)
    self.read = nn.Linear(values, 3 * hidden, bias=False)
    self.recurrent = nn.Linear(hidden, 3 * hidden)
    self.attentional = nn.Linear(hidden + values, hidden)
    self.output = nn.Linear(hidden, shape.vocabulary)

  def start(self, values):
    return values.transpose(0, 1).contiguous(), self.key(values).transpose(0, 1)

  def step(self, z, state, memory):
    values, keys = memory
    energy = torch.tanh(keys + self.query(state)[:, None])
    weights = torch.softmax(self.score(energy)[..., 0], -1)
    read = torch.bmm(weights[:, None], values)[:, 0]
    reset, update, new = (z + self.read(read)).chunk(3, -1)
    own_reset, own_update, own_new = self.recurrent(state).chunk(3, -1)
    reset = torch.sigmoid(reset + own_reset)
    update = torch.sigmoid(update + own_update)
    new = torch.tanh(new + reset * own_new)
    return torch.lerp(new, state, update), read

  def next(self, tokens, state, memory):
    state, read = self.step(self.inputs(self.embed(tokens)), state, memory)
    out = torch.tanh(self.attentional(torch.cat([state, read], -1)))
    return self.output(out), state

  def forward(self, targets, state, values):
    memory, rows = self.start(values), []
    for z in self.inputs(self.embed(targets)):
      state, read = self.step(z, state, memory)
      rows.append(torch.cat([state, read], -1))
    return self.output(torch.tanh(self.attentional(torch.stack(rows))))


def translate(shape: Shape, tutorial: bool) -> Timed:
  """A training step; seconds a step."""
  torch.set_num_threads(CORES)
  ways = {"fused": {"fused": True}, "foreach": {"foreach": True}}
  return fastest({name: _training(shape, tutorial, way) for name, way in ways.items()})


def _training(shape: Shape, tutorial: bool, way: dict[str, bool]) -> Timed:
  encoder, decoder = Encoder(shape), (Tutorial if tutorial else Hoisted)(shape)
  parameters = [*encoder.parameters(), *decoder.parameters()]
  optimizer = torch.optim.Adam(parameters, lr=2e-3, **way)
  draw = torch.randint(3, shape.vocabulary, (2, STEPS, shape.steps, shape.batch))
  first = torch.full((1, shape.batch), BOS)

  def call():
    for source, target in zip(*draw):
      optimizer.zero_grad(set_to_none=True)
      values, state = encoder(source)
      logits = decoder(torch.cat([first, target[:-1]]), state, values)
      functional.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
      nn.utils.clip_grad_norm_(parameters, 1.0)
      optimizer.step()

  return Timed(call, STEPS)


def beam(shape: Shape, tutorial: bool) -> Timed:
  """Beam search of T steps, none of which ends; seconds a sentence.

  Args:
    shape: of the model.
    tutorial: sentence by sentence; otherwise all side by side.
  """
  torch.set_num_threads(CORES)
  encoder, decoder = Encoder(shape), (Tutorial if tutorial else Hoisted)(shape)
  source = torch.randint(3, shape.vocabulary, (shape.steps, shape.batch))

  @torch.inference_mode()
  def call():
    parts = source.split(1, 1) if tutorial else [source]
    return [_searched(shape, encoder, decoder, part) for part in parts]

  return Timed(call, shape.batch)


def _searched(shape: Shape, encoder, decoder, source):
  batch = source.shape[1]
  values, state = encoder(source)
  memory = decoder.start(values.repeat_interleave(BEAMS, 1))
  state = state.repeat_interleave(BEAMS, 0)
  tokens = torch.full((batch * BEAMS,), BOS)
  scores = torch.full((batch, BEAMS), -torch.inf)
  scores[:, 0] = 0
  found = torch.zeros(batch, BEAMS, 0, dtype=torch.long)
  rows = torch.arange(batch)[:, None]
  for _ in range(shape.steps):
    logits, state = decoder.next(tokens, state, memory)
    logs = torch.log_softmax(logits, -1).view(batch, BEAMS, -1)
    logs[..., EOS] = -torch.inf
    scores, place = (scores[..., None] + logs).flatten(1).topk(BEAMS)
    parent, token = place // shape.vocabulary, place % shape.vocabulary
    state = state.view(batch, BEAMS, -1)[rows, parent].flatten(0, 1)
    found = torch.cat([found[rows, parent], token[..., None]], -1)
    tokens = token.flatten()
  return found
