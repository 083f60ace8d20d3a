"""Writes the surface of a face as a colored mesh, or its density.

    python -m my3dgen_jax.launch.mesh --run=runs/obama --latents=photo003 \\
        --out=head.glb
    python -m my3dgen_jax.launch.mesh --checkpoint=checkpoints/ffhq \\
        --seeds=0-3 --out=shapes/seed.ply
    python -m my3dgen_jax.launch.mesh --run=runs/obama --latents=photo003 \\
        --texture=2048 --out=head.glb

Of what: --latents: photos of the run (names, numbers from 0, or "all"), or
files of launch.invert; or --seeds of a run's generator or a bare checkpoint.
With several, their names are put before the suffix of --out.

As what, by the suffix of --out: .ply, .obj and .glb with colors, .stl without
any, .mrc the density itself for ChimeraX, in the axes of EG3D's files. Axes:
y up, the face looks along +z. What the cube cuts is closed, so that every mesh
is watertight. --texture lays a picture over .glb and .obj, made of views after
super-resolution; its mesh has fewer --triangles. Needs pip install ".[mesh]".
"""

from my3dgen_jax.apps.meshing import mesh
from my3dgen_jax.apps.rendering import scenes
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_OUT = cli.string("out", None, "File to write, see above.")
_LATENTS = config_flags.define(scenes.LatentsConfig)
_CONFIG = config_flags.define(mesh.MeshConfig)


def main():
  config = _CONFIG().validate()
  if not _OUT.value:
    raise FlagError("--out is missing: the file to write")
  wanted = _LATENTS()
  wanted.require_one_kind()
  config.check_path(_OUT.value)  # before networks are read
  person = person_flags.person()
  found, details = scenes.look_up(person, wanted)
  mesh.write_latents(person, found, config, _OUT.value, **details)


if __name__ == "__main__":
  cli.run(main)
