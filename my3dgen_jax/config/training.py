"""How anchors, adapters, weights in the hull and pivots are optimized."""

import dataclasses
from typing import Literal

from my3dgen_jax.config.checks import (check_types,
                                       is_not_negative, is_positive, is_size,
                                       require, require_fields, setting)


def _require_a_loss(config, prefix: str):
  require(config.lpips_weight + config.mse_weight > 0, f"{prefix}mse_weight",
          "lpips_weight or mse_weight to be > 0", config.mse_weight)


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
  """How a photo's latent is found, generator and camera frozen.

  Source: Karras et al. 2020 (StyleGAN2), appendix D; My3DGen's settings.
  """

  space: Literal["w", "w+"] = setting(
      "w", "One w for all layers of a photo, or one for each: w or w+.")
  steps: int = setting(500, "Steps for each photo.")
  batch_size: int = setting(
      0, "Photos at a time, over all devices; 0: as many as fit an "
      "accelerator's memory, 4 on a CPU. Anchors do not depend on it.")
  learning_rate: float = setting(0.01, "Peak rate of Adam.")
  ramp_up: float = setting(0.05, "Share of the steps that the rate rises in.")
  ramp_down: float = setting(0.25, "Share of the steps that it falls in.")
  w_samples: int = setting(10_000, "Samples for the mean and spread of W.")
  w_noise: float = setting(0.05, "Noise on w at the start, in spreads of W.")
  w_noise_ramp: float = setting(0.75, "Share of the steps that has noise.")
  optimize_noise: bool = setting(True, "Fit the noise maps, too; they are "
                                 "dropped afterwards.")
  noise_weight: float = setting(1e5, "Of the noise maps' autocorrelation.")
  mse_weight: float = setting(0.0, "Of the mean squared difference.")
  resolution: int = setting(256, "Images are averaged down to this side "
                            "before they are compared.")
  seed: int = setting(0, "Of the samples of W and the noise.")

  def validate(self, prefix: str = "anchor_") -> "ProjectionConfig":
    """Checks every field and returns the config itself.

    Args:
      prefix: of the fields in messages, as of their flags.

    Raises:
      ConfigError: names the field and what it should hold.
    """
    check_types(self, prefix)
    require_fields(self, prefix, lambda v: is_size(v, high=2**24),
                    "a whole number >= 1", "steps", "w_samples",
                    "resolution")
    require_fields(self, prefix, lambda v: is_size(v, low=0, high=2**24),
                    "a whole number >= 0", "batch_size")
    require_fields(self, prefix, lambda v: 0 < v <= 1,
                    "a number > 0 and <= 1", "ramp_up", "ramp_down",
                    "w_noise_ramp")
    require_fields(self, prefix, is_positive, "a positive number",
                    "learning_rate")
    require_fields(self, prefix, is_not_negative, "a number >= 0",
                    "w_noise", "noise_weight", "mse_weight")
    require_fields(self, prefix, lambda v: 0 <= v < 2**32,
                    "a whole number >= 0", "seed")
    return self


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """Weights of what tuning minimises (My3DGen, equation 1, and extras)."""

  lpips_weight: float = setting(1.0, "Of LPIPS, of image and image_raw.")
  mse_weight: float = setting(1.0, "Of the mean squared difference.")
  raw_weight: float = setting(1.0, "Of both on image_raw, against image.")
  identity_weight: float = setting(
      0.0, "Of 1 - cos of the faces' identities; needs --identity.")
  symmetry_weight: float = setting(
      0.0, "Of the same from the mirrored camera; needs --identity.")
  density_weight: float = setting(
      0.0, "Of the change of density at points close by.")
  density_points: int = setting(1000, "Points that density is compared at.")
  density_distance: float = setting(
      0.004, "Standard deviation of how close by, world units.")

  @property
  def needs_lpips(self) -> bool:
    return self.lpips_weight > 0

  @property
  def needs_identity(self) -> bool:
    return self.identity_weight > 0 or self.symmetry_weight > 0

  def validate(self, prefix: str = "") -> "LossConfig":
    """As `ProjectionConfig.validate`."""
    check_types(self, prefix)
    require_fields(self, prefix, is_not_negative, "a number >= 0",
                    "lpips_weight", "mse_weight", "raw_weight",
                    "identity_weight", "symmetry_weight", "density_weight",
                    "density_distance")
    require_fields(self, prefix, is_size, "a whole number >= 1",
                    "density_points")
    _require_a_loss(self, prefix)
    return self


