"""The training curves of a run, drawn from its `metrics.jsonl`."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from unroll.metrics import Measure, mean_of
from unroll.records import METRICS, PER_SECOND, SPLITS, Record, measured, rate_of, read
from unroll.report.pictures import save
from unroll.types import BadInput

if TYPE_CHECKING:  # matplotlib is slow to import: only once something is drawn
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

INK, MUTED, GRID = "#22262b", "#6b737c", "#e4e7ea"
BLUE, RED = "#3b6fb6", "#c2273d"
EVALUATIONS = ("#d9622b", "#2f8f5b", "#8250a8", "#b08a1e", "#2a8fa5", "#8a5a44")
ROW = 4  # inches, of a row of panels
LOSS = Measure("loss", "", "lower", mean_of("loss"))
BY_LAG = "carry_gradient"  # records "carry_gradient/<state>/<lag>"
LAGS, CLIPPED = (0, 1, 4, 16, 64, 256), "updates_clipped"  # that are drawn
COLUMNS = 600  # a panel has fewer pixels across; more points are not seen

Records = list[Record]
Corner = Literal["upper right", "lower right"]
Series = tuple[np.ndarray, np.ndarray]  # steps, values; NaN where not finite


def curves(
  workdir: str | Path,
  *,
  measures: Sequence[Measure] = (LOSS,),
  clip_norm: float | None = None,
  warn: Callable[[str], Any] = warnings.warn,
) -> Path:
  """Draws measures, gradient norm, learning rate and speed into `curves.png`.

  Args:
    workdir: the run; its `metrics.jsonl` is read.
    measures: a panel each: "train/<name>" of every step, where it was logged, and for
      each of `SPLITS` all evaluations "val/<name>_<which>", or else "val/<name>".
    clip_norm: clipping threshold, drawn across the gradient norms; None or 0 for none.
    warn: called with one sentence if damaged lines are passed over.

  Returns:
    The path of the picture, in `workdir`.

  Raises:
    BadInput: there is no `metrics.jsonl`.
  """
  workdir = Path(workdir)
  metrics, path = workdir / METRICS, workdir / "curves.png"
  if not metrics.is_file():
    raise BadInput(f"{workdir} has no {METRICS}: give the `workdir` of a run")
  records, title = read(metrics, warn=warn), workdir.resolve().name
  figure = draw(records, title=title, measures=measures, clip_norm=clip_norm)
  save(figure, path)
  return path


def draw(
  records: Records,
  *,
  title: str,
  measures: Sequence[Measure] = (LOSS,),
  clip_norm: float | None = None,
) -> "Figure":
  """The figure of `curves`, not yet written to a file.

  Args:
    records: the lines of `metrics.jsonl`, where None is a value that is not finite.
    title: the name of the run.
    measures: as for `curves`.
    clip_norm: as for `curves`.

  Returns:
    A matplotlib figure, 1200 pixels wide, with a panel for each measure, three more,
    and up to two of what was seen of gradients; two in a row of 400 pixels.
  """
  # Figure by hand, not by pyplot: no global state, no window.
  from matplotlib.figure import Figure

  seen = {name for record in records for name in record}
  watched = [name for name in (f"{BY_LAG}/all/0", CLIPPED) if name in seen]
  rows = -(-(len(measures) + 3 + len(watched)) // 2)
  figure = Figure(figsize=(12, ROW * rows), dpi=100, facecolor="white")
  # A name is no formula, and may hold bytes that are no text.
  name = title.encode("utf-8", "replace").decode()
  style = {"fontsize": 14, "fontweight": "bold", "parse_math": False}
  figure.suptitle(name, color=INK, y=1 - 0.02 * 2 / rows, **style)
  grid = figure.subplots(rows, 2, sharex=True, gridspec_kw=_places(rows))
  panels = iter(grid.flat)
  for measure, axes in zip(measures, panels):
    _measure(axes, records, measure)
    corner: Corner = "upper right" if measure.better == "lower" else "lower right"
    dress(axes, measure.title.capitalize(), measure.unit, corner)
  norms, rates, speeds, *spare = panels
  looks, spare = spare[: len(watched)], spare[len(watched) :]
  for axes, name in zip(looks, watched):
    (_clipped if name == CLIPPED else _by_lag)(axes, records)
  for axes in (rates, speeds, *looks)[-2:]:
    axes.set_xlabel("step", color=MUTED)
    axes.tick_params(labelbottom=True)  # also above a place that stays empty
  _gradient_norms(norms, records, clip_norm)
  speed = rate_of(records)
  for axes, name in ((rates, "learning_rate"), (speeds, speed)):
    _line(axes, _series(records, name))
    axes.set_ylim(bottom=0)
  last = max((record["step"] for record in records), default=0) or 1
  norms.set_xlim(-0.02 * last, 1.02 * last)
  dress(norms, "Gradient norm before clipping", "l2 norm")
  dress(rates, "Learning rate", "")
  dress(speeds, "Speed", f"{speed.removesuffix(PER_SECOND)} / s")
  for axes in spare:
    axes.remove()
  return figure


def _places(rows: int) -> dict[str, float]:
  """Shares of the figure: a layout engine would take as long as all of the drawing."""
  edges = {"left": 0.075, "right": 0.985, "wspace": 0.29, "hspace": 0.17}
  return {**edges, "bottom": 0.075 * 2 / rows, "top": 1 - 0.1 * 2 / rows}


def _measure(axes: "Axes", records: Records, measure: Measure) -> None:
  train = _series(records, f"train/{measure.name}")
  if len(train[0]):  # not every measure is made of the sums of a training step
    _noisy(axes, train, "training, ")
  shown = [train[1]]
  for number, (name, label) in enumerate(_evaluations(records, measure)):
    steps, values = _series(records, name)
    if not np.isfinite(values).any():
      continue
    color = EVALUATIONS[number % len(EVALUATIONS)]
    i = (np.nanargmin if measure.better == "lower" else np.nanargmax)(values)
    label += f": best {values[i]:.4g} at step {steps[i]:,}"
    axes.plot(steps, values, "o-", color=color, ms=3, lw=1.6, label=label)
    axes.plot(steps[i], values[i], "*", color=color, ms=12, mec="white", zorder=5)
    shown.append(values)
  values = np.concatenate(shown)
  finite = values[np.isfinite(values)]
  if measure.beside and finite.size:
    value, label = measure.beside
    axes.axhline(value, color=MUTED, lw=1.3, ls=(0, (5, 3)), label=label)
    axes.set_yscale("log")  # a hundredth of it is to be seen
  elif finite.size:
    _limits(axes, finite, measure)
    _second_axis(axes, measure)


def _evaluations(records: Records, measure: Measure) -> list[tuple[str, str]]:
  """The names of a measure's evaluations in the records, and what to call them."""
  names = dict.fromkeys(name for record in records for name in record)
  found = []
  for split, label in SPLITS.items():
    single = f"{split}/{measure.name}"
    several = [name for name in names if name.startswith(f"{single}_")]
    found += [(name, f"{label}, {name.removeprefix(f'{single}_')}") for name in several]
    found += [(single, label)] * (single in names and not several)
  return found


