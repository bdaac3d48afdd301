"""The loop: what it calls when, told by dispatches that are a few lines of NumPy."""

import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

import unroll.run
from unroll import loop
from unroll.metrics import Measure, mean_of
from unroll.run import Progress
from unroll.schedules import NonMonotone, Plateau
from unroll.train import StepMetrics, TrainState
from unroll.types import BadInput, Sums

FIXED = {"eval_every": 7, "checkpoint_every": 5}


class Run:
  """A run whose steps take `pace` seconds and whose losses are a function of the step.

  Args:
    losses: step -> validation loss.
    bad: step -> whether it is skipped.
    stop_at: the step from which someone asks for a stop.
    pace: seconds a step.
    evaluation: seconds an evaluation.
    start: seconds before the first dispatch is done.
    monkeypatch: to set the clock.
    check: called about once a second.
  """

  def __init__(
    self,
    losses=lambda step: 1 / step,
    bad=lambda step: False,
    stop_at=math.inf,
    pace=0.0,
    evaluation=0.0,
    start=0.0,
    monkeypatch=None,
    check=lambda: None,
  ):
    self.losses, self.bad, self.stop_at = losses, bad, stop_at
    self.pace, self.evaluation, self.now = pace, evaluation, 1000.0
    self.start, self.check = start, check
    self.objective, self.measures, self.online = unroll.run.Objective("loss"), (), ()
    self.records, self.saves, self.evaluated, self.shown = [], [], [], []
    self.horizons, self.scales, self.begun, self.taken = [], [], [], 0
    if monkeypatch:
      clock = SimpleNamespace(monotonic=lambda: self.now)
      for module in (loop, unroll.run):
        monkeypatch.setattr(module, "time", clock)

  def dispatch(self, state, batch, count, control):
    self.horizons.append(float(control.horizon))
    self.scales.append(float(control.scale))
    self.begun.append(float(control.begun))
    self.now += self.pace * int(count) + self.start * (not self.taken)
    steps = state.step + np.arange(1, len(batch) + 1)
    skipped = np.array([sum(map(self.bad, range(1, s + 1))) for s in steps])
    in_a_row = np.array(
      [sum(1 for _ in itertools.takewhile(self.bad, range(s, 0, -1))) for s in steps]
    )
    metrics = StepMetrics(
      {
        "loss": Sums(steps * 2.0, np.full(len(batch), 4.0)),
        "hits": Sums(steps * 1.0, np.full(len(batch), 8.0)),
      },
      grad_norm=steps * 10.0,
      learning_rate=steps * 0.1,
      nonfinite=in_a_row,
      skipped=skipped,
    )
    self.taken = state.step + int(count)
    return state._replace(step=self.taken), metrics

  def fit(self, budget, *, step=0, progress=None, sizes=3, **periods):
    progress = progress or Progress(step, 0.0, 0.0, Plateau(1, 1.0), {}, {})
    [(state, one)], done = together([self], budget, [progress], sizes, **periods)
    if one.error:
      raise one.error
    return state, one.progress, done

  def hooks(self):
    return unroll.run.Hooks(
      objective=self.objective,
      save=lambda state, progress, best: self.saves.append(
        (int(state.step), progress, best)
      ),
      log=self.records.append,
      show=lambda *seen: self.shown.append(seen),
      check=self.check,
      measures=self.measures,
      clip_norm=65.0,
      online=self.online,
    )

  def evaluate(self, state):
    self.now += self.evaluation
    self.evaluated.append(int(state.step))
    return {"loss": self.losses(state.step)}

  @staticmethod
  def batches(step, stop, size, periods):
    while stop is None or step < stop:
      ends = [step + size, *(step + p - step % p for p in periods if p)]
      count = min([*ends, *([] if stop is None else [stop])]) - step
      yield count, np.zeros(size)
      step += count

  def steps(self, name):
    return [r["step"] for r in self.records if name in r]


