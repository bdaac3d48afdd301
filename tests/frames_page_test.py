"""The page of video, as commands: trained, resumed, evaluated, its frames predicted."""

import json

import numpy as np
import pytest
from commands import run

from experiments.parts import rollouts
from unroll.checkpoint import sealed, steps
from unroll.data.video.moving import EVALUATION, Moving
from unroll.loading import load
from unroll.records import METRICS, read
from unroll.report import clips as pictures

SMALL = ["--layers=1", "--channels=4", "--batch=4", "--size=8", "--patch=2"]
SHORT = ["--context=3", "--horizon=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A folder with a run of 12 steps, what its command wrote, and frames in files."""
  folder = tmp_path_factory.mktemp("frames")
  flags = [*SMALL, *SHORT, "--shapes=1", "--steps=12", "--eval_every=6"]
  done = run(folder, "frames", *flags, "--workdir=run", "--json")
  assert done.code == 0, done.err
  draw = np.random.default_rng(0)
  np.savez(folder / "some.npz", draw.integers(256, size=(6, 7, 8, 8), dtype=np.uint8))
  np.savez(folder / "wide.npz", np.zeros((2, 3, 8, 9)))
  np.savez(folder / "colour.npz", draw.random((10, 9, 4, 6, 3), np.float32))
  return folder, done


def moved(seed, batches=4):
  return Moving(8, 1, 64, 5, horizon=2, seed=seed, batches=batches)


@pytest.mark.slow
def test_copying_stands_beside_every_result(folder):
  folder, done = folder
  found = {"ahead": [], "next": []}
  for batch in moved(EVALUATION):
    xs = batch.frames
    found["next"] += np.square(np.diff(xs, axis=0)).sum((2, 3, 4)).ravel().tolist()
    found["ahead"] += np.square(xs[3:] - xs[2]).sum((2, 3, 4)).ravel().tolist()
  for name, errors in found.items():
    copied = done.json[f"val/copied_{name}"]
    assert copied == pytest.approx(np.mean(errors), rel=1e-5)
    assert f"{copied:.2f} by copying" in done.out
  share = done.json["val/ahead"] / done.json["val/copied_ahead"]
  assert done.json["val/of_copied"] == pytest.approx(share, rel=1e-5)
  assert "test, squared error a frame" in done.out
  for name in ("curves.png", "errors.png", "predicted.png", "report.html"):
    assert (folder / "run" / name).is_file()


@pytest.mark.slow
def test_a_run_is_evaluated_and_opened(folder):
  folder, done = folder
  found = run(folder, "frames", "--mode=eval", "--workdir=run", "--json").json
  best = done.json["best/val/ahead"]
  assert found["val/ahead"] == pytest.approx(best, rel=1e-5)
  assert found["test/copied_ahead"] != found["val/copied_ahead"]
  model = load(folder / "run")
  errors = []
  for batch in moved(EVALUATION):
    carry, xs = model.initial_carry(model.params, 64), batch.frames
    carry, logits = model.apply(model.params, carry, xs[:3])
    for truth in xs[3:]:
      frame = 1 / (1 + np.exp(-np.asarray(logits[-1])))
      errors += np.square(frame - truth).sum((1, 2, 3)).tolist()
      carry, logits = model.apply(model.params, carry, frame[None])
  assert np.mean(errors) == pytest.approx(best, rel=1e-4)
  _, step = model.step(model.params, model.initial_carry(model.params, 64), xs[0])
  assert step.shape == (64, 8, 8, 1)


def predict(folder, *flags):
  done = run(folder, "frames", "--mode=predict", "--workdir=run", *flags)
  assert done.code == 0, done.err
  return done


@pytest.mark.slow
def test_predictions_are_drawn_and_written(folder):
  folder, _ = folder
  done = predict(folder, "--output=a.png")
  assert "a.png: 2 frames ahead, 1 moving shapes, test" in done.out
  png = (folder / "a.png").read_bytes()
  assert png[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(png[16:20], "big") == 1200
  predict(folder, "--output=all.npz")
  with np.load(folder / "all.npz") as file:
    assert file["frames"].shape == (256, 2, 8, 8, 1)
  predict(folder, "--output=b.npz", "--input=some.npz", "--horizon=4")
  predict(folder, "--output=b.png", "--input=some.npz", "--horizon=4")
  with np.load(folder / "b.npz") as file, np.load(folder / "some.npz") as given:
    ahead, xs = file["frames"], np.float32(given["arr_0"])[..., None] / 255
  assert ahead.shape == (6, 4, 8, 8, 1)
  model = load(folder / "run")
  carry = model.initial_carry(model.params, 6)
  carry, logits = model.apply(model.params, carry, np.moveaxis(xs, 1, 0))
  for frame in np.moveaxis(ahead, 1, 0):
    own = 1 / (1 + np.exp(-np.asarray(logits[-1])))
    np.testing.assert_allclose(frame, own, atol=1e-5)
    carry, logits = model.apply(model.params, carry, own[None])


def left(run):
  """The log but for the times, and the digests of the newest checkpoint."""
  times = {"seconds", "start_seconds", "frames_per_second"}
  rows = [{k: row[k] for k in row.keys() - times} for row in read(run / METRICS)]
  log = [row for row in rows if row.keys() != {"step"}]
  newest = (run / "checkpoints" / str(steps(run / "checkpoints")[-1])).absolute()
  return log, newest.name, sealed.content(newest)["digests"]


@pytest.mark.slow
@pytest.mark.parametrize("data", ["moving", "colour.npz"])
def test_two_steps_and_two_more_are_four(folder, data):
  folder, _ = folder
  flags = [*SHORT, "--layers=1", "--channels=3", "--batch=4", "--patch=2"]
  flags += ["--eval_every=1", "--seed=3", "--cell=conv_gru"]
  flags += ["--size=8"] if data == "moving" else [f"--data={data}", "--noforced"]
  for last, name in ((4, "whole"), (2, "cut"), (4, "cut")):
    workdir = f"--workdir={name}-{data}"
    done = run(folder, "frames", *flags, f"--steps={last}", workdir)
    assert done.code == 0, done.err
  assert f"resumed cut-{data} at step 2" in done.err
  log, step, digests = left(folder / f"whole-{data}")
  assert left(folder / f"cut-{data}") == (log, step, digests)
  assert step == "4" and sum("train/loss" in row for row in log) == 4 and digests


@pytest.mark.slow
def test_arms_are_the_runs_alone(folder):
  folder, _ = folder
  arms = [{"workdir": f"arm{n}", "flags": {"seed": n}} for n in (0, 1)]
  (folder / "arms.json").write_text(json.dumps(arms))
  flags = [*SMALL, *SHORT, "--steps=3"]
  done = run(folder, "frames", *flags, "--arms=arms.json", "--json")
  assert done.code == 0, done.err
  alone = run(folder, "frames", *flags, "--seed=1", "--workdir=c", "--json")
  assert done.json[1]["val/ahead"] == pytest.approx(alone.json["val/ahead"], rel=1e-4)
  assert done.json[0]["val/ahead"] != done.json[1]["val/ahead"]


@pytest.mark.slow
def test_a_model_beats_copying(tmp_path):
  flags = ["--size=8", "--patch=2", "--layers=1", "--channels=24", "--shapes=1"]
  flags += [*SHORT, "--learning_rate=5e-3", "--steps=400", "--schedule=cosine"]
  done = run(tmp_path, "frames", *flags, "--workdir=run", "--json")
  assert done.json["val/of_copied"] < 0.5


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["--data=none.npz"], "none.npz cannot be read (No such file"),
    (["--data=wide.npz"], "--split=0.8,0.1,0.1 of the 2 sequences of wide.npz leaves"),
    (["--data=some.npz", "--split=0.5,0.5"], "7 frames, fewer than --context=8 and"),
    (["--data=some.npz", "--size=9"], "--size=9 is of moving shapes, and --data=some"),
    (["--size=3"], "--size=3: moving shapes need 4"),
    (["--size=9", "--patch=2"], "--patch=2 does not divide frames of 9 by 9"),
    (["--cell=lstm"], "--cell=lstm"),
    (["--cell=conv_gru", "--peepholes"], "peepholes with --cell=conv_gru: they are"),
    (["--channels=3,4,5"], "--channels=3,4,5 and --layers=2"),
    (["--mode=predict"], "--mode=predict needs --workdir"),
    (["--mode=predict", "--workdir=run", "--output=a.gif"], "--output=a.gif: give"),
    (["--mode=predict", "--workdir=run", "--input=wide.npz"], "(8, 9, 1), and the"),
    (["--mode=predict", "--workdir=run", "--size=9"], "--size"),
  ],
)
@pytest.mark.slow
def test_bad_flags_end_in_one_sentence(folder, flags, said):
  folder, _ = folder
  before = sorted(folder.iterdir())
  done = run(folder, "frames", *flags)
  assert done.code == 2, done.out
  assert said in done.err and done.err.count("\n") == 1, done.err
  assert sorted(folder.iterdir()) == before


