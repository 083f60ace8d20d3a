"""Personalizes many people in parallel, here or on a Ray cluster.

    my3dgen fleet --manifest=people.csv --out=people \\
        --checkpoint=checkpoints/ffhq --lpips=checkpoints/lpips_alex
    my3dgen fleet status --out=people

people.csv has one row per person: `id`, and either `photos` (a folder, which is
prepared as an album first) or `album`; every further column is a flag for that
person. Flags and flagfiles of the command apply to everyone. A failure stops
only that person. If a worker dies, another one resumes its person from the last
saved state. Run the same command again for the people still missing. Result:

    people/runs/ID/           one run per person, see training/run_folder.py
    people/before/ID/1/       the earlier run, after new settings or photos
    people/albums/ID/         the prepared or drawn album
    people/logs/ID.log        the run's output
    people/people.bank/       everyone, for --bank of other commands
    people/status.html, .csv  the table that `status` prints

--manifest, --out and all photos, albums and networks may be fsspec URLs.
--address=auto joins a Ray cluster; without it, Ray is started on this machine.
"""

import functools

import jax

from my3dgen_jax.apps.fleet import fleet, manifest, table
from my3dgen_jax.apps.fleet.places import Place
from my3dgen_jax.apps.fleet.ray_executor import RayExecutor
from my3dgen_jax.errors import FlagError, UserError
from my3dgen_jax.launch.support import cli, config_flags, people_flags

_CONFIG = config_flags.define(fleet.FleetConfig)
_PEOPLE = people_flags.PeopleFlags()


def main():
  config, log = _CONFIG(), functools.partial(print, flush=True)
  needed = ["out"] if cli.action() == "status" else ["manifest", "out"]
  for name in needed:
    if not getattr(config, name):
      raise FlagError(f"--{name} is missing; see --help")
  if cli.action() == "status":
    log(table.as_text(fleet.status(config.out)))
    return
  # This process leaves the GPUs to its workers.
  jax.config.update("jax_platforms", "cpu")
  storage = str(Place(config.out))
  people = _PEOPLE.people(manifest.read(config.manifest), storage)
  executor = RayExecutor(
    storage,
    people_flags.hooks(),
    workers=config.workers,
    address=config.address,
    log=log,
  )
  states = fleet.run(config, people, executor, log=log)
  failed = [state for state in states if state.state == "failed"]
  log(table.as_text(failed) if failed else table.sentence(states))
  log(f"{Place(config.out) / table.HTML_FILE}")
  if failed:
    raise UserError(f"{len(failed)} of {len(states)} people failed")


if __name__ == "__main__":
  cli.run(main, actions=("run", "status"), default="run")
