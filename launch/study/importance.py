"""How much of the objective each flag decides, as far as the trials can tell."""

import math
import warnings
from typing import NamedTuple

import optuna

from launch.plan import Plan

# PED-ANOVA (Watanabe, Bansal & Hutter 2023) compares the best tenth of the trials with
# all of them. Of fewer than five in that tenth it says next to nothing: from four
# trials, whose best two it takes, every flag comes out alike.
BEST, FEWEST = 0.1, 5
NEEDED = math.ceil(FEWEST / BEST)


class Importance(NamedTuple):
  """What decides.

  Attributes:
    shares: of each flag, adding up to 1; empty if unknown.
    basis: what they rest on, or why there are none, in words; empty where there are
      no two flags to compare.
  """

  shares: dict[str, float]
  basis: str


def importance(study: optuna.Study, plan: Plan, complete: int) -> Importance:
  """What sets the better trials apart, by the first objective.

  Args:
    study: whose trials are asked.
    plan: theirs.
    complete: how many of them ran to their end.
  """
  if len(plan.space) < 2:
    return Importance({}, "")
  if complete < NEEDED:
    return Importance(
      {}, f"not shown: it takes {NEEDED} trials that ran to their end, not {complete}"
    )
  sign = -1 if plan.maximize[0] else 1
  try:
    with warnings.catch_warnings(action="ignore"):  # that it looks for low values
      shares = optuna.importance.get_param_importances(
        study,
        evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=BEST),
        target=lambda trial: sign * trial.values[0],
      )
  except (ValueError, RuntimeError):
    return Importance({}, "not shown: there is no flag that all trials share")
  best = round(BEST * complete)
  return Importance(
    shares, f"by what sets the best {best} of {complete} trials apart (PED-ANOVA)"
  )
