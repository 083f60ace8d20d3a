"""Trains an encoder from photos to latents of a generator.

    my3dgen train-encoder --checkpoint=checkpoints/ffhq \\
        --lpips=checkpoints/lpips_alex

Trains only on the generator's own pictures, and writes
checkpoints/ffhq_encoder, where my3dgen personalize and other commands find it.
Run the same command with --resume to continue after an interruption.
"""

from my3dgen_jax.apps import train_encoder
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags
from my3dgen_jax.models.encoder_files import place_beside

_CONFIG = config_flags.define(train_encoder.TrainEncoderConfig)
_RESUME = cli.boolean("resume", False, "Resume the training in --out.")
cli.define_cpu_devices()


def main():
  config = _CONFIG()
  if not config.checkpoint:
    raise FlagError("--checkpoint is missing: the folder of the generator")
  quality = train_encoder.train_encoder(config, resume=_RESUME.value)
  out = config.out or place_beside(config.checkpoint)
  print(train_encoder.describe(quality, out))


if __name__ == "__main__":
  cli.run(main)
