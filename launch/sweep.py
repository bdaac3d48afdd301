"""Sweeps: many runs of an experiment, on this machine or a cluster.

  python -m launch.sweep experiments.charlm --cell=rnn,gru,lstm --clip_norm=log:0.1:10:5
  python -m launch.sweep experiments.charlm --search=tpe --trials=40 --prune \
    --learning_rate=log:1e-4:1e-1 --hidden=logint:32:256 --steps=1000

Flags of the sweep are those below; all others are the experiment's. One with a list or
a range of values is swept (see launch/space.py for how they are written). The same
command with the same --sweepdir goes on where a sweep was stopped or killed.
"""

import importlib.util
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import flags

from launch import describe, driver, engines, paths, plan, space, study
from launch.cores import cores
from launch.main import run_main
from unroll.errors import BadInput

FLAGS = flags.FLAGS

flags.DEFINE_enum("search", "grid", list(study.SEARCHES), "how trials are chosen")
flags.DEFINE_integer("trials", None, "of a search", lower_bound=1)
flags.DEFINE_integer("seeds", 1, "runs of each trial, from --seed up", lower_bound=1)
flags.DEFINE_list(
  "objective",
  [],
  "numbers of a run's summary; the first decides; one with a minus is to be high; "
  "empty: what chooses the best checkpoint of a run",
)
flags.DEFINE_bool("prune", False, "stops trials that fall behind the median")
flags.DEFINE_list(
  "together", [], "flags, of seed, learning_rate, clip_norm: one program runs them all"
)
paths.DEFINE_path("sweepdir", "", "the sweep's folder; new under runs/ if empty")
flags.DEFINE_enum("on", "local", ["local", "ray", "slurm"], "where the workers run")
flags.DEFINE_integer(
  "workers", None, "at work at once; this machine's cores if not given", lower_bound=1
)
flags.DEFINE_integer(
  "cores", None, "of a worker; not given: what the machine has, shared", lower_bound=1
)
flags.DEFINE_string("address", "", "of a Ray cluster; empty: Ray on this machine alone")
flags.DEFINE_string("slurm", "", "options of sbatch, as in partition=main,time=60")
paths.DEFINE_path(
  "storage",
  "",
  "of the trials: a journal file, sqlite:///FILE or postgresql+psycopg://…, of which "
  "nothing is run, whoever may write there; empty: a SQLite file in the folder",
)
flags.DEFINE_float(
  "grace", 60.0, "seconds without a sign of life, until a worker counts as dead"
)
flags.DEFINE_bool("dry_run", False, "prints the commands of the runs, and runs none")


def main(arguments: Sequence[str]) -> None:
  """Runs the sweep of a command line: the experiment, then its flags."""
  if not arguments or arguments[0].startswith("-"):
    raise BadInput(
      "what is to be run comes first: python -m launch.sweep experiments.charlm "
      "--cell=gru,lstm"
    )
  sweep(arguments[0], [list(arguments[1:])])


def named(experiment: str, lines: Sequence[str], **flags: Any) -> NoReturn:
  """The main function of a sweep that has a file of its own.

  Args:
    experiment: the module.
    lines: its flags, each line a grid; what the command line gives takes precedence.
    **flags: of the sweep, likewise.
  """
  for name, value in flags.items():
    FLAGS.set_default(name, value)

  def main(arguments: Sequence[str]) -> None:
    given = {argument.partition("=")[0] for argument in arguments}
    sweep(
      experiment,
      [
        [*(a for a in line.split() if a.partition("=")[0] not in given), *arguments]
        for line in lines
      ],
    )

  run_main(main)


