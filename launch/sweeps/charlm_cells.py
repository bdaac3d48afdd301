"""Which cell, at equal parameters, at equal tokens, and how long does it take?

  python -m launch.sweeps.charlm_cells

Language models of one layer and 100,000 parameters, give or take a few per cent, on
Tiny Shakespeare: 600 steps of 2,048 characters with two learning rates. `ltc` is left
out: it takes a hundred times as long as an LSTM.
"""

from launch.sweep import named

COMMON = (
  "--corpus=tinyshakespeare --layers=1 --embedding=64 --truncation=tbptt:64 "
  "--steps=600 --schedule=cosine --warmup_steps=50 --learning_rate=3e-3,1e-2 "
  "--eval_every=100"
)
# Cell -> H for as many parameters, the embedding's and the output's included.
WIDTHS = {
  "rnn": 251,
  "irnn": 251,
  "gru": 140,
  "gru_reset_before": 140,
  "gru_layer_norm": 139,
  "lstm": 119,
  "lstm_peephole": 119,
  "lstm_projected": 47,
  "lstm_layer_norm": 118,
  "lstm_multiplicative": 105,
  "lstm_mogrifier": 94,
  "cifg": 140,
  "janet": 175,
  "mgu": 175,
  "ugrnn": 175,
  "minimal_rnn": 188,
  "brc": 364,
  "nbrc": 163,
  "rhn": 111,
  "scrn": 280,
  "li_gru": 175,
  "ran": 163,
  "fast_rnn": 251,
  "fast_grnn": 250,
  "nas": 79,
  "slstm": 119,
  "co_rnn": 188,
  "lem": 119,
  "antisymmetric_rnn": 251,
  "exp_rnn": 326,
  "clockwork_rnn": 251,
  "phased_lstm": 119,
  "gru_d": 112,
  "cfc": 123,
  "echo_state": 251,
  "indrnn": 725,
  "rg_lru": 188,
  "lru": 163,
  "s5": 227,
  "s4d": 163,
  "mlstm": 293,
  "gated_delta": 370,
  "min_gru": 488,
  "min_lstm": 367,
  "qrnn": 211,
  "sru": 294,
}
LINES = [f"--cell={cell} --hidden={hidden} {COMMON}" for cell, hidden in WIDTHS.items()]

if __name__ == "__main__":
  named("experiments.charlm", LINES, seeds=1)
