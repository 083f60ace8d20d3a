"""Writes a face as 3D Gaussian splats, for web viewers and others.

    my3dgen splats --run=runs/obama --latents=photo003 --out=head.ply
    my3dgen splats --checkpoint=checkpoints/ffhq --seeds=0-3 \\
        --out=splats/seed.ply

Source: --latents (photos of the run by name or number from 0, "all", or files
of my3dgen invert), or --seeds of a run's generator or of a bare checkpoint. If
there are several, their names are inserted before the suffix of --out.

The splats are initialized from what --views cameras see after super-resolution,
merged in a grid, and then fitted to these pictures for --steps steps. Format,
by the suffix of --out: .ply as 3DGS trainers write it, or .spz, a fifth of the
size, which needs pip install ".[splats]". Axes: y up, the face looks along +z,
world units; use --up=-y for SuperSplat. Only the head is written unless
--background is set.
"""

from my3dgen_jax.apps.rendering import scenes
from my3dgen_jax.apps.splats import splats
from my3dgen_jax.apps.splats.files import check_path
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_OUT = cli.string("out", None, "File to write, .ply or .spz.")
_LATENTS = config_flags.define(scenes.LatentsConfig)
_CONFIG = config_flags.define(splats.SplatsConfig)


def main():
  config = _CONFIG().validate()
  if not _OUT.value:
    raise FlagError("--out is missing: the file to write")
  wanted = _LATENTS()
  wanted.require_one_kind()
  check_path(_OUT.value)  # before networks are loaded
  person = person_flags.person()
  found, details = scenes.look_up(person, wanted)
  splats.write_latents(person, found, config, _OUT.value, details=details)


if __name__ == "__main__":
  cli.run(main)
