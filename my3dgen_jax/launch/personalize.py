"""Tunes a pretrained generator to one person: a 0.96 MB adapter.

    my3dgen personalize --flagfile=demo.flags
    my3dgen personalize --checkpoint=checkpoints/ffhq --album=data/obama \\
        --lpips=checkpoints/lpips_alex --test=10 --out=runs/obama
    my3dgen personalize --flagfile=obama.flags --out=runs \\
        --albums=data/obama,data/beyonce

The first command needs no data: --demo_person draws the album of a procedural
person and uses the networks of the package. `training/run_folder.py` lists the
files of a run.

--albums makes one run per album, runs/obama and runs/beyonce, with one compiled
program; on an accelerator, as many people as fit its memory are tuned side by
side. A failure stops only that person, and --resume skips finished runs.

Several processes, on one machine or many, can share each batch over all their
devices; the result is that of one process with as many devices. Start the same
command once per process, with

    --coordinator=HOST:PORT --num_processes=2 --process_id=0    # then 1

HOST:PORT is a free port on the machine of process 0 that all others can reach;
under SLURM or Open MPI, --coordinator=auto sets all three. Every process must
find the checkpoint, the networks and the album (paths may differ). Only process
0 writes the run folder, and reads it with --resume. SIGTERM to any process
saves the state and stops all; if one dies, the others stop too.
"""

from my3dgen_jax.apps import personalize
from my3dgen_jax.data.photo_selection import parse_selection
from my3dgen_jax.launch.support import cli, config_flags, personal_runs
from my3dgen_jax.training.anchors import default_cache

_CONFIG = config_flags.define(
  personalize.PersonalizeConfig,
  cache=default_cache(),
  report=True,
  parse=dict.fromkeys(
    ("test", "reference", "train", "validation"), parse_selection
  ),
)
_DEMO = cli.integer(
  "demo_person",
  None,
  "Number of a procedural person: draws their album and uses the networks of "
  "the package.",
  lower_bound=0,
)
_ALBUMS = cli.listing(
  "albums",
  [],
  "Albums of several people, instead of --album; each run is a folder in "
  "--out.",
)
_TOGETHER = cli.integer(
  "together",
  0,
  "People of --albums to tune side by side; 0: as many as fit an "
  "accelerator's memory, one on a CPU.",
  lower_bound=0,
)
_RESUME = cli.boolean("resume", False, "Resume the run in --out.")
cli.define_cpu_devices()
cli.define_processes()


def main():
  config = personal_runs.complete(
    _CONFIG(), _ALBUMS.value, demo_person=_DEMO.value, resume=_RESUME.value
  )
  if _ALBUMS.value:
    personal_runs.personalize_all(
      config, _ALBUMS.value, together=_TOGETHER.value, resume=_RESUME.value
    )
  else:
    personal_runs.personalize_one(config, resume=_RESUME.value)


if __name__ == "__main__":
  cli.run(main)
