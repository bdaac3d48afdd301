"""The page of transcription, as commands: trained, resumed, evaluated, used."""

import json
import shutil

import numpy as np
import pytest
from commands import run
from scipy.io import wavfile

from unroll.checkpoint import sealed, steps
from unroll.data.examples import Examples
from unroll.data.speech.dictation import Sounds
from unroll.data.speech.reader import Reader
from unroll.loading import load
from unroll.models.decoders import Decoders
from unroll.records import METRICS, read
from unroll.settings import described

TONES = {"do": 400, "re": 900, "mi": 1700}
SMALL = [
  *("--data=said.csv", "--cell=gru", "--layers=1", "--hidden=12", "--batch=8"),
  *("--buckets=1", "--bands=12", "--learning_rate=0.02"),
]


def said(folder, name, size, seed):
  """A table of tones, each of a length of its own, with silence between."""
  draw = np.random.default_rng(seed)
  lines = ["file,text"]
  for number in range(size):
    words = draw.choice(list(TONES), draw.integers(1, 4))
    parts = []
    for word in words:
      times = np.arange(draw.integers(700, 1200)) / 8000
      parts += [np.sin(2 * np.pi * TONES[word] * times), np.zeros(400)]
    file = f"{name}{number}.wav"
    wavfile.write(folder / file, 8000, np.concatenate(parts).astype(np.float32))
    lines.append(f"{file},{' '.join(words)}")
  (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


ATTENTION = [
  *(*SMALL, "--alignment=attention", "--embedding=8", "--hidden=24", "--bridge=zero"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A run in a folder with the sounds that it learned from."""
  folder = tmp_path_factory.mktemp("transcribe")
  said(folder, "said", 60, 1)
  said(folder, "test", 12, 2)
  flags = [*SMALL, "--val=test.csv", "--steps=60", "--eval_every=30", "--workdir=run"]
  done = run(folder, "transcribe", *flags, "--json")
  assert done.code == 0, done.err
  (folder / "out").write_text(done.out)
  return folder


@pytest.fixture(scope="module")
def attends(folder):
  """A run of a decoder that attends, in the same folder, with what it printed."""
  flags = ["--val=test.csv", "--steps=300", "--eval_every=100", "--workdir=attends"]
  done = run(folder, "transcribe", *ATTENTION, *flags, "--json")
  assert done.code == 0, done.err
  return done


@pytest.mark.slow
def test_a_decoder_says_how_well_it_hears_and_draws_where_it_looked(folder, attends):
  for text in ("label error rate", "nats a label", "\nval: ", "heard: "):
    assert text in attends.out
  for name in ("curves.png", "report.html", "speech.json", "attention.png"):
    assert (folder / "attends" / name).is_file()
  assert attends.json["val/label_error"] < 0.1
  flags = ["--mode=eval", "--workdir=attends", "--json"]
  found = run(folder, "transcribe", *flags).json
  name = "best/val/label_error"
  assert found["val/label_error"] == pytest.approx(attends.json[name], rel=1e-5)
  assert run(folder, "transcribe", *flags, "--beams=3").code == 0


@pytest.mark.slow
def test_a_decoder_writes_sounds_down(folder, attends):
  lines = (folder / "test.csv").read_text().splitlines()[1:4]
  files, texts = zip(*(line.split(",") for line in lines))
  flags = ["--mode=transcribe", "--workdir=attends", f"--input={','.join(files)}"]
  done = run(folder, "transcribe", *flags, "--json")
  assert done.code == 0, done.err
  assert done.out.splitlines()[:3] == [
    f"{file}\t{text}" for file, text in zip(files, texts)
  ]
  several = run(folder, "transcribe", *flags, "--beams=3", "--best=2", "--json")
  assert [len(line.split("\t")) for line in several.out.splitlines()[:6]] == [3] * 6
  for row, text in zip(several.json["transcripts"], texts):
    first, second = row["hypotheses"]
    assert row["text"] == first["text"] == text
    assert first["log_prob"] > second["log_prob"]
  model = load(folder / "attends")
  reader = Reader.from_json(model.files["speech.json"])
  steps = reader.sequence(wavfile.read(folder / files[0])[1])
  tokens = np.array([*reader.numbers(texts[0].split(), files[0]), 0])
  given = Sounds(steps[:, None], np.ones((len(steps), 1), bool))
  ones = np.ones((len(tokens), 1), bool)
  examples = Examples(given, tokens[:, None], ones.astype(np.float32), ones)
  carry = model.initial_carry(model.params, 1)
  _, logits = model.apply(model.params, carry, examples)
  np.testing.assert_array_equal(np.asarray(logits)[:, 0].argmax(-1), tokens)


@pytest.mark.slow
def test_a_run_that_names_no_alignment_is_of_ctc(folder, tmp_path):
  young = ("alignment", *described(Decoders))
  shutil.copytree(folder / "run", tmp_path / "old")
  for file in tmp_path.rglob("*.json"):
    config = json.loads(file.read_text())
    if "flags" in config:
      config["flags"] = {k: v for k, v in config["flags"].items() if k not in young}
      file.write_text(json.dumps(config))
  assert load(tmp_path / "old").module.classes == len(TONES) + 1


@pytest.mark.slow
def test_a_run_says_how_well_it_hears(folder):
  out = (folder / "out").read_text()
  for text in (
    "label error rate",
    "nats a label",
    "val, greedy",
    "val, beam",
    "heard: ",
  ):
    assert text in out
  for name in ("curves.png", "report.html", "speech.json"):
    assert (folder / "run" / name).is_file()
  assert json.loads(out.splitlines()[-1])["val/label_error"] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--decoder=beam", "--beams=4"]])
def test_sounds_are_written_down(folder, flags):
  flags = ["--mode=transcribe", "--workdir=run", *flags]
  lines = (folder / "test.csv").read_text().splitlines()[1:4]
  files, texts = zip(*(line.split(",") for line in lines))
  done = run(folder, "transcribe", *flags, f"--input={','.join(files)}", "--json")
  assert done.code == 0, done.err
  assert done.out.splitlines()[:3] == [
    f"{file}\t{text}" for file, text in zip(files, texts)
  ]
  assert [row["text"] for row in done.json["transcripts"]] == list(texts)
  piped = run(folder, "transcribe", *flags, stdin="\n".join(files).encode())
  assert piped.out.splitlines() == done.out.splitlines()[:3]


@pytest.mark.slow
def test_a_loaded_run_hears_as_the_page_does(folder):
  model = load(folder / "run")
  reader = Reader.from_json(model.files["speech.json"])
  rate, sound = wavfile.read(folder / "test0.wav")
  steps = reader.sequence(sound)[:, None]
  carry = model.initial_carry(model.params, 1)
  _, logits = model.apply(model.params, carry, steps)
  assert rate == 8000 and logits.shape == (len(steps), 1, len(TONES) + 1)
  path = np.asarray(logits)[:, 0].argmax(-1)
  merged = [one for one, before in zip(path, [0, *path]) if one and one != before]
  text = (folder / "test.csv").read_text().splitlines()[1].split(",")[1]
  assert reader.text(merged) == text


@pytest.mark.slow
def test_a_run_is_evaluated_as_it_was_while_it_trained(folder):
  found = run(folder, "transcribe", "--mode=eval", "--workdir=run", "--json").json
  best = [row for row in read(folder / "run" / METRICS) if "val/exact" in row]
  wanted = next(row for row in best if row["step"] == found["step"])
  for name in ("label_error", "exact", "loss"):
    assert found[f"val/{name}"] == pytest.approx(wanted[f"val/{name}"], rel=1e-5)


def left(run):
  """The log but for the times, and the digests of the newest checkpoint."""
  times = {"seconds", "start_seconds", "labels_per_second"}
  rows = [{k: row[k] for k in row.keys() - times} for row in read(run / METRICS)]
  log = [row for row in rows if row.keys() != {"step"}]
  newest = (run / "checkpoints" / str(steps(run / "checkpoints")[-1])).absolute()
  return log, newest.name, sealed.content(newest)["digests"]


@pytest.mark.slow
@pytest.mark.parametrize(
  "flags",
  [
    [],
    ["--nobidirectional", "--units=char"],
    ["--alignment=attention", "--coverage", "--nobidirectional", "--bridge=copy"],
    ["--alignment=attention", "--teacher_forcing=0.5", "--fed=drawn"],
  ],
)
def test_two_steps_and_two_more_are_four(folder, flags, tmp_path):
  flags = [*SMALL, *flags, "--dropout=0.3", "--eval_every=1", "--seed=3"]
  for last, name in ((4, "whole"), (2, "cut"), (4, "cut")):
    at = f"--workdir={tmp_path / name}"
    done = run(folder, "transcribe", *flags, f"--steps={last}", at)
    assert done.code == 0, done.err
  assert "at step 2" in done.err
  log, step, digests = left(tmp_path / "whole")
  assert left(tmp_path / "cut") == (log, step, digests)
  assert step == "4" and sum("val/exact" in row for row in log) == 4 and digests


@pytest.mark.slow
def test_arms_train_side_by_side(folder):
  arms = [{"workdir": f"arm{n}", "flags": {"seed": n}} for n in (1, 2)]
  (folder / "arms.json").write_text(json.dumps(arms))
  done = run(folder, "transcribe", *SMALL, "--steps=2", "--arms=arms.json", "--json")
  assert done.code == 0, done.err
  assert all("val/label_error" in one for one in done.json)


@pytest.mark.slow
@pytest.mark.parametrize(
  "flags, said",
  [
    (["--data=none.csv"], "none.csv cannot be read"),
    (["--min_digits=9"], "--min_digits=9 is more than --max_digits=7: give fewer"),
    ([*SMALL, "--remat=sqrt"], "--remat=sqrt with --bidirectional"),
    ([*SMALL, "--window=3"], "--window=3 says nothing to --alignment=ctc: drop it"),
    ([*SMALL, "--best=2"], "--best=2 says nothing to --alignment=ctc: drop it"),
    ([*SMALL, "--teacher_forcing=0.5"], "--teacher_forcing=0.5 says nothing to"),
    ([*ATTENTION, "--decoder=beam"], "--decoder=beam says nothing to --alignment="),
    ([*ATTENTION, "--best=2"], "--best=2 is more than --beams=1 can find"),
    ([*ATTENTION, "--remat=sqrt"], "--remat=sqrt: an encoder before a decoder"),
    ([*ATTENTION, "--bridge=copy"], "--bridge=copy with --bidirectional"),
    (
      ["--mode=transcribe", "--workdir=run", "--input=said.csv"],
      "said.csv cannot be read as a WAVE file",
    ),
  ],
)
def test_bad_flags_end_in_one_sentence(folder, flags, said):
  done = run(folder, "transcribe", *flags)
  assert done.code == 2 and said in done.err and done.err.count("\n") == 1, done.err
