"""Writes the surface of a face as a colored mesh, or its density.

    my3dgen mesh --run=runs/obama --latents=photo003 --out=head.glb
    my3dgen mesh --checkpoint=checkpoints/ffhq --seeds=0-3 \\
        --out=shapes/seed.ply
    my3dgen mesh --run=runs/obama --latents=photo003 --texture=2048 \\
        --out=head.glb

Source: --latents (photos of the run by name or number from 0, "all", or files
of my3dgen invert), or --seeds of a run's generator or of a bare checkpoint. If
there are several, their names are inserted before the suffix of --out.

Format, by the suffix of --out: .ply, .obj and .glb have colors, .stl has none;
.mrc is the density itself for ChimeraX, with the axes of EG3D's files. Axes:
y up, the face looks along +z. The surface is closed where the cube cuts it, so
every mesh is watertight. --texture gives .glb and .obj a texture made from
super-resolved views; such a mesh has fewer --triangles. Needs
pip install ".[mesh]".
"""

from my3dgen_jax.apps.meshing import mesh
from my3dgen_jax.apps.rendering import scenes
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_OUT = cli.string("out", None, "File to write; its suffix selects the format.")
_LATENTS = config_flags.define(scenes.LatentsConfig)
_CONFIG = config_flags.define(mesh.MeshConfig)


def main():
  config = _CONFIG().validate()
  if not _OUT.value:
    raise FlagError("--out is missing: the file to write")
  wanted = _LATENTS()
  wanted.require_one_kind()
  config.check_path(_OUT.value)  # before networks are loaded
  person = person_flags.person()
  found, details = scenes.look_up(person, wanted)
  mesh.write_latents(person, found, config, _OUT.value, **details)


if __name__ == "__main__":
  cli.run(main)
