"""Speech with what is said: sounds of files, or strings of recorded digits."""

from unroll.data.speech.value import Utterances

__all__ = ["Utterances"]
