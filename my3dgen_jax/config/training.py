"""How anchors, adapters, weights in the hull and pivots are optimized."""

import dataclasses
from typing import Literal

from my3dgen_jax.config.checks import (
  check_types,
  is_not_negative,
  is_positive,
  is_size,
  require,
  require_fields,
  setting,
)


def _require_a_loss(config, prefix: str):
  require(
    config.lpips_weight + config.mse_weight > 0,
    f"{prefix}mse_weight",
    "lpips_weight or mse_weight to be > 0",
    config.mse_weight,
  )


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
  """How a photo's latent is found, generator and camera frozen.

  Source: Karras et al. 2020 (StyleGAN2), appendix D; My3DGen's settings.
  """

  space: Literal["w", "w+"] = setting(
    "w",
    "Latent space: w, one w for all layers of a photo, or w+, one for "
    "each layer.",
  )
  init: Literal["mean", "encoder"] | None = setting(
    None,
    "What steps start from: mean: the mean of W; encoder: what an encoder "
    "finds, without noise on w; default: encoder, if there is one.",
    later=True,
  )
  looks: int = setting(
    2,
    "Times that the encoder looks at a photo, >= 1.",
    low=1,
    high=100,
    later=True,
  )
  steps: int = setting(
    500, "Optimizer steps for each photo, >= 1; >= 0 after an encoder."
  )
  batch_size: int = setting(
    0,
    "Photos at a time, over all devices; 0: as many as fit an "
    "accelerator's memory, 4 on a CPU. Anchors do not depend on it.",
  )
  learning_rate: float = setting(0.01, "Adam's peak learning rate, > 0.")
  ramp_up: float = setting(
    0.05, "Share of the steps in which the learning rate rises, in (0, 1]."
  )
  ramp_down: float = setting(
    0.25, "Share of the steps in which the learning rate falls, in (0, 1]."
  )
  w_samples: int = setting(
    10_000,
    "Samples that W's mean and standard deviation are estimated from, >= 1.",
  )
  w_noise: float = setting(
    0.05, "Noise added to w at the start, in standard deviations of W."
  )
  w_noise_ramp: float = setting(
    0.75, "Share of the steps in which noise is added to w, in (0, 1]."
  )
  optimize_noise: bool = setting(
    True, "Fit the noise maps, too; they are dropped afterwards."
  )
  noise_weight: float = setting(
    1e5, "Weight of the noise maps' autocorrelation, >= 0."
  )
  mse_weight: float = setting(
    0.0, "Weight of the mean squared difference beside LPIPS, >= 0."
  )
  resolution: int = setting(
    256,
    "Side to which images are averaged down before they are compared, pixels.",
  )
  seed: int = setting(0, "Seed of W's samples and of the noise, >= 0.")

  def validate(self, prefix: str = "anchor_") -> "ProjectionConfig":
    """Checks every field and returns the config itself.

    Args:
      prefix: of the fields in messages, as of their flags.

    Raises:
      ConfigError: names the field and what it should hold.
    """
    check_types(self, prefix)
    require_fields(
      self,
      prefix,
      lambda v: is_size(v, high=2**24),
      "a whole number >= 1",
      "looks",
      "w_samples",
      "resolution",
      *(("steps",) if self.init == "mean" else ()),
    )
    require_fields(
      self,
      prefix,
      lambda v: is_size(v, low=0, high=2**24),
      "a whole number >= 0",
      "batch_size",
      "steps",
    )
    require_fields(
      self,
      prefix,
      lambda v: 0 < v <= 1,
      "a number > 0 and <= 1",
      "ramp_up",
      "ramp_down",
      "w_noise_ramp",
    )
    require_fields(
      self, prefix, is_positive, "a positive number", "learning_rate"
    )
    require_fields(
      self,
      prefix,
      is_not_negative,
      "a number >= 0",
      "w_noise",
      "noise_weight",
      "mse_weight",
    )
    require_fields(
      self, prefix, lambda v: 0 <= v < 2**32, "a whole number >= 0", "seed"
    )
    return self

  def without_encoder(self, prefix: str = "anchor_") -> "ProjectionConfig":
    """The same from the mean of W; raises ConfigError where no step is left."""
    dataclasses.replace(self, init="mean").validate(prefix)
    return dataclasses.replace(self, init=None)


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """Weights of what tuning minimizes (My3DGen, equation 1, and extras)."""

  lpips_weight: float = setting(
    1.0, "Weight of LPIPS, of image and image_raw, >= 0."
  )
  mse_weight: float = setting(
    1.0, "Weight of the mean squared difference, >= 0."
  )
  raw_weight: float = setting(
    1.0, "Weight of both losses on image_raw, relative to image, >= 0."
  )
  identity_weight: float = setting(
    0.0, "Weight of 1 - cos of the faces' identities, >= 0; needs --identity."
  )
  symmetry_weight: float = setting(
    0.0,
    "Weight of the identity loss from the mirrored camera, >= 0; needs "
    "--identity.",
  )
  density_weight: float = setting(
    0.0, "Weight of the change of density between nearby points, >= 0."
  )
  density_points: int = setting(
    1000, "Points at which densities are compared, >= 1."
  )
  density_distance: float = setting(
    0.004,
    "Standard deviation of the distance between nearby points, world units.",
  )

  @property
  def needs_lpips(self) -> bool:
    return self.lpips_weight > 0

  @property
  def needs_identity(self) -> bool:
    return self.identity_weight > 0 or self.symmetry_weight > 0

  def validate(self, prefix: str = "") -> "LossConfig":
    """As `ProjectionConfig.validate`."""
    check_types(self, prefix)
    require_fields(
      self,
      prefix,
      is_not_negative,
      "a number >= 0",
      "lpips_weight",
      "mse_weight",
      "raw_weight",
      "identity_weight",
      "symmetry_weight",
      "density_weight",
      "density_distance",
    )
    require_fields(
      self, prefix, is_size, "a whole number >= 1", "density_points"
    )
    _require_a_loss(self, prefix)
    return self


