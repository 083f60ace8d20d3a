"""Describes a preset, a checkpoint, an adapter or a run.

    python -m my3dgen_jax.launch.info --preset=ffhqrebalanced512-128
    python -m my3dgen_jax.launch.info --checkpoint=checkpoints/ffhq
    python -m my3dgen_jax.launch.info --adapter=runs/obama/adapter.safetensors
    python -m my3dgen_jax.launch.info --run=runs/obama

Sizes of each block, settings, and where it comes from; no weights are read.
"""

from my3dgen_jax.apps import describe
from my3dgen_jax.config import LoraConfig, PRESETS
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags

_PRESET = cli.string(
  "preset", None, "Name of a published checkpoint: " + ", ".join(PRESETS)
)
_CHECKPOINT = cli.string("checkpoint", None, "Folder of a generator.")
_ADAPTER = cli.string("adapter", None, "File of an adapter.")
_RUN = cli.string("run", None, "Folder of a run of launch.personalize.")
_LORA = config_flags.define(LoraConfig, "lora_")


def main():
  wanted = [
    holder
    for holder in (_PRESET, _CHECKPOINT, _ADAPTER, _RUN)
    if holder.value is not None
  ]
  if len(wanted) != 1:
    raise FlagError("give one of --preset, --checkpoint, --adapter and --run")
  if wanted[0] is _PRESET:
    lines = describe.describe_preset(_PRESET.value, _LORA())
  elif wanted[0] is _CHECKPOINT:
    lines = describe.describe_checkpoint(_CHECKPOINT.value, _LORA())
  elif wanted[0] is _ADAPTER:
    lines = describe.describe_adapter(_ADAPTER.value)
  else:
    lines = describe.describe_run(_RUN.value)
  print("\n".join(lines))


if __name__ == "__main__":
  cli.run(main)
