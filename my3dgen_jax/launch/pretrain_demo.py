"""Trains the demo's prior on procedural people.

    python -m my3dgen_jax.launch.pretrain_demo --out=runs/prior

The same command goes on with a training that was stopped.
"""

from my3dgen_jax.demo import pretrain
from my3dgen_jax.launch import cli

_OUT = cli.string("out", None, "Folder of the training.", required=True)
_CONFIG = cli.define_config(pretrain.PretrainConfig)


def main():
  pretrain.pretrain(_OUT.value, _CONFIG())


if __name__ == "__main__":
  cli.run(main)
