#!/usr/bin/env bash
# Guessed: an error of sktime with sample_weight is the weighted mean, as with the weights of its
#   own functions (mean_absolute_error(..., horizon_weight=)) and of scikit-learn: weights of
#   0 leave steps out, and equal weights change nothing.
# In fact: MeanAbsoluteError, MeanSquaredError and MeanAbsolutePercentageError multiply each
#   error by its weight and divide by the number of steps. Of 4 steps of which one counts, with
#   an error of 7, the class says 1.75 and the function 7. Weights of 2 double every error.
# Versions: sktime 1.2.0, scikit-learn 1.7.2, pandas 2.3.3, numpy 2.4.6, Python 3.11, Linux
#   x86-64, 2026-12-01.
# Why it matters: steps that were not observed have weight 0, and a series with more gaps seems
#   to be forecast better; so does one whose weights are small. Scale them to a mean of 1 first.
#   Here an error is a sum and what it counts, which are divided last:
#   `test_errors_by_step_and_by_column_are_those_of_a_loop` in `tests/forecast_test.py`.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q sktime==1.2.0 scikit-learn==1.7.2 pandas==2.3.3 numpy==2.4.6
cd "$folder"
bin/python -I - <<'END'
import platform
from importlib.metadata import version

import numpy as np
from sklearn.metrics import mean_absolute_error as of_sklearn
from sktime.performance_metrics.forecasting import (
  MeanAbsoluteError,
  MeanAbsolutePercentageError,
  mean_absolute_error,
  mean_absolute_percentage_error,
)

TRUTH = np.array([1.0, 2, 3, 4])
FORECAST = np.array([8.0, 2, 3, 4])  # wrong by 7 at the first step

print(f"sktime {version('sktime')}, Python {platform.python_version()}")
found = []
for weights in ([1, 0, 0, 0], [2, 2, 2, 2], [1, 1, 1, 1]):
  weight = np.array(weights, float)
  absolute, relative = MeanAbsoluteError(), MeanAbsolutePercentageError()
  row = (
    absolute(TRUTH, FORECAST, sample_weight=weight),
    mean_absolute_error(TRUTH, FORECAST, horizon_weight=weight),
    of_sklearn(TRUTH, FORECAST, sample_weight=weight),
    relative(TRUTH, FORECAST, sample_weight=weight),
    mean_absolute_percentage_error(TRUTH, FORECAST, horizon_weight=weight),
  )
  found.append([float(number) for number in row])
  print(f"weights {weights}: class, function, scikit-learn: {found[-1][:3]}")
  print(f"  percentage errors, class, function: {found[-1][3:]}")
as_found = np.allclose(
  found,
  [[1.75, 7, 7, 1.75, 7], [3.5, 1.75, 1.75, 3.5, 1.75], [1.75] * 5],
)
raise SystemExit(0 if as_found else "this behaviour has changed")
END