def together(runs, budget, progresses, sizes=3, **periods):
  """Fits runs side by side: the state and the `unroll.run.Run` of each; and if done."""
  periods = FIXED | periods

  def dispatch(states, batch, counts, controls):
    rows = zip(runs, states, counts, controls)
    found = [
      run.dispatch(state, batch, count, control) if count else (state, None)
      for run, state, count, control in rows
    ]
    return zip(*found)

  inner = [
    unroll.run.Run(progress, run.hooks(), run.now)
    for run, progress in zip(runs, progresses)
  ]
  starts = sorted({progress.step for progress in progresses})
  batches = (
    each
    for start, stop in itertools.pairwise([*starts, budget.steps])
    for each in Run.batches(start, stop, sizes, [*periods.values()])
  )
  states, done = loop.fit(
    loop.Program(
      dispatch,
      evaluate=lambda states: [run.evaluate(s) for run, s in zip(runs, states)],
      split=lambda tree: tree,
      watch=lambda states, batch: [{"seen": 1.0 * state.step} for state in states],
    ),
    [TrainState(progress.step, None, None, None, 0, 0) for progress in progresses],
    inner,
    batches,
    budget,
    stop=lambda: any(run.taken >= run.stop_at for run in runs),
    **periods,
  )
  return list(zip(states, inner)), done


def budget(steps=None, seconds=None, patience=0):
  return loop.Budget(steps, seconds, patience)


def test_cadence():
  run = Run(losses=lambda step: step)  # only the first evaluation is a best
  state, progress, finished = run.fit(budget(23))
  assert finished and state.step == progress.step == 23
  assert run.evaluated == run.steps("loss") == [7, 14, 21, 23]
  assert [(s, best) for s, _, best in run.saves] == [
    *[(5, False), (7, True), (10, False), (15, False), (20, False), (23, False)]
  ]
  assert progress.targets == 23 * 4
  assert progress.last == {"step": 23, "loss": 23}
  assert progress.best == {"step": 7, "loss": 7}


def test_gradients_are_watched_before_the_updates_that_they_are_of():
  run = Run()
  _, progress, _ = run.fit(budget(10), watch_every=4)
  looks = [record for record in run.records if "seen" in record]
  assert looks == [
    {"step": 1, "seen": 0.0},
    {"step": 5, "seen": 4.0, "updates_clipped": 0.0},
    {"step": 9, "seen": 8.0, "updates_clipped": 0.5},  # of norms 50, 60, 70, 80
  ]
  assert progress.unwatched == (2, 2)
  assert Progress.from_json(json.loads(json.dumps(progress.to_json()))) == progress
  assert run.steps("train/loss") == [*range(1, 11)]
  unwatched = Run()
  unwatched.fit(budget(10))
  assert not unwatched.steps("seen")


def test_what_is_to_rise_is_best_where_it_is_highest():
  run = Run(losses=lambda step: {5: 3.0, 10: 4.0, 15: math.inf, 20: 1.0}[step])
  run.objective = unroll.run.Objective("loss", "higher")
  _, progress, _ = run.fit(budget(20), eval_every=5)
  marks = [(s, best) for s, _, best in run.saves]
  assert marks == [(5, True), (10, True), (15, False), (20, False)]
  assert progress.best == {"step": 10, "loss": 4.0} and progress.plateau.bad == 2


def test_measures_of_training_are_logged():
  run = Run()
  run.measures = (
    Measure("hits", "", "higher", mean_of("hits")),
    Measure("doubled", "", "lower", lambda sums: 2 * mean_of("loss")(sums)),
  )
  run.fit(budget(23))
  told = [r for r in run.records if "train/loss" in r]
  assert [r["train/hits"] for r in told] == [step / 8 for step in range(1, 24)]
  assert all(r["train/doubled"] == 2 * r["train/loss"] for r in told)
  plain = Run()
  plain.fit(budget(23))  # by itself, a sum is for nobody to see
  assert not any("train/hits" in r for r in plain.records)


def test_every_best_is_saved_as_such():
  run = Run(losses=lambda step: {5: 3.0, 10: 2.0, 15: math.nan, 20: 1.0}[step])
  _, progress, _ = run.fit(budget(20), eval_every=5)
  marks = [(s, best) for s, _, best in run.saves]
  assert marks == [(5, True), (10, True), (15, False), (20, True)]
  assert progress.plateau.bad == 0 and progress.best["step"] == 20


def test_what_is_saved_is_what_was_reached():
  run = Run()
  run.fit(budget(23))
  for step, progress, best in run.saves:
    assert progress.step == step and progress.targets == step * 4
    assert best == (progress.best.get("step") == step)
    assert progress.last.get("step", 0) == max(
      0, *(e for e in [0, 7, 14, 21, 23] if e <= step)
    )


def judged_online():
  run = Run()
  run.evaluate = lambda state: {}
  run.objective = unroll.run.Objective("online/loss")
  run.online = (Measure("loss", "", "lower", mean_of("loss")),)
  return run


