"""The encoder's architecture, and how it is trained."""

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

_LARGEST = 256  # side of what an encoder looks at, pixels
_LAST = 4  # side of what its convolutions leave, pixels


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """Sizes of an encoder; `for_generator` chooses those that suit one.

  Attributes:
    resolution: side of what it looks at, pixels, a power of two >= 8.
    w_dim: size of w.
    rows: of what it finds: 1 (W), or the generator's num_ws (W+).
    channels: of the convolutions, for each halving of the side down to 4.
    features: of the layer between convolutions and w.
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
    """The sizes that suit a generator.

    Args:
      generator: its config.
      space: "w": one w for all layers; "w+": one for each.
    """
    # Where everything is and how it is lit shows in half the pixels.
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
    """Checks every field; raises ConfigError that names it."""
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
      "a number for each halving of the resolution down to 4",
      self.channels,
    )
    return self

  def to_dict(self) -> dict:
    """Plain data, which `from_dict` reads."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, data: dict) -> "EncoderConfig":
    """The inverse of `to_dict`; raises ConfigError on what does not fit."""
    found = build(cls, data, "encoder.")
    return found.validate()


@dataclasses.dataclass(frozen=True)
class EncoderTrainingConfig:
  """How an encoder is trained on a generator's own pictures."""

  space: Literal["w", "w+"] = setting(
    "w", "Latent space: w, one w for all layers, or w+, one for each layer."
  )
  samples: int = setting(
    400_000,
    "Latents that pictures are made of, >= batch_size; each is rendered once "
    "and kept in --out where steps need it again.",
  )
  steps: int = setting(20_000, "Optimizer steps with one look, >= 1.")
  look_steps: int = setting(
    5_000,
    "Optimizer steps after those, with a second look at what the first has "
    "found and the loss of pictures, >= 0.",
  )
  batch_size: int = setting(
    64, "Pictures in each step, over all devices, >= 1."
  )
  look_batch_size: int = setting(
    16, "The same of the steps with a second look, >= 1."
  )
  learning_rate: float = setting(0.001, "Peak learning rate, > 0.")
  look_learning_rate: float = setting(
    0.0003, "The same of the steps with a second look, > 0."
  )
  average: float = setting(
    0.998, "Decay rate of the running average of the weights, in [0, 1)."
  )
  metric_samples: int = setting(
    2_000,
    "Gradients that the metric of W is estimated from: how much a change of w "
    "shows; >= 1.",
  )
  metric_share: float = setting(
    0.9,
    "Share of that metric in the loss of w, the rest counts all directions "
    "alike; in [0, 1].",
  )
  w_weight: float = setting(1.0, "Weight of the loss of w, >= 0.")
  lpips_weight: float = setting(
    1.0, "Weight of LPIPS between pictures, with --lpips; >= 0."
  )
  mse_weight: float = setting(
    1.0, "Weight of the mean squared difference of pictures, >= 0."
  )
  identity_weight: float = setting(
    0.0, "Weight of 1 - cos of the faces' identities, with --identity; >= 0."
  )
  truncation: float = setting(
    0.7,
    "Smallest truncation of the latents, which are drawn evenly between it "
    "and 1; in (0, 1].",
  )
  mixing: float = setting(
    0.5, "Share of latents of w+ whose layers come from two of W, in [0, 1]."
  )
  yaw: float = setting(
    0.3, "Standard deviation of the cameras' yaw, cut at twice it, radians."
  )
  pitch: float = setting(0.15, "The same of their pitch, radians.")
  camera_error: float = setting(
    3.0,
    "Standard deviation of the error of camera labels, which estimated ones "
    "have, degrees.",
  )
  scale_error: float = setting(
    0.05, "Largest error of a crop's size, a share of its side."
  )
  shift_error: float = setting(
    0.02, "Largest error of a crop's place, a share of its side."
  )
  augmentation: float = setting(
    1.0,
    "Strength of changes of color, blur, noise, JPEG and occluders: 0, none, "
    "to 1.",
  )
  seed: int = setting(0, "Seed of weights, latents and changes, >= 0.")
  save_every: int = setting(500, "Steps between saved states, >= 1.")
  log_every: int = setting(25, "Steps between logged ones, >= 1.")
  held_out: int = setting(
    256, "Latents that only the report's numbers are of, >= 1."
  )

  def validate(self, prefix: str = "") -> "EncoderTrainingConfig":
    """Checks every field; raises ConfigError that names it."""
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
      self, prefix, lambda v: 0 <= v < 1, ">= 0 and < 1", "average"
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
    """Steps of both kinds."""
    return self.steps + self.look_steps
