"""Servers on this machine, each in a folder of its own, that end with the tests.

A skipped test says which program is missing; `packages.sh` installs those on Debian.
"""

import contextlib
import getpass
import glob
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from launch import tether

PATIENCE = 60.0  # seconds


def wait_until(what: str, holds: Callable[[], Any], within: float = PATIENCE) -> Any:
  """The first true answer; fails if there is none in so many seconds."""
  deadline = time.monotonic() + within
  while not (answer := holds()):
    assert time.monotonic() < deadline, f"waited {within:g} s until {what}"
    time.sleep(0.1)
  return answer


def program(name: str) -> str:
  """Where a program is, which Debian may have put where only root looks."""
  path = (
    os.environ["PATH"]
    + ":/usr/sbin"
    + "".join(
      f":{folder}" for folder in sorted(glob.glob("/usr/lib/postgresql/*/bin"))[::-1]
    )
  )
  if not (found := shutil.which(name, path=path)):
    pytest.skip(f"no {name} on this machine: tests/integration/packages.sh")
  return found


def free_ports(number: int) -> list[int]:
  """Ports of this machine that nobody listens on."""
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
    for one in sockets:
      one.bind(("127.0.0.1", 0))
    return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def daemon(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
  """A server in the foreground, which ends with the block, or with this process."""
  tethered = [sys.executable, tether.__file__, *command]
  with open(log, "ab") as output:
    child = subprocess.Popen(tethered, stdout=output, stderr=subprocess.STDOUT)
  try:
    yield child
  finally:
    child.terminate()
    try:
      child.wait(10)
    except subprocess.TimeoutExpired:
      child.kill()
      child.wait()


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
  """Variables for the length of a block."""
  before = {name: os.environ.get(name) for name in variables}
  os.environ.update(variables)
  try:
    yield
  finally:
    for name, value in before.items():
      os.environ.pop(name, None)
      if value is not None:
        os.environ[name] = value


@contextlib.contextmanager
def slurm() -> Iterator[Mapping[str, str]]:
  """A Slurm of two nodes with a core each, without systemd, cgroups and accounting."""
  daemons = {name: program(name) for name in ("munged", "slurmctld", "slurmd")}
  program("squeue")
  if os.getuid():
    pytest.skip("only root starts a Slurm")
  folder = Path(tempfile.mkdtemp(prefix="unroll-slurm-"))
  (folder / "state").mkdir()
  (folder / "key").write_bytes(secrets.token_bytes(128))
  (folder / "key").chmod(0o600)
  host, (control, *nodes) = socket.gethostname().split(".")[0], free_ports(3)
  conf = folder / "slurm.conf"
  conf.write_text(f"""
ClusterName=unroll
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=2,batch_sched_delay=0
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={nodes[0]} RealMemory=2000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={nodes[1]} RealMemory=2000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 State=UP
""")
  munge = [daemons["munged"], "--foreground", "--force", f"--key-file={folder}/key"]
  munge += [f"--{kind}-file={folder}/munge.{kind}" for kind in ("log", "pid", "seed")]
  with contextlib.ExitStack() as stack:
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    stack.enter_context(environment(SLURM_CONF=str(conf)))
    start = partial(_start, stack, folder / "log")
    start(*munge, f"--socket={folder}/munge")
    wait_until("munged listens", (folder / "munge").exists)
    start(daemons["slurmctld"], "-D", "-f", str(conf))
    for node in ("n1", "n2"):
      start(daemons["slurmd"], "-D", "-N", node, "-f", str(conf))
    idle = ["sinfo", "--noheader", "--Node", "--states=idle"]
    wait_until("both nodes are idle", lambda: len(_lines(idle)) == 2)
    stack.callback(subprocess.run, ["scancel", "--user=root", "--signal=KILL"])
    yield {"SLURM_CONF": str(conf)}


def _start(stack: contextlib.ExitStack, log: Path, *command: str) -> None:
  stack.enter_context(daemon(command, log))


def _lines(command: Sequence[str]) -> list[str]:
  return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
  """The URL of a PostgreSQL server, reached by a socket in its own folder alone."""
  initdb, postgres = program("initdb"), program("postgres")
  user, become = getpass.getuser(), list[str]()
  if os.getuid() == 0:  # which it refuses to run as
    user = next(
      (u.pw_name for u in pwd.getpwall() if u.pw_name == "postgres"), "nobody"
    )
    account = pwd.getpwnam(user)
    become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"]
    become += ["--clear-groups", "--pdeathsig=INT"]
  folder = Path(tempfile.mkdtemp(prefix="unroll-postgresql-"))
  data = folder / "data"
  with contextlib.ExitStack() as stack:
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    shutil.chown(folder, user)
    setup = [initdb, "--no-sync", "--auth=trust", "--username=unroll", str(data)]
    subprocess.run([*become, *setup], check=True, stdout=subprocess.DEVNULL, cwd="/")
    options = {
      "listen_addresses": "",
      "unix_socket_directories": folder,
      "fsync": "off",
    }
    serve = [postgres, "-D", str(data), *(f"--{k}={v}" for k, v in options.items())]
    with open(folder / "log", "ab") as output:
      server = subprocess.Popen(
        [*become, *serve], stdout=output, stderr=output, cwd="/"
      )
    stack.callback(server.wait, 10)
    stack.callback(server.send_signal, signal.SIGINT)  # disconnects who is there
    ready = [program("pg_isready"), "--quiet", f"--host={folder}"]
    wait_until("PostgreSQL is ready", lambda: subprocess.run(ready).returncode == 0)
    yield f"postgresql+psycopg://unroll@/postgres?host={folder}"


NODE = {"num_cpus": 1}  # of Ray


class Raylets:
  """A Ray cluster on the loopback device, whose nodes can be killed.

  Attributes:
    address: of its head, which is a node with one core itself.
  """

  def __init__(self) -> None:
    from ray.cluster_utils import Cluster

    # How soon the death of a node is noticed: a second, not half a minute.
    health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500}
    health |= {"health_check_failure_threshold": 3, "health_check_timeout_ms": 500}
    head = {**NODE, "include_dashboard": False, "_system_config": health}
    self._cluster = Cluster(initialize_head=True, head_node_args=head)
    self.address: str = self._cluster.address

  def add(self) -> Any:
    """One more node, with one core."""
    return self._cluster.add_node(**NODE)

  def kill(self, node: Any) -> None:
    """Kills all that Ray runs on a node, at once."""
    self._cluster.remove_node(node, allow_graceful=False)

  def close(self) -> None:
    """Ends every node."""
    self._cluster.shutdown()


@contextlib.contextmanager
def raylets() -> Iterator[Raylets]:
  """A Ray cluster of one node, to which others can be added."""
  folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a socket's path is short
  with contextlib.ExitStack() as stack:
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    stack.enter_context(environment(RAY_TMPDIR=folder, **token))
    pytest.importorskip("ray", reason="no Ray here: make test-integration")
    cluster = Raylets()
    stack.callback(cluster.close)
    yield cluster
