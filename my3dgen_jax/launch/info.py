"""Describes a preset, a checkpoint, an adapter or a run.

    my3dgen info --preset=ffhqrebalanced512-128
    my3dgen info --checkpoint=checkpoints/ffhq
    my3dgen info --adapter=runs/obama/adapter.safetensors
    my3dgen info --run=runs/obama

Prints the settings, the size of each block and the origin; reads no weights.
"""

from my3dgen_jax.apps import describe
from my3dgen_jax.config import LoraConfig, PRESETS
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags

_PRESET = cli.string(
  "preset", None, f"Name of a published checkpoint: {', '.join(PRESETS)}."
)
_CHECKPOINT = cli.string(
  "checkpoint", None, "Folder of a generator checkpoint."
)
_ADAPTER = cli.string("adapter", None, "Adapter file (.safetensors).")
_RUN = cli.string("run", None, "Folder of a personalize run.")
_LORA = config_flags.define(LoraConfig, "lora_")


def main():
  wanted = [
    holder
    for holder in (_PRESET, _CHECKPOINT, _ADAPTER, _RUN)
    if holder.value is not None
  ]
  if len(wanted) != 1:
    raise FlagError(
      "give exactly one of --preset, --checkpoint, --adapter and --run"
    )
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
