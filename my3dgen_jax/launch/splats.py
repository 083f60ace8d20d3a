"""Writes a face as 3D Gaussian splats, for viewers on the web and elsewhere.

    python -m my3dgen_jax.launch.splats --run=runs/obama --latents=photo003 \\
        --out=head.ply

Of what: --latents: photos of the run (names, numbers from 0, or "all"), or
files of launch.invert; or --seeds of a run's generator or a bare checkpoint.
With several, their names are put before the suffix of --out.

Splats begin as what --views cameras see after super-resolution, merged in a
grid, and are fitted to these pictures for some --steps. As what, by the suffix
of --out: .ply as trainers of 3DGS write it, or .spz, a fifth as large, which
needs pip install ".[splats]". Axes: y up, the face looks along +z, world units;
--up=-y for SuperSplat. The head alone unless --background.
"""

from my3dgen_jax.apps.rendering import scenes
from my3dgen_jax.apps.splats import splats
from my3dgen_jax.apps.splats.files import check_path
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_OUT = cli.string("out", None, "File to write, see above.")
_LATENTS = config_flags.define(scenes.LatentsConfig)
_CONFIG = config_flags.define(splats.SplatsConfig)


def main():
  config = _CONFIG().validate()
  if not _OUT.value:
    raise FlagError("--out is missing: the file to write")
  wanted = _LATENTS()
  wanted.require_one_kind()
  check_path(_OUT.value)  # before networks are read
  person = person_flags.person()
  found, details = scenes.look_up(person, wanted)
  splats.write_latents(person, found, config, _OUT.value, details=details)


if __name__ == "__main__":
  cli.run(main)
