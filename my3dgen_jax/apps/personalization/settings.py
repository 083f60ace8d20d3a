"""All settings of a run, and which of them may change when it goes on."""

import dataclasses
from typing import Literal

from my3dgen_jax.config import (
  ConfigError,
  LoraConfig,
  LossConfig,
  part,
  ProjectionConfig,
  REQUIRED,
  setting,
  TuningConfig,
)
from my3dgen_jax.data.photo_selection import Selection

# Settings that say where and how fast, and what is written besides, not what a
# run makes; photos are compared themselves.
CIRCUMSTANCES = (
  "out",
  "checkpoint",
  "album",
  "lpips",
  "identity",
  "cache",
  "devices",
  "save_every",
  "log_every",
  "adapter_dtype",
  "pictures",
  "report",
  "test",
  "reference",
  "train",
  "split_seed",
  "precision",
)
# What may be another when a run goes on: those, and how long.
FREE = (
  "version",
  "generator.precision",
  "settings.projection.batch_size",
  *(
    f"settings.{name}"
    for name in (*CIRCUMSTANCES, "tuning.steps", "tuning.accumulation")
  ),
)


@dataclasses.dataclass(frozen=True)
class PersonalizeConfig:
  """A whole run."""

  checkpoint: str = setting(REQUIRED, "Folder of the pretrained generator.")
  album: str = setting(REQUIRED, "Folder or zip of photos.")
  out: str = setting(REQUIRED, "Folder of the run.")
  lpips: str | None = setting(None, "Folder of LPIPS's weights.")
  identity: str | None = setting(None, "Folder of a face recognition network.")
  test: Selection = setting(
    0,
    "Photos to hold out: a number, a share, or a file with one name per line.",
  )
  reference: Selection | None = setting(
    None, "Photos to compare identity with, likewise; default: all."
  )
  train: Selection | None = setting(
    None, "Photos to learn from, of those that are left; default: all of them."
  )
  split_seed: int = setting(
    0, "Seed, >= 0, of the photos that a number or a share selects.", low=0
  )
  lora: LoraConfig = part(LoraConfig(), "lora_")
  projection: ProjectionConfig = part(ProjectionConfig(), "anchor_")
  loss: LossConfig = part(LossConfig())
  tuning: TuningConfig = part(TuningConfig())
  neural_rendering_resolution: int | None = setting(
    None, "Side of image_raw, pixels; default: the checkpoint's.", low=1
  )
  dtype: Literal["float32", "bfloat16"] | None = setting(
    None, "Type of activations; default: the checkpoint's."
  )
  # Of products on accelerators, see `GeneratorConfig`; None: the generator's.
  precision: Literal["default", "high", "highest"] | None = None
  adapter_dtype: Literal["float32", "float16"] = setting(
    "float32", "Type of the numbers in the adapter's file."
  )
  cache: str | None = setting(
    None, "Folder of anchors that other runs have found; empty: none."
  )
  devices: int | None = setting(
    None,
    "Devices of this machine (of each process) to use; default: all.",
    low=1,
  )
  save_every: int = setting(500, "Steps between saved states, >= 1.", low=1)
  log_every: int = setting(10, "Steps between logged ones, >= 1.", low=1)
  pictures: int = setting(
    4, "Held-out photos in before_after.png, at most; >= 1.", low=1
  )
  report: bool = setting(False, "Write report/index.html at the end.")

  def validate(self) -> "PersonalizeConfig":
    """Checks the parts; raises ConfigError, naming the field."""
    self.lora.validate("lora_")
    self.projection.validate()
    self.loss.validate()
    self.tuning.validate()
    for name in ("save_every", "log_every"):
      if getattr(self, name) < 1:
        raise ConfigError(
          f"{name}: expected a whole number >= 1, got {getattr(self, name)}"
        )
    tunes = self.tuning.mode != "none"
    if tunes and self.loss.needs_lpips and self.lpips is None:
      raise ConfigError(
        "lpips: the loss needs the folder of its weights, which "
        "converters/lpips_to_flax.py writes; or set lpips_weight to 0"
      )
    if tunes and self.loss.needs_identity and self.identity is None:
      raise ConfigError(
        "identity: the loss needs the folder of a network, which "
        "converters/arcface_to_flax.py writes; or set identity_weight and "
        "symmetry_weight to 0"
      )
    return self
