"""Writes pictures of random faces from a converted checkpoint.

    python -m my3dgen_jax.launch.render --checkpoint checkpoints/ffhq \
        --seeds 0-3 --yaw -0.35,0,0.35 --grid --out out/
"""

import dataclasses

from absl import flags

from my3dgen_jax.apps import render
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch import cli
from my3dgen_jax.models.checkpoint import load_generator
from my3dgen_jax.models.generator import Generator

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Folder of a converted generator.", required=True)
_OUT = flags.DEFINE_string("out", None, "Folder for the pictures.",
                           required=True)
_SEEDS = flags.DEFINE_list("seeds", "0-3", "Faces: 0-3, or 1,5,8-10.")
_YAW = flags.DEFINE_list(
    "yaw", "-0.35,0,0.35", "Radians from the front, positive towards +x.")
_PITCH = flags.DEFINE_list(
    "pitch", "0", "Radians from the front, positive from below.")
_FOCAL = flags.DEFINE_float(
    "focal", render.FACE_FOCAL, "Focal length in image sizes.",
    lower_bound=0.01)
_PSI = flags.DEFINE_float(
    "truncation_psi", 0.7, "1: as sampled, 0: the mean face.")
_CUTOFF = flags.DEFINE_integer(
    "truncation_cutoff", None, "Rows of ws truncated; all if not given.",
    lower_bound=0)
_RESOLUTION = flags.DEFINE_integer(
    "neural_rendering_resolution", None,
    "Side of the raw image; the checkpoint's own if not given.",
    lower_bound=1)
_KINDS = flags.DEFINE_list("kinds", ",".join(render.KINDS),
                           "Pictures to write: image, raw, depth.")
_GRID = flags.DEFINE_bool("grid", False, "Also one picture of all.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"],
                           "Of activations.")
_PRECISION = flags.DEFINE_enum(
    "precision", "highest", ["highest", "high", "default"],
    "Of products in float32; below highest, a GPU uses TF32 or bfloat16.")


def main():
  seeds = cli.whole_numbers("seeds", _SEEDS.value)
  yaws = cli.numbers("yaw", _YAW.value)
  pitches = cli.numbers("pitch", _PITCH.value)
  unknown = sorted(set(_KINDS.value) - set(render.KINDS))
  if unknown or not _KINDS.value:
    raise FlagError(f"--kinds: expected some of {', '.join(render.KINDS)}, "
                    f"got {','.join(_KINDS.value)!r}")
  generator, variables = load_generator(_CHECKPOINT.value)
  generator = Generator(dataclasses.replace(
      generator.config, dtype=_DTYPE.value, precision=_PRECISION.value))
  render.render_seeds(
      generator, variables, seeds, _OUT.value, yaws=yaws, pitches=pitches,
      focal=_FOCAL.value, truncation_psi=_PSI.value,
      truncation_cutoff=_CUTOFF.value,
      neural_rendering_resolution=_RESOLUTION.value, kinds=_KINDS.value,
      grid=_GRID.value)


if __name__ == "__main__":
  cli.run(main)