def test_what_was_predicted_before_each_update_is_the_evaluation():
  """The mean over all steps, also over restarts; the newest is the best."""
  run = judged_online()
  _, progress, _ = run.fit(budget(10))
  progress = Progress.from_json(json.loads(json.dumps(progress.to_json())))
  again = judged_online()
  _, progress, _ = again.fit(budget(23), progress=progress)
  for one in (run, again):
    for record in (r for r in one.records if "online/loss" in r):
      losses = 2.0 * np.arange(1, record["step"] + 1) / 4
      assert record["online/loss"] == pytest.approx(losses.mean())
  assert progress.best == progress.last == {"step": 23, "online/loss": 6.0}


def test_batches_that_end_are_the_end_of_training(monkeypatch):
  ended = Run()
  whole = Run.batches
  monkeypatch.setattr(Run, "batches", staticmethod(lambda *a: whole(a[0], 12, *a[2:])))
  _, progress, done = ended.fit(budget(23))
  assert done and progress.step == 12 == progress.last["step"] == ended.saves[-1][0]
  stopped = Run(stop_at=12)
  assert not stopped.fit(budget(23))[2]


@pytest.mark.parametrize("size", [1, 3, 50])
def test_records(size):
  run = Run(bad=lambda step: step in (4, 5, 9))
  run.fit(budget(23), sizes=size)
  assert run.steps("train/loss") == [*range(1, 24)]
  for record in (r for r in run.records if "train/loss" in r):
    step = record["step"]
    assert record["train/loss"] == step * 2 / 4 and record["grad_norm"] == step * 10
    assert record["learning_rate"] == pytest.approx(step * 0.1)
    assert record.get("skipped") == {4: 1, 5: 2, 9: 3}.get(step)
  # An evaluation follows the record of its step, and precedes that of the next.
  order = [r["step"] for r in run.records if "seconds" not in r]
  assert order == sorted(order)
  json.dumps(run.records)


def test_speed(monkeypatch):
  run = Run(pace=0.25, start=30.0, monkeypatch=monkeypatch)
  run.fit(budget(23), eval_every=100)
  # The numbers of the first dispatch are read at once.
  [start] = [r for r in run.records if "start_seconds" in r]
  assert start == {"step": 3, "start_seconds": 30 + 3 * 0.25}
  spans = [r for r in run.records if "seconds" in r]
  times = [start["start_seconds"], *(r["seconds"] for r in spans)]
  tokens = [
    r["targets_per_second"] * (b - a) for r, a, b in zip(spans, times, times[1:])
  ]
  assert len(spans) > 3 and sum(tokens) == pytest.approx(20 * 4)
  assert run.steps("seconds")[-1] == 23
  progress, loss, speed = run.shown[-1]
  assert progress.step == 23 and speed == spans[-1]["targets_per_second"]
  since = run.steps("seconds")[-2]
  assert loss == pytest.approx(np.mean(np.arange(since + 1, 24)) / 2)


def test_evaluation_is_no_slow_training(monkeypatch):
  run = Run(pace=0.25, evaluation=30.0, monkeypatch=monkeypatch)
  run.fit(budget(23))
  speeds = [r["targets_per_second"] for r in run.records if "seconds" in r]
  assert len(run.evaluated) == 4 and min(speeds) > 4 * 7 / 30


def test_a_run_that_can_save_no_more_ends_within_seconds(monkeypatch):
  def check():
    if run.now >= 1030:
      raise OSError("the folder is gone")

  run = Run(pace=0.25, check=check, monkeypatch=monkeypatch)
  with pytest.raises(OSError, match="gone"):
    run.fit(budget(10**6), eval_every=10**6, checkpoint_every=10**6)
  assert run.now - 1030 < 3


def test_patience():
  losses = {7: 3.0, 14: 2.0, 21: 2.0, 28: 2.5}
  run = Run(losses=losses.__getitem__)
  state, progress, finished = run.fit(budget(1000, patience=2))
  assert finished and state.step == 28 and progress.plateau.bad == 2
  assert run.evaluated == [7, 14, 21, 28]  # and not once more at the end
  assert run.saves[-1][0] == 28 and not run.saves[-1][2]


def test_the_plateau_lowers_the_rate():
  run = Run(losses=lambda step: 1.0)
  start = Progress(0, 0.0, 0.0, Plateau(2, 0.5), {}, {})
  run.fit(budget(40), progress=start, sizes=7, checkpoint_every=0)
  assert run.evaluated == [7, 14, 21, 28, 35, 40]
  assert run.scales == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]


