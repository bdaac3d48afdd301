"""The page of music, as commands: trained on MIDI files, resumed, evaluated, played."""

import json

import jax
import numpy as np
import pytest

from tests.commands import run
from unroll.checkpoint import sealed, steps
from unroll.data.music import midi, rolls
from unroll.loading import load
from unroll.records import METRICS, read

SMALL = ["--layers=1", "--hidden=8", "--batch=4", "--cell=gru"]


def melody(number, length=12):
  """A melody of its own on the white keys of an octave, over a bass that is held."""
  keys = np.zeros((length, 88), np.uint8)
  scale = np.array([0, 2, 4, 5, 7, 9, 11])
  walk = (number + np.cumsum(np.random.default_rng(number).integers(-1, 2, length))) % 7
  keys[np.arange(length), scale[walk] + 60 - 21] = 1
  keys[:, 48 - 21] = 1
  return keys


@pytest.fixture(scope="module")
def tunes(tmp_path_factory):
  """A folder with a folder of MIDI files in it."""
  folder = tmp_path_factory.mktemp("music")
  (folder / "tunes").mkdir()
  for number in range(20):
    path = folder / "tunes" / f"{number}.mid"
    midi.write(path, rolls.piece(melody(number, 8 + number % 2), 2), 100)
  return folder


@pytest.fixture(scope="module")
def folder(tunes):
  """The folder, with a run of 12 steps in it."""
  folder = tunes
  flags = ["--scores=tunes", "--grid=2", *SMALL, "--steps=12", "--eval_every=6"]
  more = ["--learning_rate=3e-2", "--length=10", "--workdir=run", "--json"]
  done = run(folder, "music", *flags, *more)
  assert done.code == 0, done.err
  (folder / "out").write_text(done.out)
  return folder


@pytest.mark.slow
def test_a_run_says_how_likely_music_is_and_plays(folder):
  out = (folder / "out").read_text()
  for text in ("validation: loss", "nats a step", "mean of pieces", "first steps"):
    assert text in out
  assert "each key by its last step" in out
  for name in ("sample.mid", "sample.png", "curves.png", "report.html"):
    assert (folder / "run" / name).is_file()
  assert 'href="sample.mid"' in (folder / "run" / "report.html").read_text()


def sampled(folder, *flags):
  done = run(folder, "music", "--mode=sample", "--workdir=run", *flags, "--json")
  assert done.code == 0, done.err
  return done.json["samples"]


@pytest.mark.slow
def test_a_sample_goes_on_from_a_primer_at_the_tempo_asked_for(folder):
  flags = ["--primer=tunes/3.mid", "--primer_steps=6", "--length=9", "--tempo=77"]
  flags += ["--output=played/a.mid", "--samples=2"]
  (folder / "played").mkdir()
  made = sampled(folder, *flags)
  assert [one["file"] for one in made] == [f"played/a-{n}.mid" for n in (1, 2)]
  found = []
  for one in made:
    data = (folder / one["file"]).read_bytes()
    assert b"\xff\x51\x03" + round(60e6 / 77).to_bytes(3, "big") in data
    assert (folder / one["file"]).with_suffix(".png").is_file()
    piece = midi.read(folder / one["file"])
    assert piece.end * 2 == 15 * piece.per_beat
    assert one["steps"] == 15 and one["notes"] == len(piece.notes)
    found.append(rolls.roll(piece, 2, "played")[0])
  primer = rolls.roll(midi.read(folder / "tunes" / "3.mid"), 2, "primer")[0][:6]
  for keys in found:
    np.testing.assert_array_equal(keys[:6], primer)
  assert found[0][6:].tobytes() != found[1][6:].tobytes()


@pytest.mark.slow
def test_a_sample_depends_on_its_seed(folder):
  rows = []
  for seed in (1, 2, 1):
    sampled(folder, f"--seed={seed}", "--output=one.mid", "--length=20")
    rows.append((folder / "one.mid").read_bytes())
  assert rows[0] == rows[2] != rows[1]


