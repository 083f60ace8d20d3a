"""Trains the demo's identity, perceptual and regression networks.

    my3dgen train-demo-networks --out=runs/networks --cpu_devices=2

Draws the people first, and measures the networks at the end. Run the same
command again to resume after an interruption.
"""

import json

from my3dgen_jax.demo import train_networks
from my3dgen_jax.launch.support import cli, config_flags

_OUT = cli.string("out", None, "Folder for the training run.", required=True)
cli.define_cpu_devices()
_CONFIG = config_flags.define(train_networks.NetworksConfig)


def main():
  print(json.dumps(train_networks.train(_OUT.value, _CONFIG()), indent=2))


if __name__ == "__main__":
  cli.run(main)