SHAPES = {"grey": (5, 4, 6, 1), "long": (45, 3, 3, 1), "colour": (3, 4, 4, 3)}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", SHAPES)
def test_clips_of_every_shape_have_a_picture(tmp_path, name, known):
  frames = np.random.default_rng(0).random(SHAPES[name])
  truth, predicted = frames.copy(), frames.copy()
  predicted[0] = np.nan
  if not known:
    truth[2:] = np.nan
  shown = [pictures.Shown(truth, predicted)] * 2
  pictures.clips(shown, 2, "a $ title 温", tmp_path / "a.png")
  png = (tmp_path / "a.png").read_bytes()
  assert png[:8] == b"\x89PNG\r\n\x1a\n"
  assert int.from_bytes(png[16:20], "big") == 1200


def test_the_first_frame_is_predicted_by_nothing():
  class Model:
    """Of each frame it predicts a half, and of its own predictions a quarter."""

    def apply(self, params, xs, *horizon, method=None):
      logits = np.log(np.float32(1 / 3)) if method else np.float32(0)
      if method:
        return 0 * xs[-horizon[0] :] + logits
      return None, 0 * xs + logits

  clips = np.ones((5, 2, 3, 3, 1), np.float32)
  found = rollouts.predicted(Model(), {}, clips, 2)[:, 0, 0, 0, 0]
  np.testing.assert_allclose(found, [np.nan, 0.5, 0.5, 0.25, 0.25], rtol=1e-6)
