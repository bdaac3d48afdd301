"""How fast `unroll` is, beside other libraries and the limits of the machine.

  python -m bench --suite=layer --peers=torch,linen --out=bench.json

Every library runs in a process of its own, in turn, for several rounds. What this
prints is what `docs/benchmarks.md` holds.
"""
