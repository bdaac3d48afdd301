"""Which architecture, at equal parameters and at equal time?

  python -m launch.sweeps.charlm_architectures

Ten language models of 119,000 parameters each, give or take one per cent, on the
same text for the same number of steps, each with two learning rates and two seeds.

Expected: the GRU is ahead at equal steps and at equal time, by some 0.1 bits a
character of the LSTM, which starts slowly, and 0.15 of the vanilla network. At this
size a second or third layer, which has to be narrower, gains nothing and makes a step
slower; the residual connection gives back what the third layer lost.
"""

from launch.sweep import named

COMMON = "--corpus=pydoc --truncation=tbptt:64 --steps=800 --eval_every=100"
RATES = "--learning_rate=2e-3,6e-3"

LINES = [
  f"--cell={cell} --layers={layers} --hidden={hidden} {RATES} {COMMON}"
  for cell, layers, hidden in (
    ("rnn", 1, 261),
    ("rnn", 2, 167),
    ("irnn", 1, 261),
    ("gru", 1, 150),
    ("gru", 2, 96),
    ("gru", 3, 77),
    ("gru_reset_before", 1, 150),
    ("lstm", 1, 128),
    ("lstm", 2, 83),
  )
]
LINES.append(f"--cell=gru --layers=3 --hidden=77 --residual {RATES} {COMMON}")

if __name__ == "__main__":
  named("experiments.charlm", LINES, seeds=2)
