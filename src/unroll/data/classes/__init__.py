"""Things with a label: texts, sounds, images and series, from files and by name."""

from unroll.data.classes.value import Labelled, Parts

__all__ = ["Labelled", "Parts"]
