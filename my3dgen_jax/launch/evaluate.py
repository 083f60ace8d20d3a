"""The paper's tables and figures, over people who have been personalized.

    python -m my3dgen_jax.launch.evaluate --runs=runs/obama,runs/beyonce \\
        --directions=smile.npy,age.npy --dists=checkpoints/dists --out=results

--runs: a folder of runs for each person (lora, full, and whatever else is to
be compared: other ranks, layouts, albums, weights of LPIPS), or a single run.
--directions: what table 4 edits along; default for people of the demo: their
smile without age, and age. Measurements are kept in --out, so a stopped
command goes on, and another person or table repeats nothing.
"""

import dataclasses
import sys

from my3dgen_jax.apps.evaluation import circumstances, evaluate, protocols
from my3dgen_jax.apps.evaluation.settings import ALL, EvaluateConfig
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.demo import edits
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags

_RUNS = cli.listing("runs", [], "Folders of runs, one for each person.")
_OUT = cli.string("out", None, "Folder to write.")
_PROTOCOL = cli.enum(
  "protocol",
  protocols.QUICK.name,
  list(protocols.PROTOCOLS),
  "How much is looked at: full: as much as in the "
  "paper; quick: less, as the tables say.",
)
_DIRECTIONS = cli.listing(
  "directions", [], "Files (.npy) of the directions of table 4."
)
_CONFIG = config_flags.define(EvaluateConfig, tables=(ALL,))
cli.define_cpu_devices()


def main():
  if not _OUT.value:
    raise FlagError("--out is missing: the folder to write")
  if not _RUNS.value:
    raise FlagError(
      "--runs is missing: folders of runs of launch.personalize, one a person"
    )
  people = evaluate.find_people(_RUNS.value)
  given = _CONFIG(
    protocol=protocols.PROTOCOLS[_PROTOCOL.value], precision=cli.precision()
  )
  # Names and weights first: a direction's spread takes a while to measure.
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
    print("table 4 is left out: it needs --directions")
    config = dataclasses.replace(
      config, tables=tuple(name for name in config.tables if name != "4")
    )
  command = " ".join(["python -m my3dgen_jax.launch.evaluate", *sys.argv[1:]])
  header = circumstances.header(command)
  evaluate.evaluate(people, config, _OUT.value, header=header)


if __name__ == "__main__":
  cli.run(main)
