"""Optimization settings: projection, tuning, hull fits and pivots."""

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
  """Projection of photos to latents, with generator and camera frozen.

  Source: Karras et al. 2020 (StyleGAN2), appendix D; My3DGen's settings.
  """

  space: Literal["w", "w+"] = setting(
    "w",
    "Latent space: w, one w for all layers of a photo, or w+, one w per layer.",
  )
  init: Literal["mean", "encoder"] | None = setting(
    None,
    "Starting point: mean: the mean of W; encoder: an encoder's prediction, "
    "without noise on w; default: encoder if there is one.",
    later=True,
  )
  looks: int = setting(
    2,
    "Number of times the encoder looks at a photo, >= 1.",
    low=1,
    high=100,
    later=True,
  )
  steps: int = setting(
    500, "Optimizer steps per photo, >= 1, or >= 0 with an encoder."
  )
  batch_size: int = setting(
    0,
    "Photos at a time, over all devices; 0: as many as fit an accelerator's "
    "memory, 4 on a CPU. The result does not depend on it.",
  )
  learning_rate: float = setting(0.01, "Adam's peak learning rate, > 0.")
  ramp_up: float = setting(
    0.05, "Share of the steps over which the learning rate rises, in (0, 1]."
  )
  ramp_down: float = setting(
    0.25, "Share of the steps over which the learning rate falls, in (0, 1]."
  )
  w_samples: int = setting(
    10_000, "Samples to estimate W's mean and standard deviation from, >= 1."
  )
  w_noise: float = setting(
    0.05, "Initial noise on w, in standard deviations of W."
  )
  w_noise_ramp: float = setting(
    0.75, "Share of the steps over which the noise on w falls to 0, in (0, 1]."
  )
  optimize_noise: bool = setting(
    True, "Also optimize the noise maps, which are discarded afterward."
  )
  noise_weight: float = setting(
    1e5, "Weight of the noise maps' autocorrelation loss, >= 0."
  )
  mse_weight: float = setting(
    0.0, "Weight of the mean squared error, added to LPIPS, >= 0."
  )
  resolution: int = setting(
    256, "Side to downscale images to before comparing them, pixels."
  )
  seed: int = setting(0, "Seed of W's samples and the noise, >= 0.")

  def validate(self, prefix: str = "anchor_") -> "ProjectionConfig":
    """Checks every field and returns the config itself.

    Args:
      prefix: text before a field's name in messages, as in its flag.

    Raises:
      ConfigError: names the field and what it expects.
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
    """This config with the mean of W as start; ConfigError if steps is 0."""
    dataclasses.replace(self, init="mean").validate(prefix)
    return dataclasses.replace(self, init=None)


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """Weights of the tuning losses (My3DGen, equation 1, and extras)."""

  lpips_weight: float = setting(
    1.0, "Weight of LPIPS on image and image_raw, >= 0."
  )
  mse_weight: float = setting(1.0, "Weight of the mean squared error, >= 0.")
  raw_weight: float = setting(
    1.0, "Weight of both losses on image_raw relative to image, >= 0."
  )
  identity_weight: float = setting(
    0.0,
    "Weight of the identity loss, 1 - cosine similarity, >= 0; needs --identity.",
  )
  symmetry_weight: float = setting(
    0.0,
    "Weight of the identity loss from the mirrored camera, >= 0; needs "
    "--identity.",
  )
  density_weight: float = setting(
    0.0, "Weight of the density difference between nearby points, >= 0."
  )
  density_points: int = setting(
    1000, "Number of points at which densities are compared, >= 1."
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
  """Tuning of the adapter or of all weights.

  The rates are those of the original's code: Adam, with StyleGAN2's correction
  for lazy regularization.
  """

  mode: Literal["lora", "full", "none"] = setting(
    "lora",
    "Weights to tune: lora: the adapter; full: all except the mapping network; "
    "none: no weights. full and none are baselines of the paper.",
  )
  steps: int = setting(5000, "Optimizer steps, >= 0.")
  batch_size: int = setting(4, "Photos per step, over all devices, >= 1.")
  accumulation: int = setting(
    1,
    "Gradient accumulation: number of parts that each device splits its share of "
    "a batch into, to save memory; divides the batch size.",
  )
  learning_rate: float = setting(
    0.0025,
    "Adam's learning rate before the correction for lazy regularization, > 0.",
  )
  decay: Literal["none", "cosine"] = setting(
    "none",
    "Learning rate schedule: none: constant, as in the paper; cosine: a short "
    "warmup, then decay to 0 at the last step.",
    later=True,
  )
  beta1: float = setting(0.0, "Adam's first-moment decay rate, in [0, 1).")
  beta2: float = setting(
    0.99,
    "Adam's second-moment decay rate before the correction for lazy "
    "regularization, in [0, 1).",
  )
  lazy_interval: int = setting(
    4,
    "Interval in steps that StyleGAN2's correction for lazy regularization "
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
    "Number of validations without improvement after which tuning stops and "
    "keeps the best state; 0: no early stopping, as in the paper.",
    low=0,
    later=True,
  )
  validate_every: int = setting(
    25, "Steps between validations, >= 1.", low=1, later=True
  )
  stratified: bool = setting(
    True, "Draw random depths along the rays in each step."
  )
  seed: int = setting(
    0, "Seed of the photo order, the depths and the adapter's A, >= 0."
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
  """Fitting a photo's anchor weights in the hull (MyStyle, My3DGen)."""

  space: Literal["w", "w+"] = setting(
    "w+",
    "Anchor weights: w: one set for all layers; w+: an additional offset per "
    "layer.",
  )
  init: Literal["mean", "encoder"] | None = setting(
    None,
    "Starting point: mean: the mean of the anchors; encoder: the point of the "
    "hull nearest to an encoder's prediction; default: encoder if there is one.",
    later=True,
  )
  beta: float = setting(
    0.02, "Dilation of the hull: anchor weights are >= -beta; in [0, 1]."
  )
  steps: int = setting(1000, "Optimizer steps per photo, >= 1.")
  batch_size: int = setting(4, "Photos at a time, over all devices, >= 1.")
  learning_rate: float = setting(0.005, "Adam's learning rate, > 0.")
  lpips_weight: float = setting(1.0, "Weight of LPIPS, >= 0.")
  mse_weight: float = setting(1.0, "Weight of the mean squared error, >= 0.")
  offset_weight: float = setting(
    10.0, "Weight of the penalty on the layers' offsets, >= 0."
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
  """Pivotal tuning: fits the generator to one photo (Roich et al. 2021)."""

  mode: Literal["lora", "full"] = setting(
    "lora",
    "Weights to tune: lora: a small adapter on top of the person's; full: all "
    "weights.",
  )
  rank: int = setting(1, "Rank of the adapter on top, >= 1.")
  steps: int = setting(
    350, "Maximum number of optimizer steps per photo, >= 1."
  )
  learning_rate: float = setting(3e-4, "Adam's learning rate, > 0.")
  lpips_weight: float = setting(1.0, "Weight of LPIPS, >= 0.")
  mse_weight: float = setting(1.0, "Weight of the mean squared error, >= 0.")
  stop_lpips: float = setting(
    0.06, "LPIPS below which tuning on a photo stops; 0: do not stop early."
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
      "0 if lpips_weight is 0",
      self.stop_lpips,
    )
    return self
