"""Trains the demo's prior on procedural people.

    my3dgen pretrain-demo --out=runs/prior --cpu_devices=2

Run the same command again to resume after an interruption.
"""

from my3dgen_jax.demo import pretrain
from my3dgen_jax.launch.support import cli, config_flags

_OUT = cli.string("out", None, "Folder for the training run.", required=True)
_START = cli.string(
  "start_from",
  None,
  "Generator folder to start a new training from; default: random weights.",
)
cli.define_cpu_devices()
_CONFIG = config_flags.define(pretrain.PretrainConfig)


def main():
  found = pretrain.pretrain(_OUT.value, _CONFIG(), start_from=_START.value)
  print(f"held-out people: {found['psnr']:.2f} dB")


if __name__ == "__main__":
  cli.run(main)