def test_averaging_begins_after_the_evaluation_that_was_worse():
  losses = {7: 3.0, 14: 2.0, 21: 4.0, 28: 1.0, 35: 5.0}
  run = Run(losses=losses.__getitem__)
  start = Progress(0, 0.0, 0.0, Plateau(1, 1.0), {}, {}, NonMonotone(1))
  _, progress, _ = run.fit(budget(35), progress=start, sizes=7, checkpoint_every=0)
  assert run.begun == [math.inf] * 3 + [21.0] * 2 and progress.trigger.begun == 21


def test_minutes_end_in_time(monkeypatch):
  run = Run(pace=0.5, evaluation=3.0, monkeypatch=monkeypatch)
  state, progress, finished = run.fit(budget(seconds=60))
  assert finished
  # In time to evaluate once more, and not a dispatch earlier.
  assert 60 - 3 * 0.5 <= run.now - 1000 <= 60 + 3 * 0.5
  assert progress.seconds == run.now - 1000
  assert run.evaluated[-1] == state.step == run.saves[-1][0]


def test_the_start_does_not_foreshorten_the_horizon(monkeypatch):
  run = Run(pace=0.5, start=20.0, monkeypatch=monkeypatch)
  run.fit(budget(seconds=60), sizes=1)
  assert run.horizons[:2] == [math.inf] * 2
  assert run.horizons[2] == pytest.approx(2 * 60 / 21)


def test_minutes_count_over_restarts(monkeypatch):
  run = Run(pace=0.5, stop_at=40, monkeypatch=monkeypatch)
  _, progress, finished = run.fit(budget(seconds=60))
  assert not finished and 20 <= progress.seconds <= 21.5
  on = Run(pace=0.5, monkeypatch=monkeypatch)
  _, progress, finished = on.fit(budget(seconds=60), progress=progress)
  assert finished and progress.seconds == pytest.approx(60, abs=1.5)
  assert on.now - 1000 == pytest.approx(40, abs=1.5)


def test_the_horizon_is_where_the_minutes_end(monkeypatch):
  run = Run(pace=0.5, monkeypatch=monkeypatch)
  run.fit(budget(seconds=60))
  assert run.horizons[0] == math.inf  # nothing is known yet
  np.testing.assert_allclose(run.horizons[1:], 120)
  both = Run(pace=0.5, monkeypatch=monkeypatch)
  both.fit(budget(30, seconds=60))
  assert set(both.horizons) == {30.0}


@pytest.mark.parametrize("best", [False, True])
@pytest.mark.parametrize("stop_at", [4, 7, 10])
def test_an_interruption_saves(stop_at, best):
  run = Run(losses=lambda step: 1 / step if best else math.nan, stop_at=stop_at)
  state, progress, finished = run.fit(budget(23))
  assert not finished
  reached = {4: 5, 7: 7, 10: 10}[stop_at]  # the end of the dispatch
  assert state.step == progress.step == reached
  step, saved, marked = run.saves[-1]
  assert (step, saved) == (reached, progress)
  assert marked == (best and stop_at == 7)
  assert run.steps("train/loss") == [*range(1, reached + 1)]
  assert run.evaluated == [7] * (reached >= 7)


def test_interrupted_and_resumed_is_uninterrupted():
  def without_times(records):
    return [r for r in records if not r.keys() & {"seconds", "start_seconds"}]

  whole = Run()
  _, expected, _ = whole.fit(budget(23))
  for stop_at in range(1, 22):
    run, on = Run(stop_at=stop_at), Run()
    _, progress, finished = run.fit(budget(23))
    assert not finished
    progress = Progress.from_json(json.loads(json.dumps(progress.to_json())))
    _, progress, finished = on.fit(budget(23), progress=progress)
    assert finished and progress._replace(seconds=0) == expected._replace(seconds=0)
    both = without_times(run.records) + without_times(on.records)
    assert both == without_times(whole.records)
    assert run.evaluated + on.evaluated == whole.evaluated


def test_a_finished_run_stays_finished():
  _, progress, _ = Run().fit(budget(23))
  again = Run()
  state, after, finished = again.fit(budget(23), progress=progress)
  assert finished and state.step == 23 and after == progress
  assert again.horizons == again.evaluated == again.records == []


def test_no_steps_at_all():
  run = Run(losses=lambda step: 1.0)
  state, progress, finished = run.fit(budget(0))
  assert finished and state.step == 0 and run.evaluated == [0]
  assert [s for s, _, _ in run.saves] == [0] and progress.last["loss"] == 1.0


