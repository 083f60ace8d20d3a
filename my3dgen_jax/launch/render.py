"""Writes pictures of random faces from a converted checkpoint.

    python -m my3dgen_jax.launch.render --checkpoint checkpoints/ffhq \\
        --seeds 0-3 --yaw -0.35,0,0.35 --grid --out out/
"""

import dataclasses
import math

from my3dgen_jax.apps import render
from my3dgen_jax.config import MAX_RESOLUTION
from my3dgen_jax.launch import cli
from my3dgen_jax.models.checkpoint import generator_digest, load_generator
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.ops import cameras
from my3dgen_jax.training.run_folder import ID_LENGTH

_CHECKPOINT = cli.string("checkpoint", None, "Generator folder.",
                         required=True)
_OUT = cli.string("out", None, "Folder to write.", required=True)
_SEEDS = cli.listing("seeds", "0-3", "Faces: 0-3, or 1,5,8-10.")
_YAW = cli.listing("yaw", "-0.35,0,0.35", "Radians; + towards +x.")
_PITCH = cli.listing("pitch", "0", "Radians; + from below.")
_FOCAL = cli.number("focal", cameras.FACE_FOCAL, "In image sizes.",
                    lower_bound=0.01, upper_bound=1000)
_PSI = cli.number("truncation_psi", 0.7, "1: as sampled, 0: the mean face.",
                  lower_bound=-10, upper_bound=10)
_CUTOFF = cli.integer("truncation_cutoff", None, "Rows of ws truncated; "
                      "default: all.", lower_bound=0)
_RESOLUTION = cli.integer(
    "neural_rendering_resolution", None, "Default: the checkpoint's.",
    lower_bound=1, upper_bound=MAX_RESOLUTION)
_KINDS = cli.multi_enum("kinds", render.KINDS, render.KINDS,
                        "Pictures to write; repeat for several.")
_GRID = cli.boolean("grid", False, "Also one picture of all.")
_DTYPE = cli.enum("dtype", None, ["float32", "bfloat16"],
                  "Of activations; default: the checkpoint's.")
_PRECISION = cli.enum(
    "precision", None, ["highest", "high", "default"],
    "Of products; below highest GPUs use TF32. Default: the checkpoint's.")


def main():
  seeds = cli.whole_numbers("seeds", _SEEDS.value)
  yaws = cli.numbers("yaw", _YAW.value, math.pi)
  pitches = cli.numbers("pitch", _PITCH.value, math.pi / 2)
  generator, variables = load_generator(_CHECKPOINT.value)
  config = generator.config
  generator = Generator(dataclasses.replace(
      config, dtype=_DTYPE.value or config.dtype,
      precision=_PRECISION.value or config.precision))
  render.render_seeds(
      generator, variables, seeds, _OUT.value, yaws=yaws, pitches=pitches,
      focal=_FOCAL.value, truncation_psi=_PSI.value,
      truncation_cutoff=_CUTOFF.value,
      neural_rendering_resolution=_RESOLUTION.value,
      kinds=list(dict.fromkeys(_KINDS.value)), grid=_GRID.value,
      base=generator_digest(_CHECKPOINT.value)[:ID_LENGTH])


if __name__ == "__main__":
  cli.run(main)
