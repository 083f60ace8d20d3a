"""Writes the surface of a face as a coloured mesh, or its density.

    python -m my3dgen_jax.launch.mesh --run=runs/obama --latents=photo003 \\
        --out=head.glb
    python -m my3dgen_jax.launch.mesh --checkpoint=checkpoints/ffhq \\
        --seeds=0-3 --out=shapes/seed.ply

Of what: --latents: photos of the run (names, numbers from 0, or "all"), or
files of launch.invert; or --seeds of a run's generator or a bare checkpoint.
With several, their names are put before the suffix of --out.

As what, by the suffix of --out: .ply, .obj and .glb with colours, .stl without
any, .mrc the density itself for ChimeraX, in the axes of EG3D's files. Axes:
y up, the face looks along +z. What the cube cuts is closed, so that every mesh
is watertight. Needs pip install ".[mesh]".
"""

from my3dgen_jax.apps.rendering import mesh, scenes
from my3dgen_jax.apps.rendering.density import MAX_RESOLUTION, MIN_RESOLUTION
from my3dgen_jax.apps.rendering.mesh_files import check_libraries
from my3dgen_jax.apps.rendering.surface import LEVEL
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, person_flags

_OUT = cli.string("out", None, "File to write, see above.")
_LATENTS = cli.listing("latents", [], "Whose surface, see above.")
_SEEDS = cli.listing("seeds", [], "Faces: 0-3, or 1,5,8-10.")
_PSI = cli.number("truncation_psi", 0.7, "Of seeds; 1: as sampled, 0: the "
                  "mean face.", lower_bound=-10, upper_bound=10)
_CUTOFF = cli.integer("truncation_cutoff", None, "Of seeds: rows of ws "
                      "truncated; default: all.", lower_bound=0)
_RESOLUTION = cli.integer("resolution", 256, "Points of the grid along a "
                          "side.", lower_bound=MIN_RESOLUTION,
                          upper_bound=MAX_RESOLUTION)
_LEVEL = cli.number("level", LEVEL, "Raw density on the surface.")
_CROP = cli.number("crop", None, "Side of the cube, world units; default: "
                   "what the average camera of faces sees.")
_ALL = cli.boolean("all_components", False, "Also what floats about, and the "
                   "background; else the largest piece.")


def main():
  config = mesh.MeshConfig(
      resolution=_RESOLUTION.value, level=_LEVEL.value, crop=_CROP.value,
      all_components=_ALL.value).validate()
  if not _OUT.value:
    raise FlagError("--out is missing: the file to write")
  if bool(_LATENTS.value) == bool(_SEEDS.value):
    raise FlagError("give one of --latents, photos of a run, and --seeds")
  seeds = cli.whole_numbers("seeds", _SEEDS.value) if _SEEDS.value else []
  check_libraries(_OUT.value)  # before networks are read
  person = person_flags.person()
  details = {}
  if seeds:
    details = {"truncation_psi": _PSI.value}
    found = scenes.of_seeds(person, seeds, truncation_psi=_PSI.value,
                            truncation_cutoff=_CUTOFF.value)
  else:
    found = scenes.find(person, _LATENTS.value)
  mesh.write_latents(person, found, config, _OUT.value, **details)


if __name__ == "__main__":
  cli.run(main)