@pytest.mark.parametrize("size", [1, 3, 25])
def test_fifty_in_a_row(size):
  run = Run(bad=lambda step: step > 30)
  with pytest.raises(BadInput, match=r"50 steps in a row .* lower the learning rate"):
    run.fit(budget(1000), sizes=size)
  assert 80 <= len(run.steps("train/loss")) < 80 + size
  assert run.steps("skipped")[0] == 31
  assert run.saves[-1][0] <= 80
  borne = Run(bad=lambda step: 30 < step < 80)  # forty-nine
  assert borne.fit(budget(200), sizes=size)[2]


def test_progress_is_json():
  plateau = Plateau(2, 0.5).observe(1.5).observe(2.0)
  trigger = NonMonotone(2, (2.0, 1.5), 7)
  told = ({"step": 7, "a": 0.1}, {"step": 5})
  progress = Progress(7, 1.25, 40.0, plateau, *told, trigger)
  there = json.loads(json.dumps(progress.to_json()))
  assert Progress.from_json(there) == progress


def test_the_progress_of_an_old_checkpoint_is_read():
  plateau = {"patience": 2, "factor": 0.5, "best": 1.5, "bad": 1, "scale": 0.25}
  old = {"step": 7, "seconds": 1.25, "tokens": 40.0, "plateau": plateau}
  old |= {"last": {"step": 7, "val/loss": 1.75}, "best": {"step": 5, "val/loss": 1.5}}
  new = {**old, "targets": old["tokens"], "trigger": NonMonotone()._asdict()}
  new |= {"unwatched": (0, 0), "online": {}}
  del new["tokens"]
  assert Progress.from_json(old).to_json() == new


def plain(run):
  """All that a run has told and saved, but for times."""
  told = [r for r in run.records if not r.keys() & {"seconds", "start_seconds"}]
  saves = [(step, p._replace(seconds=0), best) for step, p, best in run.saves]
  return told, saves


START = Progress(0, 0.0, 0.0, Plateau(1, 1.0), {}, {})
FALLS = (lambda step: 1 / step, lambda step: step, lambda step: abs(step - 14.5))


def test_side_by_side_is_alone():
  alone, beside = ([Run(losses=f) for f in FALLS] for _ in range(2))
  for run in alone:
    run.fit(budget(23))
  ends, done = together(beside, budget(23), [START] * 3)
  assert done and [run.progress.step for _, run in ends] == [23] * 3
  assert [*map(plain, beside)] == [*map(plain, alone)]


@pytest.mark.parametrize("stops", [(4, 99, 9), (7, 1, 2), (99, 16, 16)])
def test_those_ahead_wait(stops):
  """Runs that were stopped at different steps go on together."""
  whole = [Run(losses=f) for f in FALLS]
  cut = [Run(losses=f, stop_at=stop) for f, stop in zip(FALLS, stops)]
  on = [Run(losses=f) for f in FALLS]
  progresses = [run.fit(budget(23))[1] for run in cut]
  for run in whole:
    run.fit(budget(23))
  ends, done = together(on, budget(23), progresses)
  assert done and [state.step for state, _ in ends] == [23] * 3
  for a, b, c in zip(whole, cut, on):
    (first, _), (rest, saves) = plain(b), plain(c)
    assert first + rest == plain(a)[0]
    assert saves[-1] == plain(a)[1][-1]


def test_one_that_blows_up_leaves_the_others():
  alone = [Run(losses=FALLS[0]), Run(losses=FALLS[2])]
  for run in alone:
    run.fit(budget(200))
  bad = Run(bad=lambda step: step > 30)
  beside = [Run(losses=FALLS[0]), bad, Run(losses=FALLS[2])]
  ends, done = together(beside, budget(200), [START] * 3)
  errors = [run.error for _, run in ends]
  assert (
    done and errors[0] is errors[2] is None and "50 steps in a row" in str(errors[1])
  )
  assert [plain(beside[0]), plain(beside[2])] == [*map(plain, alone)]
  assert 80 <= bad.steps("train/loss")[-1] < 83 and bad.taken < 90
  assert bad.saves[-1][0] <= 80


def test_all_that_blow_up_end():
  runs = [Run(bad=lambda step: step > 3), Run(bad=lambda step: step > 30)]
  ends, _ = together(runs, budget(10**6), [START] * 2)
  assert all(run.error for _, run in ends) and max(run.taken for run in runs) < 90