def sweep(experiment: str, lines: Sequence[Sequence[str]]) -> None:
  """Runs a sweep.

  Args:
    experiment: the module.
    lines: flags of the experiment, each line a grid; a search takes one line.

  Raises:
    BadInput: for anything that cannot be run as it is asked for.
  """
  known, objective = describe.description(experiment)
  lines = [[describe.named(argument, known) for argument in line] for line in lines]
  objectives = FLAGS.objective or [objective]
  wanted = _plan(experiment, [space.read(line) for line in lines], objectives)
  stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
  folder = plan.Folder(Path(FLAGS.sweepdir or Path("runs", "sweeps", stamp)))
  if FLAGS.dry_run:
    print("\n".join(describe.commands(wanted, folder)))
    return
  folder.path.parent.mkdir(parents=True, exist_ok=True)
  chosen = folder.begin(wanted)
  with folder.locked("driver", wait=False) as alone:
    if not alone:
      raise BadInput(
        f"--sweepdir={folder.path} is being worked on by another launch.sweep: wait "
        "for it, or stop it"
      )
    driver.drive(
      chosen,
      folder,
      engines.named_engine(
        FLAGS.on, cores=FLAGS.cores, address=FLAGS.address, slurm=FLAGS.slurm
      ),
      workers=_workers(chosen),
      cores=_cores_of_a_worker(chosen),
      grace=FLAGS.grace,
      tests=bool(known.get("mode")),
    )


def installed(search: str) -> None:
  """Refuses a search that needs a package which is not there.

  Raises:
    BadInput: that says how to install it.
  """
  if search == "gp" and not importlib.util.find_spec("torch"):
    raise BadInput(
      "--search=gp fits its Gaussian process with PyTorch, which is not installed "
      "here: pip install -e '.[gp]' brings it, or search with tpe"
    )


def _plan(
  experiment: str, lines: Sequence[space.Space], objective: Sequence[str]
) -> plan.Plan:
  search = FLAGS.search
  if search == "grid":
    if FLAGS.trials is not None:
      raise BadInput(
        "--trials is for a search, and a grid has as many as it has points"
      )
    fixed, points = space.merged(lines)
    names = list(dict.fromkeys(name for point in points for name in point))
    swept: dict[str, space.Domain] = {
      name: space.Choice(tuple(dict.fromkeys(p[name] for p in points if name in p)))
      for name in names
    }
    trials = len(points)
  else:
    [line] = lines
    fixed, swept, points = dict(line.fixed), dict(line.swept), []
    if not swept:
      raise BadInput(f"--search={search} has nothing to vary: list values of a flag")
    ranges = any(isinstance(domain, space.Range) for domain in swept.values())
    if search == "cmaes" and not ranges:
      raise BadInput(
        "--search=cmaes draws numbers: give a range, as in --clip_norm=log:0.1:10"
      )
    installed(search)
    trials = FLAGS.trials or 20
  if (several := len(objective) > 1) and search in ("cmaes", "hyperband"):
    raise BadInput(f"--search={search} takes one --objective, not {len(objective)}")
  if several and FLAGS.prune:
    raise BadInput("--prune takes one --objective: drop one or the other")
  if "seed" in swept and FLAGS.seeds > 1:
    raise BadInput("--seed is swept, and --seeds repeats a trial: give one of them")
  if strange := sorted({"workdir", "json", "mode", "arms"} & {*fixed, *swept}):
    raise BadInput(f"--{strange[0]} is for the sweep to set: drop it")
  if loose := sorted(set(FLAGS.together) - {*swept, "seed"}):
    raise BadInput(f"--together={loose[0]}: that flag is not swept; drop it")
  if FLAGS.together and (FLAGS.prune or search == "hyperband"):
    raise BadInput("runs that are --together end together: drop it, or the pruning")
  start = fixed.pop("seed", "0")
  if not start.isdecimal():
    raise BadInput(f"--seed={start}: give a whole number")
  return plan.Plan(
    experiment=experiment,
    fixed=fixed,
    space=swept,
    points=points,
    search=search,
    trials=trials,
    seeds=[] if "seed" in swept else [int(start) + n for n in range(FLAGS.seeds)],
    objective=[name.removeprefix("-") for name in objective],
    maximize=[name.startswith("-") for name in objective],
    prune=FLAGS.prune,
    together=FLAGS.together,
    storage=FLAGS.storage,
    study=f"sweep-{secrets.token_hex(8)}",
  )


def _workers(chosen: plan.Plan) -> int:
  if FLAGS.workers:
    return FLAGS.workers
  if FLAGS.on == "local" and chosen.together:
    return 1  # whose runs are spread over all cores
  return len(cores())


def _cores_of_a_worker(chosen: plan.Plan) -> int:
  if FLAGS.cores:
    return FLAGS.cores
  return max(len(cores()) // _workers(chosen), 1) if FLAGS.on == "local" else 1


if __name__ == "__main__":
  run_main(main)
