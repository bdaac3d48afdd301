"""Sounds with a label: WAVE files to mel spectrograms in decibels."""

import math
import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unroll.data.classes.value import Labelled
from unroll.types import BadInput


class Mel(NamedTuple):
  """A mel spectrogram in decibels, as librosa makes one.

  Attributes:
    rate: samples a second that sounds are brought to.
    window: samples of a frame, even; Hann's window.
    hop: samples from one frame to the next.
    bands: D, triangular filters on Slaney's mel scale from 0 to half the rate.
  """

  rate: int = 8000
  window: int = 256
  hop: int = 80
  bands: int = 40


def folder(path: Path, mel: Mel) -> Labelled:
  """The sounds of a folder that has a folder of WAVE files for each class.

  Raises:
    BadInput: there are none, or one cannot be read.
  """
  files = sorted(path.glob("*/*.[wW][aA][vV]"))
  if not files:
    raise BadInput(
      f"{path} has no WAVE files: give a folder with a folder of .wav files a class"
    )
  return Labelled(
    [features(file, mel) for file in files],
    [file.parent.name for file in files],
    [str(file) for file in files],
  )


def features(path: Path, mel: Mel) -> NDArray[np.float32]:
  """The spectrogram of a WAVE file, `[frames, bands]`: see `mono`."""
  return spectrogram(mono(path, mel.rate), mel)


def mono(path: Path, rate: int) -> NDArray[np.float64]:
  """The samples of a WAVE file at a rate, `[samples]`: its channels' mean.

  A file of another rate is resampled by a polyphase filter.
  """
  sound, own = read_wav(path)
  found = sound.mean(axis=1)
  if own != rate:
    from scipy.signal import resample_poly

    common = math.gcd(own, rate)
    found = resample_poly(found, rate // common, own // common)
  return found


def read_wav(path: Path) -> tuple[NDArray[np.float64], int]:
  """The samples of a WAVE file, `[samples, channels]` from -1 to 1, and their rate.

  Whole numbers of 8 to 32 bits and floats of 32 and 64 bits are read.

  Raises:
    BadInput: it is none, or empty, or of another encoding.
  """
  from scipy.io import wavfile  # slow to import: only once there is a sound

  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks of metadata
      rate, data = wavfile.read(path)
  except (OSError, ValueError, EOFError, ArithmeticError, struct.error) as error:
    raise BadInput(f"{path} cannot be read as a WAVE file ({error})") from None
  except UnboundLocalError:  # of SciPy 1.17, where the parts of the file are missing
    raise BadInput(f"{path} is no whole WAVE file: it lacks format or data") from None
  if data.size == 0 or rate < 1:
    raise BadInput(f"{path} holds no sound: take it out")
  sound = data.astype(np.float64).reshape(len(data), -1)
  if data.dtype == np.uint8:
    return (sound - 128) / 128, rate
  if data.dtype.kind == "i":
    return sound / -float(np.iinfo(data.dtype).min), rate
  if not np.isfinite(sound).all():
    raise BadInput(f"{path} has samples that are not finite")
  return sound, rate


def spectrogram(sound: NDArray[np.floating], mel: Mel) -> NDArray[np.float32]:
  """The mel spectrogram of a sound `[samples]` in decibels, `[frames, bands]`.

  Equal to `librosa.power_to_db(librosa.feature.melspectrogram(...)).T` with frames
  around multiples of `hop`, zeros beyond the ends, and 80 dB below the loudest value as
  the floor.
  """
  half = mel.window // 2
  around = np.pad(sound, half)
  starts = np.arange(0, len(sound) + 1, mel.hop)
  frames = around[starts[:, None] + np.arange(mel.window)]
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(mel.window) / mel.window)
  power = np.abs(np.fft.rfft(frames * hann)) ** 2
  # Piece by piece, each too small for BLAS to share among threads, which on busy cores
  # wait for one another twenty times as long as the product takes.
  pieces, weights = np.array_split(power, len(power) // 32 + 1), filters(mel).T
  bands = np.maximum(np.concatenate([p @ weights for p in pieces]), 1e-10)
  decibels = 10 * np.log10(bands)
  return np.maximum(decibels, decibels.max() - 80).astype(np.float32)


def filters(mel: Mel) -> NDArray[np.float64]:
  """The triangular filters, each of area 1: `[bands, window // 2 + 1]`."""
  edges = _hertz(np.linspace(0, _mels(mel.rate / 2), mel.bands + 2))
  bins = np.linspace(0, mel.rate / 2, mel.window // 2 + 1)
  rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
  falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
  triangles = np.maximum(0, np.minimum(rising, falling))
  return triangles * (2 / (edges[2:] - edges[:-2]))[:, None]


# Slaney's Auditory Toolbox (1998): linear up to 1,000 Hz, logarithmic above.
_LINEAR, _TOP, _STEP = 200 / 3, 15.0, math.log(6.4) / 27


def _mels(hertz: float) -> float:
  if hertz < _TOP * _LINEAR:
    return hertz / _LINEAR
  return _TOP + math.log(hertz / (_TOP * _LINEAR)) / _STEP


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
  above = _TOP * _LINEAR * np.exp(_STEP * np.maximum(mels - _TOP, 0))
  return np.where(mels < _TOP, mels * _LINEAR, above)