def _limits(axes: "Axes", values: np.ndarray, measure: Measure) -> None:
  """Shows the start and 99% of the rest, and cuts spikes to the worse side off."""
  sign = 1 if measure.better == "lower" else -1
  values = sign * values  # so that worse is up
  low, high = values.min(), max(values[0], np.percentile(values, 99))
  if values.max() > high + (high - low) / 2:
    to = "up" if sign > 0 else "down"
    text = f"spikes {to} to {sign * values.max():.3g} are cut off"
    axes.text(0.01, 0.02, text, color=MUTED, fontsize=9, transform=axes.transAxes)
  else:
    high = values.max()
  margin = 0.05 * (high - low) or 0.1
  axes.set_ylim(*sorted((sign * (low - margin), sign * (high + margin))))


def _second_axis(axes: "Axes", measure: Measure) -> None:
  """The measure in another unit, on the right."""
  if measure.also is None:
    return
  unit, factor = measure.also
  right = axes.secondary_yaxis(
    "right",
    functions=(lambda y: np.multiply(y, factor), lambda y: np.divide(y, factor)),
  )
  right.set_ylabel(unit, color=MUTED)
  right.yaxis.set_major_formatter(_number)
  right.tick_params(colors=MUTED, length=0)
  right.spines["right"].set_visible(False)


def _gradient_norms(axes: "Axes", records: Records, clip_norm: float | None) -> None:
  steps, norms = _series(records, "grad_norm")
  axes.set_yscale("log")
  _noisy(axes, (steps, norms), "")
  if clip_norm and np.isfinite(norms).any():
    label = f"threshold {clip_norm:g}: {np.mean(norms > clip_norm):.0%} of steps above"
    axes.axhline(clip_norm, color=RED, lw=1.3, ls=(0, (5, 3)), label=label)
  _raise(axes)


def _raise(axes: "Axes") -> None:
  low, high = axes.get_ylim()
  axes.set_ylim(low, high * (high / low) ** 0.3)  # room for the legend over the spikes


