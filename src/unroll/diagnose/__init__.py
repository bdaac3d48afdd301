"""What a gradient is like: how it flows back through time, why it fades or grows."""

from unroll.diagnose.balancing import influence_balancing
from unroll.diagnose.bias import Bias, bias
from unroll.diagnose.flow import Decay, decay, norms_by_lag
from unroll.diagnose.lyapunov import lyapunov
from unroll.diagnose.probes import changes, probed, probed_layer, with_changes
from unroll.diagnose.spectra import spectral_radii

__all__ = [
  "Bias",
  "Decay",
  "bias",
  "changes",
  "decay",
  "influence_balancing",
  "lyapunov",
  "norms_by_lag",
  "probed",
  "probed_layer",
  "spectral_radii",
  "with_changes",
]
