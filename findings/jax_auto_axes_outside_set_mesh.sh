#!/usr/bin/env bash
# Guessed: a function under jax.sharding.auto_axes(out_sharding=PartitionSpec(...)) sees its
#   arguments with automatic axes wherever it is called, as their types carry the mesh; without
#   a mesh in context it is refused, as explicit_axes refuses ("Context mesh cannot be empty").
# In fact: outside jax.set_mesh the decorator does nothing at all. The function runs on explicit
#   axes, out_sharding is ignored, and what needed automatic axes raises (a product over a sharded
#   axis) or, where it does not need them, its result lies otherwise than was asked.
#   A NamedSharding as out_sharding brings the mesh along and works in both places.
# Versions: jax 0.10.2, Python 3.11, Linux x86-64, 2 CPU devices, 2026-11-29.
# Why it matters: library code that is to work on meshes of jax.make_mesh, whose axes are explicit
#   by default, passes its tests under set_mesh and fails for users who only place their arrays.
#
# Runs without this project, in a folder that goes away; exit 1: it behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install -q jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cd "$folder"
JAX_PLATFORMS=cpu bin/python -I - <<'EOF'
import platform

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

jax.config.update("jax_num_cpu_devices", 2)
mesh = jax.make_mesh((2,), ("rows",))
x = jax.device_put(np.arange(8.0, dtype=np.float32).reshape(4, 2), NamedSharding(mesh, P("rows")))


def seen(out_sharding):
  """The kind of axes that a function sees, and where its result lies."""
  kinds = []

  def run(x):
    kinds.append(str(jax.typeof(x).sharding.mesh.axis_types[0]))
    return 2 * x

  out = jax.jit(jax.sharding.auto_axes(run, out_sharding=out_sharding))(x)
  return kinds[0], str(out.sharding.spec)


whole = {"a spec": P(None, None), "a NamedSharding": NamedSharding(mesh, P(None, None))}
outside = {name: seen(sharding) for name, sharding in whole.items()}
with jax.set_mesh(mesh):
  inside = {name: seen(sharding) for name, sharding in whole.items()}

print(f"jax {jax.__version__}, Python {platform.python_version()}, asked for P(None, None)")
for place, found in {"outside set_mesh": outside, "inside": inside}.items():
  for name, (kind, spec) in found.items():
    print(f"{place}, {name}: the function sees {kind} axes, its result lies as {spec}")
as_found = (
  "Explicit" in outside["a spec"][0]
  and "rows" in outside["a spec"][1]
  and all("Auto" in f[0] and "rows" not in f[1] for f in [outside["a NamedSharding"], *inside.values()])
)
raise SystemExit(0 if as_found else "this behaviour has changed")
EOF
