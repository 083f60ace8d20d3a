"""All settings of a run, and which of them may change when it goes on."""

import dataclasses
from typing import (Literal, Optional)
from my3dgen_jax.config import (ConfigError, LoraConfig,
                                LossConfig, ProjectionConfig, TuningConfig)
from my3dgen_jax.data.photo_selection import Selection


# Settings that say where and how fast, and what is written besides, not what a
# run makes; photos are compared themselves.
CIRCUMSTANCES = ("out", "checkpoint", "album", "lpips", "identity", "cache",
                 "devices", "save_every", "log_every", "adapter_dtype",
                 "pictures", "report", "test", "reference", "train",
                 "split_seed", "precision")
# What may be another when a run goes on: those, and how long.
FREE = ("version", "generator.precision", "settings.projection.batch_size",
         *(f"settings.{name}" for name in (
    *CIRCUMSTANCES, "tuning.steps", "tuning.accumulation")))


@dataclasses.dataclass(frozen=True)
class PersonalizeConfig:
  """A whole run.

  Attributes:
    checkpoint: folder of the pretrained generator.
    album: folder or zip of photos.
    out: folder of the run.
    lpips: folder of LPIPS's weights, or None.
    identity: folder of a face recognition network, or None.
    test: photos held out, see `Album.split`.
    reference: photos the identity score compares with; None: all.
    train: photos to learn from, of those that are left; None: all of them.
    split_seed: of a split by number.
    lora: rank, layout, targets; used in mode lora.
    projection: how anchors are found.
    loss: what tuning minimises.
    tuning: mode, steps, optimiser.
    neural_rendering_resolution: side of image_raw; None: the generator's.
    dtype: of activations; None: the generator's.
    precision: of products on accelerators, see `GeneratorConfig`; None: the
      generator's.
    adapter_dtype: of the file.
    cache: folder of anchors found before; None: none are kept.
    devices: of each process's that are used; None: all.
    save_every: steps between saved states.
    log_every: steps between logged ones.
    pictures: held-out photos in before_after.png at most.
    report: write report/index.html at the end.
  """

  checkpoint: str
  album: str
  out: str
  lpips: Optional[str] = None
  identity: Optional[str] = None
  test: Selection = 0
  reference: Optional[Selection] = None
  train: Optional[Selection] = None
  split_seed: int = 0
  lora: LoraConfig = LoraConfig()
  projection: ProjectionConfig = ProjectionConfig()
  loss: LossConfig = LossConfig()
  tuning: TuningConfig = TuningConfig()
  neural_rendering_resolution: Optional[int] = None
  dtype: Optional[Literal["float32", "bfloat16"]] = None
  precision: Optional[Literal["default", "high", "highest"]] = None
  adapter_dtype: Literal["float32", "float16"] = "float32"
  cache: Optional[str] = None
  devices: Optional[int] = None
  save_every: int = 500
  log_every: int = 10
  pictures: int = 4
  report: bool = False

  def validate(self) -> "PersonalizeConfig":
    """Checks the parts; raises ConfigError, naming the field."""
    self.lora.validate("lora_")
    self.projection.validate()
    self.loss.validate()
    self.tuning.validate()
    for name in ("save_every", "log_every"):
      if getattr(self, name) < 1:
        raise ConfigError(f"{name}: expected a whole number >= 1, got "
                          f"{getattr(self, name)}")
    tunes = self.tuning.mode != "none"
    if tunes and self.loss.needs_lpips and self.lpips is None:
      raise ConfigError(
          "lpips: the loss needs the folder of its weights, which "
          "converters/lpips_to_flax.py writes; or set lpips_weight to 0")
    if tunes and self.loss.needs_identity and self.identity is None:
      raise ConfigError(
          "identity: the loss needs the folder of a network, which "
          "converters/arcface_to_flax.py writes; or set identity_weight and "
          "symmetry_weight to 0")
    return self
