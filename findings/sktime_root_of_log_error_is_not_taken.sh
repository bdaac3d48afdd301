#!/usr/bin/env bash
# Guessed: MeanSquaredLogError(square_root=True) of sktime is the root of what it is without, as
#   its documentation says (RMSLE), and as MeanSquaredError(square_root=True) is.
# In fact: it is the same number with square_root=True and without, the mean of squares; the
#   function mean_squared_log_error(..., square_root=True) takes the root.
# Versions: sktime 1.2.0, pandas 2.3.3, numpy 2.4.6, Python 3.11, Linux x86-64, 2026-12-01.
# Why it matters: logarithmic errors are mostly below 1, so that their squares are smaller yet: a
#   forecast that is 1.6 times what came has 0.22 for 0.47, and looks better than it would
#   elsewhere. Take the root of what the class gives, or use the function.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q sktime==1.2.0 pandas==2.3.3 numpy==2.4.6
cd "$folder"
bin/python -I - <<'END'
import platform
from importlib.metadata import version

import numpy as np
from sktime.performance_metrics.forecasting import (
  MeanSquaredError,
  MeanSquaredLogError,
  mean_squared_log_error,
)

TRUTH = np.array([9.0, 99, 999])
FORECAST = 1.6 * (TRUTH + 1) - 1  # the logarithm of 1 + y is off by log(1.6) at each step

print(f"sktime {version('sktime')}, Python {platform.python_version()}")


def rooted(error, truth, forecast):
  return [float(error(square_root=r)(truth, forecast)) for r in (False, True)]


of_class = rooted(MeanSquaredLogError, TRUTH, FORECAST)
function = [
  float(mean_squared_log_error(TRUTH, FORECAST, square_root=r)) for r in (False, True)
]
squares = rooted(MeanSquaredError, np.log1p(TRUTH), np.log1p(FORECAST))
print("without square_root, and with it:")
print(f"  MeanSquaredLogError: {of_class}")
print(f"  mean_squared_log_error: {function}")
print(f"  MeanSquaredError of logarithms: {squares}")
square = np.log(1.6) ** 2
right = np.allclose([function, squares], [[square, square**0.5]] * 2)
raise SystemExit(
  0 if right and np.allclose(of_class, square) else "this behaviour has changed"
)
END
