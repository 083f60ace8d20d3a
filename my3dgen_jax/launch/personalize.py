"""Makes a pretrained generator somebody's own: an adapter of 0.96 MB.

    python -m my3dgen_jax.launch.personalize --checkpoint=checkpoints/ffhq \\
        --album=data/obama --lpips=checkpoints/lpips_alex --test=10 \\
        --out=runs/obama

or --flagfile=obama.flags; or --demo_person=0, which needs nothing: an album of
a procedural person is drawn, and the networks of the package are used. What a
run leaves: `training/run_folder.py`.

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

import dataclasses
import functools

from my3dgen_jax.apps import personalize
from my3dgen_jax.data.photo_selection import parse_selection
from my3dgen_jax.demo.personal_runs import with_demo_person
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags
from my3dgen_jax.training.anchors import default_cache

_CONFIG = config_flags.define(
  personalize.PersonalizeConfig,
  cache=default_cache(),
  report=True,
  parse=dict.fromkeys(("test", "reference", "train"), parse_selection),
)
_DEMO = cli.integer(
  "demo_person",
  None,
  "Number of a procedural person whose album is drawn, and for whom the "
  "networks of the package are used.",
  lower_bound=0,
)
_RESUME = cli.boolean("resume", False, "Go on with the run in --out.")
cli.define_cpu_devices()
cli.define_processes()


def main():
  config = _CONFIG()
  demo = _DEMO.value is not None
  for name in ("out",) if demo else ("checkpoint", "album", "out"):
    if not getattr(config, name):
      raise FlagError(
        f"--{name} is missing; --flagfile=demo.flags needs "
        "neither checkpoint nor photos"
      )
  config = dataclasses.replace(
    config,
    precision=cli.precision(
      lambda: personalize.begun_precision(config.out) if _RESUME.value else None
    ),
  )
  if demo:
    config = with_demo_person(
      config, _DEMO.value, log=functools.partial(print, flush=True)
    )
  summary = personalize.personalize(
    config, resume=_RESUME.value, flags=cli.flags_as_text(skip=["resume"])
  )
  if summary is not None:  # of several processes one says it
    print(personalize.describe(summary, config.out))


if __name__ == "__main__":
  cli.run(main)
