"""Settings of the prior's training, and its stages."""

import dataclasses
from typing import NamedTuple

import jax

from my3dgen_jax.config import check_numbers, ConfigError, setting


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
  """Training of the prior."""

  point_steps: int = setting(
    3000, "Optimizer steps of the first stage, on points in space, >= 0."
  )
  crop_steps: int = setting(
    30_000, "Optimizer steps of the second stage, on crops and points, >= 0."
  )
  image_steps: int = setting(
    6000,
    "Optimizer steps of the last stage, on whole pictures and points, >= 0.",
  )
  people: int = setting(4, "People per step, over all devices, >= 1.")
  points: int = setting(2560, "Points per person, a multiple of 5.")
  point_rate: float = setting(
    0.02, "Peak learning rate of the first stage, > 0."
  )
  crop_rate: float = setting(
    0.01, "Peak learning rate of the second stage, > 0."
  )
  image_rate: float = setting(
    0.002, "Peak learning rate of the last stage, > 0."
  )
  point_weight: float = setting(
    0.1, "Weight of the loss on points, relative to pictures, >= 0."
  )
  average: float = setting(
    0.999, "Decay rate of the weights' running average, in [0, 1)."
  )
  w_samples: int = setting(
    20_000, "Samples to estimate the mean of W from, >= 1."
  )
  save_every: int = setting(500, "Steps between saved states and sheets, >= 1.")
  log_every: int = setting(50, "Steps between log lines, >= 1.")
  seed: int = setting(0, "Seed of the weights and people, >= 0.")

  def validate(self) -> "PretrainConfig":
    """Checks every field; raises ConfigError that names the invalid one."""
    check_numbers(
      self,
      may_be_zero=(
        "point_steps",
        "crop_steps",
        "image_steps",
        "seed",
        "point_weight",
        "average",
      ),
    )
    if self.points % 5:
      raise ConfigError(f"points: expected a multiple of 5, got {self.points}")
    if self.people % jax.local_device_count():
      raise ConfigError(
        "people: expected a multiple of the number of devices, "
        f"{jax.local_device_count()}, got {self.people}"
      )
    return self

  @property
  def steps(self) -> int:
    return self.point_steps + self.crop_steps + self.image_steps


class Stage(NamedTuple):
  """A stage of the training.

  Attributes:
    steps: number of steps.
    rate: peak learning rate.
    part: side of the crop, as a share of the frame's; 0: no pictures.
  """

  steps: int
  rate: float
  part: float


def stages_of(config: PretrainConfig) -> tuple[Stage, ...]:
  """The stages: points in space, crops, then whole pictures."""
  return (
    Stage(config.point_steps, config.point_rate, 0),
    Stage(config.crop_steps, config.crop_rate, 0.5),
    Stage(config.image_steps, config.image_rate, 1),
  )
