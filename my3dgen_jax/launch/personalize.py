"""Makes a pretrained generator somebody's own: an adapter of 0.96 MB.

    python -m my3dgen_jax.launch.personalize --checkpoint=checkpoints/ffhq \\
        --album=data/obama --lpips=checkpoints/lpips_alex --test=10 \\
        --out=runs/obama

or --flagfile=obama.flags; or --demo_person=0, which needs nothing: an album of
a procedural person is drawn, and the networks of the package are used. What a
run leaves: `training/run_folder.py`.

    --albums=data/obama,data/beyonce --out=runs

makes a run for each album, runs/obama and runs/beyonce, with one compiled
program; on an accelerator as many people are tuned side by side as fit its
memory. Who fails does not stop the rest; --resume leaves finished runs alone.

Several processes, on one machine or many, share each batch over all devices of
all of them, and make what one process with as many devices would. Each is
started with the same command and

    --coordinator=HOST:PORT --num_processes=2 --process_id=0    # 1 for the next

HOST:PORT is a free port of the machine of process 0 that all can reach; under
SLURM or Open MPI --coordinator=auto says all of this. All processes must find
the checkpoint, the networks and the album (their paths may differ); process 0
alone writes the run's folder, and reads it with --resume. SIGTERM to any of
them stops all, with the state saved; when one dies, so do the others.
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
  "Number of a procedural person whose album is drawn, and for whom the "
  "networks of the package are used.",
  lower_bound=0,
)
_ALBUMS = cli.listing(
  "albums",
  [],
  "Albums of several people, whose runs are folders of --out; instead of "
  "--album.",
)
_TOGETHER = cli.integer(
  "together",
  0,
  "People of --albums that are tuned side by side; 0: as many as fit the "
  "memory of an accelerator, one on a CPU.",
  lower_bound=0,
)
_RESUME = cli.boolean("resume", False, "Go on with the run in --out.")
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
