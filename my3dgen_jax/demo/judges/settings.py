"""Settings of the judges' training, and the photos that they ask for."""

import dataclasses

import jax

from my3dgen_jax.config import check_numbers, ConfigError, setting
from my3dgen_jax.demo import gallery

_TEST_SUPERSAMPLING = 2  # as albums have it


@dataclasses.dataclass(frozen=True)
class NetworksConfig:
  """How the judges are trained."""

  people: int = setting(1000, "People to learn from, each with a twin.")
  photos: int = setting(4, "Photos of each.")
  resolution: int = setting(128, "Side of a photo, pixels.")
  supersampling: int = setting(1, "Rays a pixel along each side, in training.")
  batch: int = setting(64, "Photos a step, shared by the devices.")
  identity_steps: int = setting(800, "Steps of the identity network.")
  identity_rate: float = setting(0.004, "Its peak learning rate.")
  margin: float = setting(0.3, "ArcFace's margin, radians.")
  scale: float = setting(20.0, "ArcFace's scale of cosines.")
  feature_steps: int = setting(600, "Steps of the features.")
  feature_rate: float = setting(0.002, "Their peak learning rate.")
  test_people: int = setting(100, "People to measure with, with twins.")
  test_kinds_people: int = setting(16, "People to measure marks with.")
  test_photos: int = setting(4, "Photos of each.")
  save_every: int = setting(100, "Steps between saved states.")
  log_every: int = setting(25, "Steps between logged ones.")
  seed: int = setting(0, "Seed of weights and people.")

  def validate(self) -> "NetworksConfig":
    """Checks every field; raises ConfigError that names it."""
    check_numbers(self, may_be_zero=("margin", "seed"))
    for name in ("photos", "test_photos", "test_people"):
      if getattr(self, name) < 2:
        raise ConfigError(
          f"{name}: expected at least 2, got {getattr(self, name)}"
        )
    if self.resolution * self.supersampling % 8:
      raise ConfigError(
        f"resolution: times the supersampling expected a "
        f"multiple of 8, got {self.resolution}"
      )
    if self.batch % jax.local_device_count():
      raise ConfigError(
        f"batch: expected a multiple of the devices, "
        f"{jax.local_device_count()}, got {self.batch}"
      )
    if self.batch > self.plan.size:
      raise ConfigError(
        f"batch: expected at most all {self.plan.size} photos, got {self.batch}"
      )
    return self

  @property
  def plan(self) -> gallery.Plan:
    """The photos to learn from."""
    return gallery.Plan(
      people=self.people,
      photos=self.photos,
      seed=3 * self.seed + 1,
      resolution=self.resolution,
      supersampling=self.supersampling,
    )

  @property
  def test_plans(self) -> tuple[gallery.Plan, gallery.Plan]:
    """The photos to measure with: of twins, and of kinds of marks."""
    test = dataclasses.replace(
      self.plan,
      people=self.test_people,
      photos=self.test_photos,
      seed=3 * self.seed + 2,
      supersampling=_TEST_SUPERSAMPLING,
    )
    return test, dataclasses.replace(
      test,
      people=self.test_kinds_people,
      seed=3 * self.seed + 3,
      variants="kinds",
    )
