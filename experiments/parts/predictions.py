"""What people see of a classifier: scores by class, pictures, labels of new things."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from experiments.parts.examples import Data, majority
from experiments.session.terminal import given
from unroll.classification import calibration_error, scores
from unroll.data import text as text_lib
from unroll.data.buckets import Buckets
from unroll.data.classes import arrays, audio, table
from unroll.data.classes.reader import Reader
from unroll.models.classifier import Classifier, classifier_loss
from unroll.report import classes
from unroll.types import BadInput, Params, Sums

TABLES = (".csv", ".tsv", ".jsonl")


def counts(model: Classifier, params: Params, source: Buckets) -> dict[str, Sums]:
  """The sums of a model over a source, on the host."""
  loss, total = jax.jit(classifier_loss(model)), None
  carry = model.apply(params, 1, method="initial_carry")
  for batch in source:
    part = loss(params, carry, batch)[1][1]
    total = part if total is None else jax.tree.map(jnp.add, total, part)
  return jax.device_get(total)


def tell(sums: Mapping[str, Sums], part: str, data: Data) -> None:
  """Prints how well each class is found, and what always saying one would give."""
  found, names = scores(np.asarray(sums["confusion"].total)), data.reader.classes
  width = max(12, *(len(name) for name in names))
  print(f"{part:{width}} precision  recall      F1  examples")
  for row in zip(names, *found):
    print(
      f"{row[0]:{width}}    {row[1]:.4f}  {row[2]:.4f}  {row[3]:.4f}  {row[4]:8,.0f}"
    )
  accuracy = float(sums["accuracy"].total / sums["accuracy"].count)
  least = majority(data.labels[part], data.labels["train"])
  print(f"accuracy {accuracy:.4f}; the commonest class alone {least:.4f}")
  print(f"calibration error {calibration_error(sums):.4f}")


def draw_confusion(sums: Mapping[str, Sums], part: str, data: Data, path: Path) -> None:
  """What was taken for what."""
  title = f"{data.settings.data}, {part}"
  classes.confusion(
    np.asarray(sums["confusion"].total), data.reader.classes, title, path
  )


def draw_calibration(
  sums: Mapping[str, Sums], part: str, data: Data, path: Path
) -> None:
  """How often the model is right, by how sure it is."""
  sure, right = sums["confidence"], sums["hits"]
  classes.calibration(
    np.asarray(sure.total),
    np.asarray(right.total),
    np.asarray(right.count),
    f"{data.settings.data}, {part}",
    path,
  )


def things(reader: Reader, file: str, column: str) -> tuple[list[str], list[Any]]:
  """What to predict labels of: how each is shown, and itself.

  Args:
    reader: of the run: it says whether these are texts, sounds or series.
    file: "-" for standard input; of one of `TABLES` a column is read.
    column: of the texts there.

  Raises:
    BadInput: the file cannot be read or is faulty.
  """
  if reader.vocabulary is None and reader.mel is None:
    return _series(reader, file)
  if reader.mel is None and Path(file).suffix in TABLES:
    found = table.texts(Path(file), column)
    return [text_lib.one_line(text) for text in found], found
  tokenizer = reader.vocabulary.tokenizer if reader.vocabulary else "char"
  lines = text_lib.read_lines(given(file), f"--input={file}", tokenizer)
  if reader.mel is None:
    return [text_lib.one_line(line) for line in lines], lines
  paths = [line.strip() for line in lines if line.strip()]
  return paths, [audio.features(Path(path), reader.mel) for path in paths]


def _series(reader: Reader, file: str) -> tuple[list[str], list[Any]]:
  if file == "-":
    raise BadInput("this run reads series: give `input`, an .npz file with x")
  found = arrays.unlabelled(Path(file))
  width = len(reader.mean)
  for number, row in enumerate(found):
    if row.shape[1] != width:
      raise BadInput(
        f"{file}: x[{number}] has {row.shape[1]} features, and the run reads {width}"
      )
  return [str(number) for number in range(len(found))], found


def as_tsv(names: Sequence[str], shown: Sequence[str], found: NDArray) -> str:
  """Labels with probabilities, a line each below a header."""
  lines = [
    "\t".join(["label", "probability", *(f"p({name})" for name in names), "input"])
  ]
  for thing, row in zip(shown, found):
    best = int(row.argmax())
    numbers = [f"{value:.4f}" for value in (row[best], *row)]
    lines.append("\t".join([names[best], *numbers, thing]))
  return "\n".join(lines) + "\n"
