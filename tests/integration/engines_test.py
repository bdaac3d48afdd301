"""The law of engines, over all three: a command starts, is seen to run, stops, ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import free_ports, wait_until

from launch.engines import Engine, named_engine
from unroll.errors import BadInput

# Ray forks where other tests may have started JAX; what it forks is another program.
pytestmark = [
  pytest.mark.integration,
  pytest.mark.filterwarnings("ignore:os.fork"),
]

# Says where it is, and what it was told, and ends when a file appears or on SIGTERM.
COMMAND = """
import os, signal, sys, time
def told(number, frame):
  print("told", number, flush=True)
  time.sleep(0.5)  # a checkpoint
  print("saved", flush=True)
  sys.exit()
signal.signal(signal.SIGTERM, told)
print("here", os.getpid(), os.getcwd(), os.environ.get("COLOUR"), flush=True)
print("node", os.environ.get("SLURM_JOB_NODELIST"), file=sys.stderr, flush=True)
while not os.path.exists(sys.argv[1]):
  time.sleep(0.05)
print("done", flush=True)
"""


def command(until: Path) -> list[str]:
  return [sys.executable, "-c", COMMAND, str(until)]


def words(log: Path, first: str) -> list[list[str]]:
  """The lines of a log that begin with a word, without it."""
  lines = log.read_text().splitlines() if log.exists() else []
  split = [line.split() for line in lines]
  return [found[1:] for found in split if found[:1] == [first]]


def alive(process: int) -> bool:
  """Whether there is such a process, other than one that only waits to be reaped."""
  try:
    return (
      Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    )
  except OSError:
    return False


@pytest.fixture(params=["local", "ray", "slurm"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
  name, address, slurm = request.param, "", ""
  if name == "slurm":
    request.getfixturevalue("slurm")
    slurm = "partition=main,time=5"
  if name == "ray":
    address = request.getfixturevalue("raylets").address
  engine = named_engine(name, address=address, slurm=slurm)
  try:
    yield engine
  finally:
    engine.close()


def test_a_command_runs_to_its_end_as_here(engine, tmp_path, monkeypatch) -> None:
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("COLOUR", "blue")
  log, stop = tmp_path / "a 100% log.txt", tmp_path / "stop"
  log.write_text("before\n")
  process = engine.start(command(stop), log)
  assert process.running()
  [[_, *here]] = wait_until("it runs", lambda: words(log, "here"))
  assert here == [str(tmp_path), "blue"]
  assert words(log, "node")  # standard error is there as well
  assert process.running()
  stop.touch()
  wait_until("it has ended", lambda: not process.running())
  assert words(log, "done") and words(log, "before") == [[]]
  engine.close()
  assert not process.running()


def test_a_stopped_command_is_told_and_may_save(engine, tmp_path) -> None:
  log = tmp_path / "log"
  process = engine.start(command(tmp_path / "never"), log)
  [[pid, *_]] = wait_until("it runs", lambda: words(log, "here"))
  process.stop()
  wait_until("it has ended", lambda: not process.running())
  assert words(log, "told") == [[str(signal.SIGTERM.value)]]
  assert words(log, "saved") and not words(log, "done")
  assert not alive(int(pid))
  process.stop()  # once more harms nobody


def test_nothing_is_left_when_an_engine_closes(engine, tmp_path) -> None:
  logs = [tmp_path / f"{number}.log" for number in range(4)]  # two more than cores
  processes = [engine.start(command(tmp_path / "never"), log) for log in logs]
  wait_until("one runs", lambda: any(words(log, "here") for log in logs))
  assert all(process.running() for process in processes)
  engine.close()
  for log in logs:
    for pid, *_ in words(log, "here"):
      assert not alive(int(pid)) and words(log, "saved")
  assert not any(words(log, "done") for log in logs)


def test_a_command_that_kills_itself_has_ended(engine, tmp_path) -> None:
  log = tmp_path / "log"
  process = engine.start(command(tmp_path / "never"), log)
  [[pid, *_]] = wait_until("it runs", lambda: words(log, "here"))
  os.kill(int(pid), signal.SIGKILL)
  wait_until("it has ended", lambda: not process.running())


def test_a_killed_node_s_command_runs_again_on_another(raylets, tmp_path) -> None:
  engine = named_engine("ray", address=raylets.address)
  node = raylets.add()
  try:
    logs = [tmp_path / "0.log", tmp_path / "1.log"]
    stops = [tmp_path / "0.stop", tmp_path / "1.stop"]
    processes = [engine.start(command(s), log) for s, log in zip(stops, logs)]
    wait_until("both run", lambda: all(words(log, "here") for log in logs))
    pids = [int(words(log, "here")[0][0]) for log in logs]
    raylets.kill(node)
    wait_until("one is gone", lambda: sum(alive(pid) for pid in pids) == 1)
    [moved] = [number for number, pid in enumerate(pids) if not alive(pid)]
    assert all(process.running() for process in processes)
    stops[1 - moved].touch()
    wait_until("it runs again", lambda: len(words(logs[moved], "here")) == 2)
    stops[moved].touch()
    wait_until("both have ended", lambda: not any(p.running() for p in processes))
    assert all(len(words(log, "done")) == 1 for log in logs)
  finally:
    engine.close()


def test_a_cancelled_job_has_ended(slurm, tmp_path) -> None:
  engine = named_engine("slurm")
  try:
    logs = [tmp_path / f"{number}.log" for number in range(3)]
    processes = [engine.start(command(tmp_path / "stop"), log) for log in logs]
    wait_until("two run", lambda: sum(bool(words(log, "node")) for log in logs) == 2)
    nodes = {words(log, "node")[0][0] for log in logs if words(log, "node")}
    assert nodes == {"n1", "n2"}
    processes[2].stop()  # it is in the queue, where it leaves no trace
    wait_until("it has left the queue", lambda: not processes[2].running())
    subprocess.run(["scancel", "--name=0"], check=True)
    wait_until("the job has ended", lambda: not processes[0].running())
    assert processes[1].running()
    # As Slurm does before the time of a job is over: its first process alone is told.
    last_call = ["scancel", "--batch", "--signal=TERM", "--name=1"]
    subprocess.run(last_call, check=True)
    wait_until("the other has ended", lambda: not processes[1].running())
    assert [bool(words(log, "saved")) for log in logs] == [True, True, False]
  finally:
    engine.close()


@pytest.mark.parametrize("how", ["close", "kill"])
def test_a_ray_of_one_s_own_ends_with_the_driver(raylets, tmp_path, how: str) -> None:
  log = tmp_path / "log"
  driver = (
    "import pathlib, sys\n"
    "from launch.engines import named_engine\n"
    "engine = named_engine('ray')\n"
    "engine.start(sys.argv[2:], pathlib.Path(sys.argv[1]))\n"
    "input()\n"
    "engine.close()\n"
  )
  call = [sys.executable, "-c", driver, str(log), *command(tmp_path / "never")]
  with subprocess.Popen(call, stdin=subprocess.PIPE) as child:
    [[pid, *_]] = wait_until("it runs", lambda: words(log, "here"))
    if how == "kill":
      child.kill()
    else:
      child.communicate(b"\n", timeout=30)
  wait_until("its command has ended too", lambda: not alive(int(pid)))
  assert child.returncode == (0 if how == "close" else -signal.SIGKILL)
  assert how == "kill" or words(log, "saved")


def test_what_cannot_run_is_said_in_one_sentence(
  slurm, raylets, tmp_path, monkeypatch
) -> None:
  with pytest.raises(BadInput, match="is for --on=slurm, not --on=local: drop it"):
    named_engine("local", slurm="time=5")
  [port] = free_ports(1)
  with pytest.raises(BadInput, match=f"--address=127.0.0.1:{port}: no Ray cluster"):
    named_engine("ray", address=f"127.0.0.1:{port}")
  with pytest.raises(BadInput, match="partition has no value"):
    named_engine("slurm", slurm="partition")
  with pytest.raises(BadInput, match=r"sbatch refused the job: .*partition"):
    named_engine("slurm", slurm="partition=moon").start(["true"], tmp_path / "log")
  monkeypatch.setenv("PATH", "")
  with pytest.raises(BadInput, match="no squeue here"):
    named_engine("slurm")
  monkeypatch.delitem(sys.modules, "launch.engines.ray", raising=False)
  monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
  with pytest.raises(BadInput, match="needs the package ray: pip install -e"):
    named_engine("ray")