@dataclasses.dataclass(frozen=True)
class TuningConfig:
  """How the personal numbers are optimized.

  The rates are those of the original's code: Adam, corrected as StyleGAN2
  does for the regularization steps between its own.
  """

  mode: Literal["lora", "full", "none"] = setting(
    "lora",
    "Weights to tune: lora: the adapter; full: all but the mapping "
    "network's; none: no weights (the paper's baselines).",
  )
  steps: int = setting(5000, "Optimizer steps, >= 0.")
  batch_size: int = setting(4, "Photos in each step, over all devices, >= 1.")
  accumulation: int = setting(
    1,
    "Parts of its share of a batch that each device works through one "
    "after the other, to save memory; divides the batch size.",
  )
  learning_rate: float = setting(
    0.0025,
    "Adam's learning rate before the correction for lazy regularization, > 0.",
  )
  decay: Literal["none", "cosine"] = setting(
    "none",
    "Course of the learning rate: none: constant, as the paper has it; "
    "cosine: falling to 0 at the last of --steps, after a short rise.",
    later=True,
  )
  beta1: float = setting(
    0.0, "Adam's decay rate of the first moment, in [0, 1)."
  )
  beta2: float = setting(
    0.99,
    "Adam's decay rate of the second moment before the correction, in [0, 1).",
  )
  lazy_interval: int = setting(
    4,
    "Steps between the regularization steps that StyleGAN2's correction "
    "assumes; 0: no correction.",
  )
  average: float = setting(
    0.0,
    "Decay rate of the running average of the tuned weights, which is the "
    "result, in [0, 1); 0: the last step's weights, as in the paper.",
    later=True,
  )
  patience: int = setting(
    0,
    "Validations without a smaller loss after which tuning ends, with the best "
    "state; 0: never, as the paper has it.",
    low=0,
    later=True,
  )
  validate_every: int = setting(
    25, "Steps between validations, >= 1.", low=1, later=True
  )
  stratified: bool = setting(
    True, "Random depths along the rays, new in each step."
  )
  seed: int = setting(
    0, "Seed of the photos' order, the depths and the adapter's A, >= 0."
  )

  def validate(self, prefix: str = "") -> "TuningConfig":
    """As `ProjectionConfig.validate`."""
    check_types(self, prefix)
    require_fields(
      self,
      prefix,
      lambda v: is_size(v, low=0, high=2**31),
      "a whole number >= 0",
      "steps",
      "lazy_interval",
      "patience",
      "seed",
    )
    require_fields(
      self,
      prefix,
      lambda v: is_size(v, high=2**31),
      "a whole number >= 1",
      "batch_size",
      "accumulation",
      "validate_every",
    )
    require_fields(
      self, prefix, is_positive, "a positive number", "learning_rate"
    )
    require_fields(
      self,
      prefix,
      lambda v: 0 <= v < 1,
      "a number >= 0 and < 1",
      "beta1",
      "beta2",
      "average",
    )
    require(
      self.batch_size % self.accumulation == 0,
      f"{prefix}batch_size",
      f"a multiple of accumulation = {self.accumulation}",
      self.batch_size,
    )
    return self