def _by_lag(axes: "Axes", records: Records) -> None:
  """The gradient to the carries so many steps before the loss, a line a lag."""
  for color, lag in zip((BLUE, *EVALUATIONS), LAGS):
    steps, norms = _series(records, f"{BY_LAG}/all/{lag}")
    if np.any(norms > 0):
      axes.plot(steps, norms, "o-", color=color, ms=3, lw=1.6, label=f"lag {lag}")
  axes.set_yscale("log", nonpositive="mask")
  _raise(axes)
  dress(axes, "Gradient at the carry by lag", "mean l2 norm")


def _clipped(axes: "Axes", records: Records) -> None:
  _line(axes, _series(records, CLIPPED))
  axes.set_ylim(0, 1.05)
  dress(axes, "Updates clipped", "share since the last look")


def _noisy(axes: "Axes", series: Series, label: str) -> None:
  """A value of every step: as it is, faintly, and its moving median."""
  steps, values = series
  window = 1 + 2 * (len(steps) // 100)
  if window > 1:
    axes.plot(*_extremes(series), color=BLUE, lw=0.8, alpha=0.3)
  unit = f"median of {window:,} steps" if window > 1 else "each step"
  _line(axes, _median(series, window), label + unit)
  broken = steps[np.isnan(values)]
  if broken.size:
    # Along the top edge, wherever the values are.
    top = np.full(len(broken), 0.985)
    label = f"not finite: {len(broken):,} of {len(steps):,} steps"
    where = axes.get_xaxis_transform()
    axes.plot(broken, top, "v", color=RED, ms=5, mew=0, transform=where, label=label)


def _line(axes: "Axes", series: Series, label: str | None = None) -> None:
  marker = "o" if len(series[0]) <= 30 else ""
  steps, values = _extremes(series)
  axes.plot(steps, values, color=BLUE, lw=1.8, marker=marker, ms=3.5, label=label)


def dress(axes: "Axes", title: str, unit: str, corner: Corner = "upper right") -> None:
  """Gives a panel its title, unit, grid and legend, once everything is drawn in it."""
  from matplotlib.ticker import LogFormatter, MaxNLocator

  # With a fixed height: to find one, every label would be measured again.
  axes.set_title(title, loc="left", color=INK, fontsize=12, y=1)
  axes.set_ylabel(unit, color=MUTED)
  axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  axes.xaxis.set_major_formatter(_number)
  axes.yaxis.set_major_formatter(_number)
  if axes.get_yscale() == "log":  # less than a decade: label its parts too
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
  axes.grid(color=GRID, lw=0.8)
  axes.set_axisbelow(True)
  axes.tick_params(which="both", colors=MUTED, length=0)
  axes.spines[["left", "top", "right"]].set_visible(False)
  axes.spines["bottom"].set_color(GRID)
  if axes.get_legend_handles_labels()[0]:
    axes.legend(fontsize=9, labelcolor=INK, edgecolor="none", loc=corner)
  if not np.isfinite(axes.dataLim.intervaly).all():
    axes.yaxis.set_visible(False)
    place = axes.transAxes
    text = "nothing finite logged"
    axes.text(0.5, 0.5, text, color=MUTED, ha="center", transform=place)


def _number(value: float, position: float) -> str:
  return f"{value:,.10g}"


def _series(records: Records, name: str) -> Series:
  points = measured(records, name)
  steps = np.array([step for step, _ in points], int)
  return steps, np.array([value for _, value in points], float)  # None: NaN


def _extremes(series: Series) -> Series:
  """Thins a long series to the extremes of each column, so that no spike is lost."""
  steps, values = series
  if len(steps) <= 2 * COLUMNS:
    return series
  kept = []
  for column in np.array_split(np.arange(len(steps)), COLUMNS):
    finite = column[np.isfinite(values[column])]
    if finite.size:
      kept += [finite[values[finite].argmin()], finite[values[finite].argmax()]]
    else:
      kept.append(column[0])
  order = np.unique(kept)
  return steps[order], values[order]


def _median(series: Series, window: int) -> Series:
  """The moving median of the finite values, narrower towards the start.

  A median because one exploding step would move a mean for a whole window.
  """
  steps, values = series
  stride = max(1, len(steps) // COLUMNS)
  medians = np.full(len(steps[::stride]), np.nan)
  for i in range(len(medians)):
    centre = i * stride
    reach = min(window // 2, centre)
    around = values[centre - reach : centre + reach + 1]
    around = around[np.isfinite(around)]
    if around.size:
      medians[i] = np.median(around)
  return steps[::stride], medians
