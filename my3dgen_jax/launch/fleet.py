"""Makes many people, by workers on this machine or on a cluster of Ray.

    python -m my3dgen_jax.launch.fleet --manifest=people.csv --out=people \\
        --checkpoint=checkpoints/ffhq --lpips=checkpoints/lpips_alex
    python -m my3dgen_jax.launch.fleet status --out=people

people.csv has a line a person: `id`, and `photos` (a folder, of which an album
is prepared first) or `album`; each further column is a flag of their own.
Flags and flagfiles of the command are everybody's. Somebody who fails stops
nobody else; when a worker dies, whom it was at goes on with another, from the
last saved state; the same command again makes who is missing. Afterwards

    people/runs/ID/           a run each, see training/run_folder.py
    people/before/ID/1/       theirs of other settings or photos, if there was
    people/albums/ID/         what was prepared or drawn
    people/logs/ID.log        what the run said
    people/people.bank/       everybody, for --bank of other commands
    people/status.html, .csv  the table that `status` prints

--manifest, --out and all photos, albums and networks may be URLs, as fsspec
knows them. --address=auto joins a cluster of Ray; without, Ray is started here.
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
  # Whatever is computed is computed by workers, which want the GPUs.
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
    raise UserError(f"{len(failed)} of {len(states)} people have failed")


if __name__ == "__main__":
  cli.run(main, actions=("run", "status"), default="run")
