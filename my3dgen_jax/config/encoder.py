"""The encoder's architecture and training settings."""

import dataclasses
from typing import Literal

from my3dgen_jax.config.checks import (
  build,
  check_types,
  is_not_negative,
  is_positive,
  is_power_of_two,
  is_size,
  MAX_SIZE,
  require,
  require_fields,
  setting,
)
from my3dgen_jax.config.generator import GeneratorConfig

_LARGEST = 256  # side of an encoder's largest input, pixels
_LAST = 4  # side of the last feature map, pixels


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """Sizes of an encoder; `for_generator` derives them from a generator.

  Attributes:
    resolution: side of the input images, pixels, a power of two >= 8.
    w_dim: size of w.
    rows: rows of the predicted latent: 1 (W), or the generator's num_ws (W+).
    channels: channels of the convolutions, one per halving of the side down
      to 4 pixels.
    features: size of the layer between the convolutions and w.
  """

  resolution: int
  w_dim: int
  rows: int
  channels: tuple[int, ...]
  features: int

  @classmethod
  def for_generator(
    cls, generator: GeneratorConfig, space: Literal["w", "w+"] = "w"
  ) -> "EncoderConfig":
    """The sizes of an encoder for a generator.

    Args:
      generator: the generator's config.
      space: "w": one w for all layers; "w+": one w per layer.
    """
    # Half the resolution is enough to see pose, shape and lighting.
    resolution = max(min(generator.img_resolution // 2, _LARGEST), 2 * _LAST)
    halvings = (resolution // _LAST).bit_length() - 1
    first = max(generator.w_dim // 4, 4)
    return cls(
      resolution=resolution,
      w_dim=generator.w_dim,
      rows=1 if space == "w" else generator.num_ws,
      channels=tuple(
        min(first * 2**i, generator.w_dim) for i in range(halvings)
      ),
      features=2 * generator.w_dim,
    ).validate()

  @property
  def space(self) -> Literal["w", "w+"]:
    return "w" if self.rows == 1 else "w+"

  def validate(self) -> "EncoderConfig":
    """Checks every field; raises a ConfigError that names the invalid one."""
    check_types(self, "encoder.")
    require_fields(
      self,
      "encoder.",
      lambda v: is_size(v, high=MAX_SIZE // 16),
      "a whole number in [1, 4096]",
      "resolution",
      "w_dim",
      "rows",
      "features",
    )
    require(
      is_power_of_two(self.resolution) and self.resolution >= 2 * _LAST,
      "encoder.resolution",
      f"a power of two >= {2 * _LAST}",
      self.resolution,
    )
    require(
      _LAST << len(self.channels) == self.resolution
      and all(is_size(one, high=MAX_SIZE // 16) for one in self.channels),
      "encoder.channels",
      "one number per halving of the resolution down to 4",
      self.channels,
    )
    return self

  def to_dict(self) -> dict:
    """Plain data; the inverse of `from_dict`."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, data: dict) -> "EncoderConfig":
    """The inverse of `to_dict`; raises ConfigError on an invalid field."""
    found = build(cls, data, "encoder.")
    return found.validate()


@dataclasses.dataclass(frozen=True)
class EncoderTrainingConfig:
  """Training of an encoder on the generator's own pictures."""

  space: Literal["w", "w+"] = setting(
    "w", "Latent space: w, one w for all layers, or w+, one w per layer."
  )
  samples: int = setting(
    400_000,
    "Number of latents to render as training pictures, >= batch_size; pictures "
    "that later steps reuse are kept in --out.",
  )
  steps: int = setting(
    20_000, "Optimizer steps of the first stage, with one look, >= 1."
  )
  look_steps: int = setting(
    5_000,
    "Optimizer steps of the second stage, in which a second look compares the "
    "photo with the first look's rendering, and pictures enter the loss; >= 0.",
  )
  batch_size: int = setting(
    64, "Pictures per step of the first stage, over all devices, >= 1."
  )
  look_batch_size: int = setting(
    16, "Pictures per step of the second stage, over all devices, >= 1."
  )
  learning_rate: float = setting(
    0.001, "Peak learning rate of the first stage, > 0."
  )
  look_learning_rate: float = setting(
    0.0003, "Peak learning rate of the second stage, > 0."
  )
  average: float = setting(
    0.998, "Decay rate of the weights' running average, in [0, 1)."
  )
  metric_samples: int = setting(
    2_000,
    "Number of gradients to estimate the metric of W from, which measures how "
    "visible a change of w is; >= 1.",
  )
  metric_share: float = setting(
    0.9,
    "Share of the metric in the loss on w, in [0, 1]; the rest weights all "
    "directions equally.",
  )
  w_weight: float = setting(1.0, "Weight of the loss on w, >= 0.")
  lpips_weight: float = setting(
    1.0, "Weight of LPIPS between pictures, >= 0; needs --lpips."
  )
  mse_weight: float = setting(
    1.0, "Weight of the mean squared error between pictures, >= 0."
  )
  identity_weight: float = setting(
    0.0,
    "Weight of the identity loss, 1 - cosine similarity, >= 0; needs --identity.",
  )
  truncation: float = setting(
    0.7,
    "Smallest truncation psi of the latents, in (0, 1]; psi is drawn uniformly "
    "between it and 1.",
  )
  mixing: float = setting(
    0.5, "Share of W+ latents that mix the layers of two latents, in [0, 1]."
  )
  yaw: float = setting(
    0.3,
    "Standard deviation of the cameras' yaw, radians; truncated at twice this.",
  )
  pitch: float = setting(
    0.15,
    "Standard deviation of the cameras' pitch, radians; truncated at twice "
    "this.",
  )
  camera_error: float = setting(
    3.0,
    "Standard deviation of the noise on camera labels, degrees, to imitate "
    "estimated cameras.",
  )
  scale_error: float = setting(
    0.05, "Largest error of a crop's size, as a share of its side."
  )
  shift_error: float = setting(
    0.02, "Largest error of a crop's position, as a share of its side."
  )
  augmentation: float = setting(
    1.0,
    "Strength of the augmentations (color, blur, noise, JPEG, occluders), from "
    "0, none, to 1.",
  )
  seed: int = setting(
    0, "Seed of the weights, latents and augmentations, >= 0."
  )
  save_every: int = setting(500, "Steps between saved states, >= 1.")
  log_every: int = setting(25, "Steps between log entries, >= 1.")
  held_out: int = setting(
    256, "Number of held-out latents for the report, >= 1."
  )

  def validate(self, prefix: str = "") -> "EncoderTrainingConfig":
    """Checks every field; raises a ConfigError that names the invalid one."""
    check_types(self, prefix)
    require_fields(
      self,
      prefix,
      lambda v: is_size(v, high=2**31 - 1),
      "a whole number >= 1",
      "samples",
      "steps",
      "batch_size",
      "look_batch_size",
      "metric_samples",
      "save_every",
      "log_every",
      "held_out",
    )
    require_fields(
      self,
      prefix,
      lambda v: is_size(v, low=0, high=2**31 - 1),
      "a whole number >= 0",
      "look_steps",
      "seed",
    )
    require_fields(
      self,
      prefix,
      is_positive,
      "a positive number",
      "learning_rate",
      "look_learning_rate",
    )
    require_fields(
      self,
      prefix,
      is_not_negative,
      "a number >= 0",
      "w_weight",
      "lpips_weight",
      "mse_weight",
      "identity_weight",
      "yaw",
      "pitch",
      "camera_error",
      "scale_error",
      "shift_error",
    )
    require_fields(
      self,
      prefix,
      lambda v: 0 <= v <= 1,
      "a number in [0, 1]",
      "metric_share",
      "mixing",
      "augmentation",
    )
    require_fields(
      self, prefix, lambda v: 0 <= v < 1, "a number >= 0 and < 1", "average"
    )
    require_fields(
      self, prefix, lambda v: 0 < v <= 1, "a number in (0, 1]", "truncation"
    )
    for name in ("batch_size", "look_batch_size"):
      require(
        getattr(self, name) <= self.samples,
        f"{prefix}{name}",
        f"at most samples = {self.samples}",
        getattr(self, name),
      )
    return self

  @property
  def all_steps(self) -> int:
    """Steps of both stages."""
    return self.steps + self.look_steps
