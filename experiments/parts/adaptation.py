"""How a language model is evaluated in order: settings, and the task that they make."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import numpy as np

from experiments.parts.text import Batches, evaluation_lanes
from experiments.session.settings import Settings
from experiments.session.task import Evaluation, Task
from experiments.session.training import Training
from unroll import adaptation, memory, remat
from unroll.adaptation import Evaluated
from unroll.data.batches import Lanes, Source
from unroll.models.language import LanguageModel, next_token_loss
from unroll.settings import setting
from unroll.types import BadInput


@dataclass(frozen=True)
class Adaptation:
  """Evaluation in order"""

  eval_streams: int = setting(
    0,
    "streams that the text is read in; 0: one for every 4,096 tokens, at most 64",
    least=0,
    role="call",
  )
  eval_steps: int = setting(
    0, "tokens of a stream in a batch; 0: the window", least=0, role="call"
  )
  dynamic_rate: float = setting(
    0.0,
    "dynamic evaluation: rate of a step of SGD after each batch",
    least=0,
    role="call",
  )
  dynamic_decay: float = setting(
    0.0,
    "dynamic evaluation: how far a step goes back to the trained parameters",
    least=0,
    most=1,
    role="call",
  )
  cache: int = setting(
    0, "continuous cache: how many of the latest tokens it holds", least=0, role="call"
  )
  cache_flatness: float = setting(
    0.3,
    "continuous cache: what the product of two states is multiplied by",
    role="call",
  )
  cache_weight: float = setting(
    0.1, "continuous cache: its share in the mixture", least=0, most=1, role="call"
  )
  dropout_draws: int = setting(
    0, "averages probabilities over so many draws of the dropout", least=0, role="call"
  )


def check(settings: Settings) -> None:
  """Refuses these settings where nothing is evaluated, and those without another.

  Raises:
    BadInput: in words of the settings.
  """
  own, mode = settings[Adaptation], settings.values("call")["mode"]
  given = [name for name in vars(own) if name in settings.given]
  if given and mode != "eval":
    raise BadInput(
      f"{settings.shown(given[0])} is for mode=eval: drop it, or give that"
    )
  needs = {
    "dynamic_decay": "dynamic_rate",
    "cache_flatness": "cache",
    "cache_weight": "cache",
  }
  for name in given:
    if name in needs and not getattr(own, needs[name]):
      raise BadInput(f"{settings.shown(name)} needs `{needs[name]}`: give it as well")
  if own.cache and own.dropout_draws:
    raise BadInput("`cache` reads the states of one draw: drop `dropout_draws`")


def adapted(
  settings: Settings,
  task: Task,
  model: LanguageModel,
  tokens: Mapping[str, np.ndarray],
  packed: Callable[[Source], Source],
) -> Task:
  """The task with its splits read as the settings say; itself if they say nothing.

  Args:
    settings: of the page.
    task: as it is trained.
    model: that of the task.
    tokens: of each split.
    packed: what is made of a source, as for training.
  """
  own = settings[Adaptation]
  if own == Adaptation():
    return task
  part = Evaluated(next_token_loss(model), task.carry)
  if own.cache:
    part = adaptation.cached(
      *(model, task.carry, own.cache, own.cache_flatness, own.cache_weight)
    )
  if own.dropout_draws:
    key = jax.jit(jax.random.key)(np.int32(settings[Training].seed))
    part = adaptation.averaged(model, task.carry, own.dropout_draws, key)
  if own.dynamic_rate:
    part = adaptation.dynamic(part, own.dynamic_rate, own.dynamic_decay)

  def source(split: str) -> Source:
    usual = evaluation_lanes(settings[Batches], tokens[split])
    lanes = own.eval_streams or usual.batch
    steps = own.eval_steps or usual.length
    return packed(Lanes(tokens[split], lanes, min(steps, tokens[split].size - 1)))

  sources = {split: source(split) for split in task.evaluations}
  lanes = max(one.rows for one in sources.values())
  states = max(own.cache, own.dropout_draws * model.width)
  memory.check(
    4 * lanes * states * model.width, settings.shown("cache", "dropout_draws")
  )

  def loss(plan: remat.Plan, backward: str):
    return part.loss

  evaluations = {
    split: Evaluation({"streamed": sources[split]}, before.facts)
    for split, before in task.evaluations.items()
  }
  return task._replace(loss=loss, carry=part.start, evaluations=evaluations)
