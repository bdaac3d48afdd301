"""What a gradient is like: how it flows back through time, why it fades or grows."""

from unroll.diagnose.balancing import influence_balancing
from unroll.diagnose.bias import Bias, bias
from unroll.diagnose.curvature import Curvature, Descent, curvature, descent
from unroll.diagnose.flow import Decay, decay, norms_by_lag
from unroll.diagnose.jacobians import Extremes, singular_values
from unroll.diagnose.keeping import Gate, gate, keeping
from unroll.diagnose.lyapunov import lyapunov
from unroll.diagnose.probes import probed, probed_layer, sinks, with_sinks
from unroll.diagnose.spectra import eigenvalues, spectral_radii

__all__ = [
  "Bias",
  "Curvature",
  "Decay",
  "Descent",
  "Extremes",
  "Gate",
  "bias",
  "curvature",
  "decay",
  "descent",
  "eigenvalues",
  "gate",
  "influence_balancing",
  "keeping",
  "lyapunov",
  "norms_by_lag",
  "probed",
  "probed_layer",
  "singular_values",
  "sinks",
  "spectral_radii",
  "with_sinks",
]
