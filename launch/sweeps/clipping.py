"""Which clipping learns what lies far back?

  python -m launch.sweeps.clipping --sweepdir=CLIPPING
  python -m launch.report CLIPPING --compare=clip_by,clip_norm,carry_clip_by,carry_clip

The order of two symbols, of which one stands 26 steps before the end and one 13, give
or take two (T about 30), learned by SGD with momentum: the task on which Pascanu,
Mikolov & Bengio (2013) clipped. What is clipped is the gradient of an update, by the
norm of all, of each parameter or by value, or the gradient to the state at every step
back. Eight seeds of a setting, and all thresholds of --clip_norm, are one program.

Expected: unclipped, the vanilla network learns nothing, and the LSTM with some seeds.
Clipping the gradient of an update mends both over a wide range of thresholds. Clipping
on the way back mends the LSTM, and the vanilla network hardly: what it clips is what it
has to learn from. The ReLU network starts from the identity and learns with few seeds.
"""

from launch.sweep import named

COMMON = (
  "--task=temporal_order --length=30 --cell=rnn,irnn,lstm --layers=1 --hidden=32 "
  "--batch=16 --optimizer=momentum --learning_rate=0.03 --steps=1000 --eval_every=250"
)
LINES = [
  f"{clipping} {COMMON}"
  for clipping in (
    "--clip_by=global_norm --clip_norm=0,0.1,1,10",
    "--clip_by=value --clip_norm=0.01,0.1",
    "--clip_by=param_norm --clip_norm=0.1,1",
    "--clip_norm=0 --carry_clip_by=value --carry_clip=0.001,0.01",
    "--clip_norm=0 --carry_clip_by=norm --carry_clip=0.01,0.1",
  )
]

if __name__ == "__main__":
  named("experiments.memory", LINES, seeds=8, together=["seed", "clip_norm"])
