"""Computes the paper's tables and figures for personalized people.

    my3dgen evaluate --runs=runs/obama,runs/beyonce \\
        --directions=smile.npy,age.npy --dists=checkpoints/dists --out=results

--runs: one folder per person, either a single run or a folder of the runs to
compare (lora, full, other ranks, layouts, albums or LPIPS weights).
--directions: the edits of table 4; default for people of the demo: smile
without age, and age. Measurements are kept in --out: the same command resumes
after an interruption, and adding a person or a table repeats nothing.
"""

import dataclasses
import sys

from my3dgen_jax.apps.evaluation import circumstances, evaluate, protocols
from my3dgen_jax.apps.evaluation.settings import ALL, EvaluateConfig
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.demo import edits
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags

_RUNS = cli.listing("runs", [], "Folders of runs, one per person.")
_OUT = cli.string("out", None, "Folder to write.")
_PROTOCOL = cli.enum(
  "protocol",
  protocols.QUICK.name,
  list(protocols.PROTOCOLS),
  "Size of the evaluation: full: as in the paper; quick: smaller, as noted in "
  "the tables.",
)
_DIRECTIONS = cli.listing(
  "directions", [], "Files (.npy) of the edit directions of table 4."
)
_CONFIG = config_flags.define(EvaluateConfig, tables=(ALL,))
cli.define_cpu_devices()


def main():
  if not _OUT.value:
    raise FlagError("--out is missing: the folder to write")
  if not _RUNS.value:
    raise FlagError(
      "--runs is missing: folders of personalize runs, one per person"
    )
  people = evaluate.find_people(_RUNS.value)
  given = _CONFIG(
    protocol=protocols.PROTOCOLS[_PROTOCOL.value], precision=cli.precision()
  )
  # Checked before directions: measuring their spread takes a while.
  config = given.with_all_named().validate()
  evaluate.check(people, config)
  if "4" in config.tables:
    base = load_person(
      run=people[0].main, pretrained=True, precision=config.precision
    )
    config = dataclasses.replace(
      config, directions=tuple(edits.directions_for(base, _DIRECTIONS.value))
    )
  if ALL in given.tables and not config.directions:
    print("skipping table 4, which needs --directions")
    config = dataclasses.replace(
      config, tables=tuple(name for name in config.tables if name != "4")
    )
  command = " ".join(["python -m my3dgen_jax.launch.evaluate", *sys.argv[1:]])
  header = circumstances.header(command)
  evaluate.evaluate(people, config, _OUT.value, header=header)


if __name__ == "__main__":
  cli.run(main)
