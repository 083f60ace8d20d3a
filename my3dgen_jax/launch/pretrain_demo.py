"""Trains the demo's prior on procedural people.

    python -m my3dgen_jax.launch.pretrain_demo --out=runs/prior --cpu_devices=2

The same command goes on with a training that was stopped.
"""

from my3dgen_jax.demo import pretrain
from my3dgen_jax.launch.support import cli, config_flags

_OUT = cli.string("out", None, "Folder of the training.", required=True)
_START = cli.string(
  "start_from",
  None,
  "Generator folder that a new training starts from; default: random weights.",
)
cli.define_cpu_devices()
_CONFIG = config_flags.define(pretrain.PretrainConfig)


def main():
  found = pretrain.pretrain(_OUT.value, _CONFIG(), start_from=_START.value)
  print(f"held-out people: {found['psnr']:.2f} dB")


if __name__ == "__main__":
  cli.run(main)
