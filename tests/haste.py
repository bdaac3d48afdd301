"""How programs are compiled that run once: that costs most, and a quarter of it so."""

import jax

HASTE = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 11):  # later ones have no other emitters
  HASTE["xla_cpu_use_fusion_emitters"] = False
