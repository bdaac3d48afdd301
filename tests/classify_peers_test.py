"""Spectrograms beside librosa's, scores of classes beside scikit-learn's."""

import numpy as np
import pytest

from unroll import classification
from unroll.data.classes import audio

pytestmark = pytest.mark.peers
DRAW = np.random.default_rng(0)
MELS = {
  "default": audio.Mel(),
  "wide": audio.Mel(rate=16000, window=400, hop=160, bands=80),
  "music": audio.Mel(rate=22050, window=2048, hop=512, bands=128),
}


@pytest.mark.parametrize("name", MELS)
@pytest.mark.parametrize("samples", [2500, 4001])
def test_a_spectrogram_is_that_of_librosa(name, samples):
  """Of librosa 0.11: in decibels of power, zeros beyond the ends, 80 dB deep."""
  librosa = pytest.importorskip("librosa")
  mel = MELS[name]
  time = np.arange(samples) / mel.rate
  sound = np.sin(2 * np.pi * 300 * time * (1 + time)) * np.exp(-time)
  sound += 0.01 * DRAW.normal(size=samples)
  power = librosa.feature.melspectrogram(
    y=sound,
    sr=mel.rate,
    n_fft=mel.window,
    hop_length=mel.hop,
    n_mels=mel.bands,
  )
  expected = librosa.power_to_db(power).T
  found = audio.spectrogram(sound, mel)
  assert found.shape == expected.shape
  np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_scores_are_those_of_scikit_learn(classes):
  metrics = pytest.importorskip("sklearn.metrics")
  truth = DRAW.integers(classes, size=200)
  taken = np.where(DRAW.random(200) < 0.5, truth, DRAW.integers(classes, size=200))
  labels = np.arange(classes)
  confusion = metrics.confusion_matrix(truth, taken, labels=labels)
  expected = metrics.precision_recall_fscore_support(
    truth, taken, labels=labels, zero_division=0
  )
  found = classification.scores(confusion)
  for own, other in zip(found, expected):
    np.testing.assert_allclose(own, other)
  sums = {"confusion": classification.Sums(confusion, 200)}
  macro = metrics.f1_score(truth, taken, average="macro")
  assert classification.macro_f1(sums) == pytest.approx(macro)
