"""Weights from and to other frameworks, by tables of names; no framework is imported.

arrays = convert.files.read(Path("model.safetensors"))     # name -> NumPy array
model = convert.language.read(convert.framework("torch"), arrays)
arrays = convert.language.written(convert.framework("keras"), model)
"""

from unroll.convert import files, language, stacks
from unroll.convert.framework import Framework
from unroll.convert.language import Language
from unroll.convert.stacks import Stack
from unroll.convert.tables import FRAMEWORKS, framework

__all__ = [
  "FRAMEWORKS",
  "Framework",
  "Language",
  "Stack",
  "files",
  "framework",
  "language",
  "stacks",
]
