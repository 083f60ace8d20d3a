"""Settings of the prior's training, and its stages."""

import dataclasses
from typing import NamedTuple

import jax

from my3dgen_jax.config import check_numbers, ConfigError, setting


@dataclasses.dataclass(frozen=True)
class PretrainConfig:
  """How the prior is trained."""

  point_steps: int = setting(3000, "Steps on points of space.")
  crop_steps: int = setting(30_000, "Steps on crops and points.")
  image_steps: int = setting(6000, "Steps on whole pictures and points.")
  people: int = setting(4, "People a step, shared by the devices.")
  points: int = setting(2560, "Points a person, a multiple of 5.")
  point_rate: float = setting(0.02, "Peak learning rate on points.")
  crop_rate: float = setting(0.01, "Peak learning rate on crops.")
  image_rate: float = setting(0.002, "Peak learning rate on pictures.")
  point_weight: float = setting(0.1, "Weight of points beside pictures.")
  average: float = setting(0.999, "Decay of the average of the weights.")
  w_samples: int = setting(20_000, "Samples for the mean of W.")
  save_every: int = setting(500, "Steps between saved states and sheets.")
  log_every: int = setting(50, "Steps between logged ones.")
  seed: int = setting(0, "Seed of weights and people.")

  def validate(self) -> "PretrainConfig":
    """Checks every field; raises ConfigError that names it."""
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
        f"people: expected a multiple of the devices, "
        f"{jax.local_device_count()}, got {self.people}"
      )
    return self

  @property
  def steps(self) -> int:
    return self.point_steps + self.crop_steps + self.image_steps


class Stage(NamedTuple):
  """What some steps learn from.

  Attributes:
    steps: how many.
    rate: peak learning rate.
    part: side of what a picture shows of the frame; 0: no pictures.
  """

  steps: int
  rate: float
  part: float


def stages_of(config: PretrainConfig) -> tuple[Stage, ...]:
  """Points of space, crops, then whole pictures."""
  return (
    Stage(config.point_steps, config.point_rate, 0),
    Stage(config.crop_steps, config.crop_rate, 0.5),
    Stage(config.image_steps, config.image_rate, 1),
  )
