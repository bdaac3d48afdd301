"""Which gradient learns best in the same time, at K steps an update?

  python -m launch.sweeps.charlm_estimators

An LSTM of 32 units reads Tiny Shakespeare for half a minute of one core, with a
gradient every K = 1, 4, 16 or 64 steps: of those K steps alone (tbptt; parallel, the
same without a loop), as far back as a bias asks for (adaptive), through all steps
before in the mean (artbp, uoro, kf_rtrl, ok) or exactly (rtrl), or through
what a unit's own parameters have done to it (snap1, eprop, rflo). Beside them stands a
minLSTM, whose units read no other: its exact gradient is cheap (rtrl_diagonal).

Expected: at K = 1 and 4 what truncation loses is large, but so is what its rivals cost:
in equal time it makes the more updates. At K = 16 and 64 hardly anything is lost.
"""

from launch.sweep import named

COMMON = (
  "--corpus=tinyshakespeare --layers=1 --hidden=32 --embedding=16 "
  "--batch=16 --devices=1 --minutes=0.5 --eval_every=1000000 "
  "--learning_rate=0.003"
)
EVERY = (1, 4, 16, 64)
LINES = [
  f"--cell={cell} --truncation={','.join(scheme.format(k) for k in ks)} {COMMON}"
  for cell, scheme, ks in (
    ("lstm", "tbptt:{}", EVERY),
    ("lstm", "parallel:{}", (16, 64)),
    ("lstm", "adaptive:0.5,{}", EVERY),
    ("lstm", "artbp:{}", (4, 16, 64)),
    ("lstm", "uoro:{}", EVERY),
    ("lstm", "kf_rtrl:{}", EVERY),
    ("lstm", "ok:4,{}", EVERY),
    ("lstm", "snap1:{}", EVERY),
    ("lstm", "eprop:{}", EVERY),
    ("lstm", "rflo:{}", EVERY),
    ("lstm", "rtrl:{}", EVERY),
    ("min_lstm", "tbptt:{}", EVERY),
    ("min_lstm", "rtrl_diagonal:{}", EVERY),
  )
]

if __name__ == "__main__":
  named("experiments.charlm", LINES, seeds=1)