@pytest.mark.slow
def test_a_run_is_evaluated_and_opened(folder):
  done = run(folder, "music", "--mode=eval", "--workdir=run", "--json")
  found = done.json
  names = {f"{part}/{name}" for part in ("val", "test") for name in ("loss", "pieces")}
  assert names <= found.keys() and "test/loss_whole" in found
  out = (folder / "out").read_text()
  assert f"{found['test/loss']:10.4f} {found['test/pieces']:15.4f}" in out
  model = load(folder / "run")
  keys = melody(1)[:, None].astype(np.float32)
  step_of = jax.jit(model.step)
  _, whole = model.apply(model.params, model.initial_carry(model.params, 1), keys)
  again = model.initial_carry(model.params, 1)
  for now, logits in zip(keys, whole):
    again, step = step_of(model.params, again, now)
    np.testing.assert_allclose(step, logits, rtol=1e-4, atol=1e-5)


def left(run):
  """The log but for the times, and the digests of the newest checkpoint."""
  times = {"seconds", "start_seconds", "frames_per_second"}
  rows = [{k: row[k] for k in row.keys() - times} for row in read(run / METRICS)]
  log = [row for row in rows if row.keys() != {"step"}]
  newest = (run / "checkpoints" / str(steps(run / "checkpoints")[-1])).absolute()
  return log, newest.name, sealed.content(newest)["digests"]


@pytest.mark.slow
def test_two_steps_and_two_more_are_four(folder):
  flags = ["--scores=tunes", *SMALL, "--dropout=0.3", "--ema=0.9", "--eval_every=1"]
  for last, name in ((4, "whole"), (2, "cut"), (4, "cut")):
    done = run(folder, "music", *flags, f"--steps={last}", f"--workdir={name}")
    assert done.code == 0, done.err
  assert "resumed cut at step 2" in done.err
  log, step, digests = left(folder / "whole")
  assert left(folder / "cut") == (log, step, digests)
  assert step == "4" and sum("train/loss" in row for row in log) == 4 and digests


@pytest.mark.slow
def test_arms_are_the_runs_alone(folder):
  arms = [{"workdir": f"a{seed}", "flags": {"seed": seed}} for seed in (0, 1)]
  (folder / "arms.json").write_text(json.dumps(arms))
  flags = ["--scores=tunes", *SMALL, "--steps=3", "--eval_every=3"]
  done = run(folder, "music", *flags, "--arms=arms.json")
  assert done.code == 0, done.err
  assert run(folder, "music", *flags, "--seed=1", "--workdir=b1").code == 0
  assert left(folder / "a1")[0][-1] == pytest.approx(
    left(folder / "b1")[0][-1], rel=1e-4
  )


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["--scores=moon"], "--scores=moon is neither a folder"),
    (["--scores=.", "--split=0.5,0.6"], "--split=0.5,0.6: fractions"),
    (["--scores=empty"], "empty has no MIDI files"),
    (["--scores=cut"], ".mid is cut off: track 1 has"),
    (["--primer=none.mid"], "none.mid cannot be read"),
    (["--output=sample.wav"], "--output=sample.wav: give the name of a .mid file"),
    (["--tempo=3"], "--tempo=3"),
    (["--grid=97"], "--grid=97"),
    (["--temperature=1e-40"], "--temperature=1e-40"),
    (["--mode=sample"], "--mode=sample needs --workdir"),
  ],
)
def test_bad_flags_end_in_one_sentence(tunes, flags, said):
  (tunes / "empty").mkdir(exist_ok=True)
  (tunes / "cut").mkdir(exist_ok=True)
  whole = midi.encoded(rolls.piece(melody(0), 2), 90)
  for number in range(10):
    (tunes / "cut" / f"{number}.mid").write_bytes(whole[:-5])
  scores = [] if flags[0].startswith("--scores") else ["--scores=tunes"]
  done = run(tunes, "music", *scores, *SMALL, *flags)
  assert done.code == 2, done.out
  assert said in done.err and done.err.count("\n") == 1, done.err
