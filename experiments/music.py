"""Polyphonic music on 88 keys: train, evaluate, sample to a MIDI file.

  python -m experiments.music --cell=gru --layers=1 --hidden=200 --minutes=2
  python -m experiments.music --scores=FOLDER --grid=4
  python -m experiments.music --mode=sample --workdir=RUN --tempo=80 --output=bach.mid

The likelihood is that of the literature: nats a step, summed over the keys, in the mean
of all steps but the first of each piece, from the second of which they are predicted.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.parts import layers, samples, scores, watching
from experiments.parts.samples import Samples
from experiments.parts.scores import Scores
from experiments.parts.watching import Watching
from experiments.session import door, modes
from experiments.session.armfile import Arms
from experiments.session.folder import Folder
from experiments.session.gang import Processes
from experiments.session.settings import Page, Settings
from experiments.session.task import Size, Task
from experiments.session.terminal import extra, result
from experiments.session.training import Training
from experiments.session.transfer import Transfer
from unroll import remat, scan
from unroll.architecture import Architecture, Precision
from unroll.data.music.frames import frames
from unroll.data.music.rolls import KEYS, Roll
from unroll.data.music.scores import Scores as Scored
from unroll.gradients import ChunkLoss
from unroll.layers import initial_carry
from unroll.loading import Loaded
from unroll.models.built import SCORES
from unroll.models.music import RollModel, roll_loss, roll_model
from unroll.report.rolls import Shown, rolls
from unroll.settings import setting

MIDI, PICTURE = "sample.mid", "sample.png"  # in a run's folder


@dataclass(frozen=True)
class Music:
  """Music"""

  mode: str = setting(
    "train", "what to do", choices=("train", "eval", "sample"), role="call"
  )


def main(settings: Settings) -> None:
  """Trains, evaluates or samples, as `mode` says."""
  modes.run(settings, _task, sample=_sample)


def _task(settings: Settings, files: Mapping[str, str] | None) -> Task:
  data, batch = settings[Scores].load(), settings[Training].batch
  model = _model(settings)

  def loss(plan: remat.Plan, backward: scan.Backward) -> ChunkLoss:
    return roll_loss(_model(settings, plan), backward)

  sizes = settings[Architecture].sizes
  longest = max(len(piece) for piece in data.parts["train"])
  return Task(
    init=lambda key: model.init(key, np.zeros((1, 1, KEYS), np.float32)),
    carry=functools.partial(initial_carry, model),
    loss=loss,
    train=lambda seed, columns: frames(
      data.parts["train"], batch, first=True, seed=seed, columns=columns
    ),
    evaluations={
      part: scores.evaluation(pieces)
      for part, pieces in data.parts.items()
      if part != "train"
    },
    measures=scores.MEASURES,
    size=Size(max(sizes), sum(sizes), float(longest)),
    data=data.digest(),
    model="music",
    files={SCORES: json.dumps({"grid": data.grid}) + "\n"},
    splits={part: sum(map(len, pieces)) for part, pieces in data.parts.items()},
    counted="frames",
    sized_by=("hidden", "layers"),
    shows=(PICTURE, MIDI),
    check=lambda: samples.check(settings[Samples], data.grid),
    watch=watching.watch(
      settings, layers.architecture(settings), KEYS, model, roll_loss
    ),
    show=functools.partial(_show, data),
  )


def _model(settings: Settings, plan: remat.Plan = remat.NONE) -> RollModel:
  dtype = settings[Precision].dtype
  return roll_model(layers.architecture(settings), dtype=dtype, plan=plan)


def _show(data: Scored, settings: Settings, best: Loaded, path: Path) -> None:
  """Prints the likelihoods of the model and of a rule, plays and draws it."""
  part = "test" if "test" in data.parts else "val"
  model, params, pieces = best.module, best.params, data.parts[part]
  found = scores.likelihoods(model, params, scores.evaluation(pieces))
  scores.tell(found, scores.by_key(data.parts["train"], pieces), part)
  chosen = settings[Samples]
  given = samples.primer(chosen, data.grid)
  [keys, *_] = samples.draw(best, given, chosen, settings[Training].seed)
  with extra(path / MIDI):
    samples.write(keys, data.grid, chosen.tempo, path / MIDI)
  with extra(path / PICTURE):
    shown = [samples.expected(best, pieces[0], part), _shown(keys, given)]
    rolls(shown, data.grid, data.name, path / PICTURE)


def _sample(settings: Settings) -> None:
  chosen = settings[Samples]
  model, settings = modes.opened(settings, "seed")
  grid = json.loads(model.files[SCORES])["grid"]
  samples.check(chosen, grid)
  given = samples.primer(chosen, grid)
  drawn = samples.draw(model, given, chosen, settings[Training].seed)
  made = []
  for number, keys in enumerate(drawn, 1):
    output = Path(chosen.output)
    if len(drawn) > 1:
      output = output.with_stem(f"{output.stem}-{number}")
    notes = samples.write(keys, grid, chosen.tempo, output)
    made.append({"file": str(output), "steps": len(keys), "notes": notes})
    beats = len(keys) / grid
    print(f"{output}: {beats:g} beats at {chosen.tempo:g} a minute, {notes} notes")
    picture = output.with_suffix(".png")
    with extra(picture):
      rolls([_shown(keys, given)], grid, output.stem, picture)
  result({"samples": made}, settings[Folder].json)


def _shown(keys: Roll, given: Roll) -> Shown:
  title = "A sample" if not len(given) else "A primer, and what continues it"
  return Shown(title, keys, given=len(given))


PAGE = Page(
  "music",
  main,
  (
    Music,
    Samples,
    Scores,
    Architecture,
    Precision,
    Training,
    Watching,
    Transfer,
    Folder,
    Processes,
    Arms,
  ),
)

if __name__ == "__main__":
  door.run(PAGE, __doc__)