@dataclasses.dataclass(frozen=True)
class TuningConfig:
  """How the personal numbers are optimised.

  The rates are those of the original's code: Adam, corrected as StyleGAN2
  does for the regularisation steps between its own.
  """

  mode: Literal["lora", "full", "none"] = setting(
      "lora", "What is tuned: the adapter, all weights but the mapping "
      "network's, or nothing (the baselines of the paper).")
  steps: int = setting(5000, "Optimiser steps.")
  batch_size: int = setting(4, "Photos a step, over all devices.")
  accumulation: int = setting(
      1, "Parts that each device works through a step, to save memory.")
  learning_rate: float = setting(0.0025, "Of Adam, before the correction.")
  beta1: float = setting(0.0, "Of Adam.")
  beta2: float = setting(0.99, "Of Adam, before the correction.")
  lazy_interval: int = setting(
      4, "StyleGAN2's correction for lazy regularisation every so many steps; "
      "0: none.")
  stratified: bool = setting(
      True, "Random depths along the rays, new in each step.")
  seed: int = setting(0, "Of the order of photos, depths, and A.")

  def validate(self, prefix: str = "") -> "TuningConfig":
    """As `ProjectionConfig.validate`."""
    check_types(self, prefix)
    require_fields(self, prefix, lambda v: is_size(v, low=0, high=2**31),
                    "a whole number >= 0", "steps", "lazy_interval", "seed")
    require_fields(self, prefix, is_size, "a whole number >= 1",
                    "batch_size", "accumulation")
    require_fields(self, prefix, is_positive, "a positive number",
                    "learning_rate")
    require_fields(self, prefix, lambda v: 0 <= v < 1,
                    "a number >= 0 and < 1", "beta1", "beta2")
    require(self.batch_size % self.accumulation == 0,
             f"{prefix}batch_size",
             f"a multiple of accumulation = {self.accumulation}",
             self.batch_size)
    return self


@dataclasses.dataclass(frozen=True)
class HullFitConfig:
  """How a photo's weights of the anchors are found (MyStyle, My3DGen)."""

  space: Literal["w", "w+"] = setting(
      "w+", "One set of weights for all layers, or offsets for each: w or w+.")
  beta: float = setting(0.02, "How far below 0 weights may be.")
  steps: int = setting(1000, "Steps for each photo.")
  batch_size: int = setting(4, "Photos at a time, over all devices.")
  learning_rate: float = setting(0.005, "Of Adam.")
  lpips_weight: float = setting(1.0, "Of LPIPS.")
  mse_weight: float = setting(1.0, "Of the mean squared difference.")
  offset_weight: float = setting(
      10.0, "Of what keeps the layers' weights together.")

  def validate(self, prefix: str = "hull_") -> "HullFitConfig":
    """As `ProjectionConfig.validate`."""
    check_types(self, prefix)
    require_fields(self, prefix, lambda v: is_size(v, high=2**24),
                    "a whole number >= 1", "steps", "batch_size")
    require_fields(self, prefix, is_positive, "a positive number",
                    "learning_rate")
    require_fields(self, prefix, is_not_negative, "a number >= 0",
                    "lpips_weight", "mse_weight", "offset_weight")
    require_fields(self, prefix, lambda v: 0 <= v <= 1,
                    "a number >= 0 and <= 1", "beta")
    _require_a_loss(self, prefix)
    return self


@dataclasses.dataclass(frozen=True)
class PivotConfig:
  """Pivotal tuning: the generator is bent to one photo (Roich et al. 2021)."""

  mode: Literal["lora", "full"] = setting(
      "lora", "A small adapter on top of the person's, or all weights.")
  rank: int = setting(1, "Of that adapter.")
  steps: int = setting(350, "Steps at most.")
  learning_rate: float = setting(3e-4, "Of Adam.")
  lpips_weight: float = setting(1.0, "Of LPIPS.")
  mse_weight: float = setting(1.0, "Of the mean squared difference.")
  stop_lpips: float = setting(
      0.06, "LPIPS at which a photo is left alone; 0: never.")
  seed: int = setting(0, "Of the adapter's A.")

  def validate(self, prefix: str = "tuning_") -> "PivotConfig":
    """As `ProjectionConfig.validate`."""
    check_types(self, prefix)
    require_fields(self, prefix, lambda v: is_size(v, high=2**24),
                    "a whole number >= 1", "steps", "rank")
    require_fields(self, prefix, is_positive, "a positive number",
                    "learning_rate")
    require_fields(self, prefix, is_not_negative, "a number >= 0",
                    "lpips_weight", "mse_weight", "stop_lpips")
    require_fields(self, prefix, lambda v: 0 <= v < 2**32,
                    "a whole number >= 0", "seed")
    _require_a_loss(self, prefix)
    require(self.lpips_weight > 0 or not self.stop_lpips,
             f"{prefix}stop_lpips", "0 where LPIPS has no weight",
             self.stop_lpips)
    return self