@dataclasses.dataclass(frozen=True)
class HullFitConfig:
  """How a photo's weights of the anchors are found (MyStyle, My3DGen)."""

  space: Literal["w", "w+"] = setting(
    "w+",
    "Anchors' weights: w: one set for all layers; w+: an offset for "
    "each layer, too.",
  )
  init: Literal["mean", "encoder"] | None = setting(
    None,
    "What steps start from: mean: the mean of the anchors; encoder: what in "
    "the hull is nearest to what an encoder finds; default: encoder, if there "
    "is one.",
    later=True,
  )
  beta: float = setting(
    0.02, "Depth below 0 that anchors' weights may reach, in [0, 1]."
  )
  steps: int = setting(1000, "Optimizer steps for each photo, >= 1.")
  batch_size: int = setting(4, "Photos at a time, over all devices, >= 1.")
  learning_rate: float = setting(0.005, "Adam's learning rate, > 0.")
  lpips_weight: float = setting(1.0, "Weight of LPIPS, >= 0.")
  mse_weight: float = setting(
    1.0, "Weight of the mean squared difference, >= 0."
  )
  offset_weight: float = setting(
    10.0, "Weight of the layers' offsets from their common weights, >= 0."
  )

  def validate(self, prefix: str = "hull_") -> "HullFitConfig":
    """As `ProjectionConfig.validate`."""
    check_types(self, prefix)
    require_fields(
      self,
      prefix,
      lambda v: is_size(v, high=2**24),
      "a whole number >= 1",
      "steps",
      "batch_size",
    )
    require_fields(
      self, prefix, is_positive, "a positive number", "learning_rate"
    )
    require_fields(
      self,
      prefix,
      is_not_negative,
      "a number >= 0",
      "lpips_weight",
      "mse_weight",
      "offset_weight",
    )
    require_fields(
      self, prefix, lambda v: 0 <= v <= 1, "a number >= 0 and <= 1", "beta"
    )
    _require_a_loss(self, prefix)
    return self


@dataclasses.dataclass(frozen=True)
class PivotConfig:
  """Pivotal tuning: the generator is bent to one photo (Roich et al. 2021)."""

  mode: Literal["lora", "full"] = setting(
    "lora",
    "Weights to tune: lora: a small adapter on top of the person's; "
    "full: all of them.",
  )
  rank: int = setting(1, "Rank of that adapter, >= 1.")
  steps: int = setting(350, "Optimizer steps for each photo, at most; >= 1.")
  learning_rate: float = setting(3e-4, "Adam's learning rate, > 0.")
  lpips_weight: float = setting(1.0, "Weight of LPIPS, >= 0.")
  mse_weight: float = setting(
    1.0, "Weight of the mean squared difference, >= 0."
  )
  stop_lpips: float = setting(
    0.06, "LPIPS below which tuning on a photo stops; 0: never."
  )
  seed: int = setting(0, "Seed of the adapter's A, >= 0.")

  def validate(self, prefix: str = "tuning_") -> "PivotConfig":
    """As `ProjectionConfig.validate`."""
    check_types(self, prefix)
    require_fields(
      self,
      prefix,
      lambda v: is_size(v, high=2**24),
      "a whole number >= 1",
      "steps",
      "rank",
    )
    require_fields(
      self, prefix, is_positive, "a positive number", "learning_rate"
    )
    require_fields(
      self,
      prefix,
      is_not_negative,
      "a number >= 0",
      "lpips_weight",
      "mse_weight",
      "stop_lpips",
    )
    require_fields(
      self, prefix, lambda v: 0 <= v < 2**32, "a whole number >= 0", "seed"
    )
    _require_a_loss(self, prefix)
    require(
      self.lpips_weight > 0 or not self.stop_lpips,
      f"{prefix}stop_lpips",
      "0 where LPIPS has no weight",
      self.stop_lpips,
    )
    return self
