"""Which gradient learns best in the same time, at K steps an update?

  python -m launch.sweeps.charlm_estimators

An LSTM of 32 units reads Tiny Shakespeare for half a minute of one core, with a
gradient every K = 1, 4, 16 or 64 steps: of those K steps alone (tbptt), through all
steps before in the mean (artbp, uoro, kf_rtrl) or exactly (rtrl), or through what a
unit's own parameters have done to it (snap1, eprop).

Expected: at K = 1 and 4 what truncation loses is large, but so is what its rivals cost:
in equal time it makes the more updates. At K = 16 and 64 hardly anything is lost.
"""

from launch.sweep import named

COMMON = (
  "--corpus=tinyshakespeare --cell=lstm --layers=1 --hidden=32 --embedding=16 "
  "--batch=16 --devices=1 --minutes=0.5 --eval_every=1000000 "
  "--learning_rate=0.003"
)
LINES = [
  f"--truncation={','.join(f'{scheme}:{k}' for k in ks)} {COMMON}"
  for scheme, ks in (
    ("tbptt", (1, 4, 16, 64)),
    ("artbp", (4, 16, 64)),
    ("uoro", (1, 4, 16, 64)),
    ("kf_rtrl", (1, 4, 16, 64)),
    ("snap1", (1, 4, 16, 64)),
    ("eprop", (1, 4, 16, 64)),
    ("rtrl", (1, 4, 16, 64)),
  )
]

if __name__ == "__main__":
  named("experiments.charlm", LINES, seeds=1)
