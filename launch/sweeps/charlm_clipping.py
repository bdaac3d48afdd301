"""Where does clipping matter?

  python -m launch.sweeps.charlm_clipping

A vanilla network and an LSTM, trained by plain SGD with learning rates from careful to
reckless, and gradient norms clipped at 0.03 to 30. All runs of a cell advance together,
in one program (--together): they differ in numbers alone.

Expected: where the norm is seldom above the threshold, nothing changes. Without much
clipping the vanilla network diverges or stalls from some learning rate on; clipped, the
same rate trains well. What counts for the smallest thresholds is their product with the
learning rate: they make the length of the step. The LSTM forgives more.
"""

from launch.sweep import named

LINES = [
  "--cell=rnn,lstm --learning_rate=0.3,1,3,10,30 --clip_norm=0.03,0.1,0.3,1,3,30 "
  "--optimizer=sgd --corpus=pydoc --layers=1 --hidden=64 --truncation=tbptt:64 "
  "--steps=400 --eval_every=100"
]

if __name__ == "__main__":
  named("experiments.charlm", LINES, together=["learning_rate", "clip_norm"])
