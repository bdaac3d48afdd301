"""How trials are drawn and pruned: Optuna's samplers, each named with what it is to do.

So another version of Optuna, with other defaults, does not choose another one.
"""

import math
from typing import Any

import cmaes
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from launch.plan import Plan
from launch.space import Range


def sampler(plan: Plan, seed: int) -> optuna.samplers.BaseSampler:
  """What draws a trial of a plan."""
  samplers = optuna.samplers
  # 10 draws blind at first and a generation of 50, as by default, are random search
  # for most sweeps.
  blind = min(10, max(4, plan.trials // 5))
  generation = min(50, max(4, plan.trials // 5))
  match plan.search:
    case "gp":
      return samplers.GPSampler(
        n_startup_trials=blind, deterministic_objective=False, seed=seed
      )
    case "cmaes":
      return CmaEs(plan, seed)
    case "nsga2":
      return samplers.NSGAIISampler(population_size=generation, seed=seed)
    case "tpe" | "hyperband":
      return samplers.TPESampler(
        n_startup_trials=blind,
        multivariate=True,
        group=True,
        constant_liar=True,
        seed=seed,
      )
  return samplers.RandomSampler(seed=seed)


def pruner(plan: Plan) -> optuna.pruners.BasePruner:
  """What decides whether a trial of a plan falls behind."""
  if plan.search == "hyperband":
    return optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=3)
  if plan.prune:
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
  return optuna.pruners.NopPruner()


def distribution(domain: Range) -> BaseDistribution:
  """A range as Optuna has it."""
  if domain.whole:
    return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
  return FloatDistribution(domain.low, domain.high, log=domain.log)


class CmaEs(optuna.samplers.BaseSampler):
  """CMA-ES (Hansen & Ostermeier 2001) over the ranges; what else varies is random.

  Optuna's own keeps a pickle of its state in the storage, and whoever can write there
  has others run it. The trials say all that such a state holds: here it is computed
  from them, generation by generation.

  Args:
    plan: what is searched.
    seed: of the trial that is drawn.
  """

  GENERATION = "cma:generation"

  def __init__(self, plan: Plan, seed: int):
    self._seed = seed
    self._ranges = {k: v for k, v in plan.space.items() if isinstance(v, Range)}
    self._sign = -1 if plan.maximize[0] else 1
    self._others = optuna.samplers.RandomSampler(seed=seed)

  def infer_relative_search_space(
    self, study: optuna.Study, trial: FrozenTrial
  ) -> dict[str, BaseDistribution]:
    """The ranges."""
    return {name: distribution(domain) for name, domain in self._ranges.items()}

  def sample_relative(
    self,
    study: optuna.Study,
    trial: FrozenTrial,
    search_space: dict[str, BaseDistribution],
  ) -> dict[str, Any]:
    """A number from each range."""
    optimizer = self._replayed(study)
    optimizer.reseed_rng(self._seed)
    study._storage.set_trial_system_attr(
      trial._trial_id, self.GENERATION, optimizer.generation
    )
    places = optimizer.ask()
    return {n: _number(d, x) for (n, d), x in zip(self._ranges.items(), places)}

  def sample_independent(
    self,
    study: optuna.Study,
    trial: FrozenTrial,
    param_name: str,
    param_distribution: BaseDistribution,
  ) -> Any:
    """A value of what has no range."""
    return self._others.sample_independent(study, trial, param_name, param_distribution)

  def _replayed(self, study: optuna.Study) -> cmaes.CMA:
    """The state after all generations that are complete."""
    size = len(self._ranges)
    unit = np.tile([0.0, 1.0], (size, 1))
    optimizer = cmaes.CMA(
      np.full(size, 0.5), 1 / 6, bounds=unit, seed=0, n_max_resampling=10 * size
    )
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ended.sort(key=lambda trial: (trial.datetime_complete, trial.number))
    while True:
      now, size = optimizer.generation, optimizer.population_size
      members = [t for t in ended if t.system_attrs.get(self.GENERATION) == now]
      if len(members) < size:
        return optimizer
      optimizer.tell(
        [(self._places(t), self._sign * t.values[0]) for t in members[:size]]
      )

  def _places(self, trial: FrozenTrial) -> np.ndarray:
    pairs = ((domain, trial.params[name]) for name, domain in self._ranges.items())
    return np.array([_place(domain, number) for domain, number in pairs])


def _ends(domain: Range) -> tuple[float, float]:
  """Of the axis: a whole number has as much of it to itself as any other."""
  margin = 0.5 if domain.whole else 0.0
  low, high = domain.low - margin, domain.high + margin
  return (math.log(low), math.log(high)) if domain.log else (low, high)


def _place(domain: Range, number: float) -> float:
  """Where a number is in a range, from 0 to 1."""
  low, high = _ends(domain)
  value = math.log(number) if domain.log else number
  return (value - low) / (high - low) if high > low else 0.5


def _number(domain: Range, place: float) -> float:
  """The number at a place from 0 to 1."""
  low, high = _ends(domain)
  value = low + (high - low) * float(place)
  value = math.exp(value) if domain.log else value
  value = min(max(value, domain.low), domain.high)
  return (
    min(max(round(value), int(domain.low)), int(domain.high)) if domain.whole else value
  )
