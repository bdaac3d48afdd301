"""The first step of the same model in PyTorch, as `bench.started` is of ours."""

import json
import sys
import time

BEGAN = time.perf_counter()

import torch  # noqa: E402
from torch import nn  # noqa: E402

IMPORTED = time.perf_counter()


def main() -> None:
  """One step of Adam on random tokens: there is no text to be read."""
  shape = json.loads(sys.argv[1])
  torch.manual_seed(0)
  embed = nn.Embedding(shape["vocabulary"], shape["inputs"])
  core = nn.LSTM(shape["inputs"], shape["hidden"], shape["layers"])
  output = nn.Linear(shape["hidden"], shape["vocabulary"])
  parameters = [*embed.parameters(), *core.parameters(), *output.parameters()]
  optimizer = torch.optim.Adam(parameters, lr=2e-3)
  tokens = torch.randint(shape["vocabulary"], (shape["steps"] + 1, shape["batch"]))
  begun = time.perf_counter()
  ys, _ = core(embed(tokens[:-1]))
  loss = nn.CrossEntropyLoss()(output(ys).flatten(0, 1), tokens[1:].flatten())
  loss.backward()
  nn.utils.clip_grad_norm_(parameters, 1.0)
  optimizer.step()
  assert loss.item() > 0
  told = {
    "import of PyTorch": IMPORTED - BEGAN,
    "the step": time.perf_counter() - begun,
  }
  print(json.dumps(told))


if __name__ == "__main__":
  main()
