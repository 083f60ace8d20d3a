"""The paper's tables and figures, over people who have been personalized.

    python -m my3dgen_jax.launch.evaluate --runs=runs/obama,runs/beyonce \\
        --directions=smile.npy,age.npy --dists=checkpoints/dists --out=results

--runs: a folder of runs for each person (lora, full, and whatever else is to
be compared: other ranks, layouts, albums, weights of LPIPS), or a single run.
--directions: what table 4 edits along; default for people of the demo: their
smile without age, and age. Measurements are kept in --out, so a stopped
command goes on, and another person or table repeats nothing.
"""

import os
import pathlib
import platform
import subprocess
import sys
from typing import List, Tuple

import jax

from my3dgen_jax._version import __version__
from my3dgen_jax.apps.evaluation import evaluate, protocols
from my3dgen_jax.apps.evaluation.evaluate import EvaluateConfig, Runs
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.demo import edits
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli

_ALL = "all"

_RUNS = cli.listing("runs", [], "Folders, one a person.")
_OUT = cli.string("out", None, "Folder to write.")
_TABLES = cli.listing("tables", [_ALL], f"{_ALL}, or some of "
                      f"{', '.join(evaluate.TABLES)}.")
_PROTOCOL = cli.enum("protocol", "quick", list(protocols.PROTOCOLS), "full is "
                     "the paper's; quick looks at less, as the tables say.")
_SEED = cli.integer("seed", 0, "Of latents, views and pairs.", lower_bound=0)
_DIRECTIONS = cli.listing("directions", [], "Files (.npy) of table 4.")
_LPIPS = cli.string("lpips", None, "Folder of weights; default: the runs'.")
_IDENTITY = cli.string("identity", None, "Folder of weights; default: the "
                       "runs'.")
_DISTS = cli.string("dists", None, "Folder of weights; without it, that "
                    "column is empty.")
cli.define_cpu_devices()


def main():
  if not _OUT.value:
    raise FlagError("--out is missing: the folder to write")
  if not _RUNS.value:
    raise FlagError("--runs is missing: folders of runs of "
                    "launch.personalize, one a person")
  people = evaluate.find_people(_RUNS.value)
  names = list(evaluate.TABLES) if _ALL in _TABLES.value else _TABLES.value
  options = {"lpips": _LPIPS.value, "identity": _IDENTITY.value,
             "dists": _DISTS.value, "precision": cli.precision()}
  # Names and weights first: a direction's spread takes a while to measure.
  config = EvaluateConfig(tuple(names), **options).validate()
  evaluate.check(people, config)
  along = _directions(people) if "4" in names else ()
  if not along and _ALL in _TABLES.value:
    print("table 4 is left out: it needs --directions")
    names = [name for name in names if name != "4"]
  config = EvaluateConfig(
      tuple(names), protocol=protocols.PROTOCOLS[_PROTOCOL.value],
      seed=_SEED.value, directions=along, **options)
  evaluate.evaluate(people, config, _OUT.value, header=_header())


def _directions(people: List[Runs]) -> Tuple[Direction, ...]:
  """Those of the flag, or the demo's for people of the demo."""
  base = load_person(run=people[0].main, pretrained=True,
                     precision=cli.precision())
  return tuple(edits.directions_for(base, _DIRECTIONS.value))


def _header() -> List[str]:
  """How, with what and where it was measured."""
  command = " ".join(["python -m my3dgen_jax.launch.evaluate", *sys.argv[1:]])
  devices = jax.local_devices()
  return [f"`{command}`",
          f"my3dgen_jax {__version__}{_commit()}; jax {jax.__version__}; "
          f"{len(devices)} x {devices[0].device_kind}, {os.cpu_count()} cores, "
          f"{platform.machine()}."]


def _commit() -> str:
  """The commit of the source, where it lies in a repository."""
  try:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], text=True,
        cwd=pathlib.Path(__file__).parent, capture_output=True, check=False)
  except OSError:  # there is no git
    return ""
  return f", commit {found.stdout.strip()}" if not found.returncode else ""


if __name__ == "__main__":
  cli.run(main)
