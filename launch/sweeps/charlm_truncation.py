"""What does the length of truncation cost, and what does it buy?

  python -m launch.sweeps.charlm_truncation

An LSTM of 128 units reads the same text three times, with gradients that reach back
further and further. With one number, K, an update comes every K steps: a shorter K
makes more updates of less reach. With two, K1,K2, an update comes every 16 steps and
reaches K2 back: the reach alone differs, and its price in time.

Expected: at equal updates (16,K2) a longer reach is better by little, a hundredth of a
bit from 16 to 128 steps, at several times the price. At equal text (K) the shortest is
the best by far for a short run, because it makes the most updates.
"""

from launch.sweep import named

LINES = [
  "--truncation=tbptt:8,tbptt:16,tbptt:32,tbptt:64,tbptt:128,random:64,"
  "[tbptt:16,32],[tbptt:16,64],[tbptt:16,128] "
  "--corpus=pydoc --cell=lstm --layers=1 --hidden=128 --epochs=3 --eval_every=200"
]

if __name__ == "__main__":
  named("experiments.charlm", LINES, seeds=2)
