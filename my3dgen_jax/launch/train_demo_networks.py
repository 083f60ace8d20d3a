r"""Trains the demo's identity network, perceptual features and regressor.

    python -m my3dgen_jax.launch.train_demo_networks --out=runs/networks \
        --cpu_devices=2

Draws the people first, and measures at the end. The same command goes on with
a training that was stopped.
"""

import json

from my3dgen_jax.demo import train_networks
from my3dgen_jax.launch.support import cli, config_flags

_OUT = cli.string("out", None, "Folder of the training.", required=True)
cli.define_cpu_devices()
_CONFIG = config_flags.define(train_networks.NetworksConfig)


def main():
  print(json.dumps(train_networks.train(_OUT.value, _CONFIG()), indent=2))


if __name__ == "__main__":
  cli.run(main)
