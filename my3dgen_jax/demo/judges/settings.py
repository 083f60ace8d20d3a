"""Settings of the judges' training, and the photos that they need."""

import dataclasses

import jax

from my3dgen_jax.config import check_numbers, ConfigError, setting
from my3dgen_jax.demo import gallery

_TEST_SUPERSAMPLING = 2  # as in albums


@dataclasses.dataclass(frozen=True)
class NetworksConfig:
  """Training of the judges."""

  people: int = setting(
    1000, "Number of training people, each with a twin, >= 1."
  )
  photos: int = setting(4, "Photos per training person, >= 2.")
  resolution: int = setting(
    128, "Side of a photo, pixels; times the supersampling, a multiple of 8."
  )
  supersampling: int = setting(
    1, "Rays per pixel along each side, in training photos, >= 1."
  )
  batch: int = setting(64, "Photos per step, over all devices, >= 1.")
  identity_steps: int = setting(
    800, "Optimizer steps of the identity network, >= 1."
  )
  identity_rate: float = setting(
    0.004, "Peak learning rate of the identity network, > 0."
  )
  margin: float = setting(0.3, "ArcFace's margin, radians, >= 0.")
  scale: float = setting(20.0, "ArcFace's scale of cosines, > 0.")
  feature_steps: int = setting(
    600, "Optimizer steps of the feature network, >= 1."
  )
  feature_rate: float = setting(
    0.002, "Peak learning rate of the feature network, > 0."
  )
  test_people: int = setting(
    100, "Number of test people, each with a twin, >= 2."
  )
  test_kinds_people: int = setting(
    16, "Number of test people to compare kinds of marks on, >= 1."
  )
  test_photos: int = setting(4, "Photos per test person, >= 2.")
  save_every: int = setting(100, "Steps between saved states, >= 1.")
  log_every: int = setting(25, "Steps between log lines, >= 1.")
  seed: int = setting(0, "Seed of the weights and people, >= 0.")

  def validate(self) -> "NetworksConfig":
    """Checks every field; raises ConfigError that names the invalid one."""
    check_numbers(self, may_be_zero=("margin", "seed"))
    for name in ("photos", "test_photos", "test_people"):
      if getattr(self, name) < 2:
        raise ConfigError(
          f"{name}: expected at least 2, got {getattr(self, name)}"
        )
    if self.resolution * self.supersampling % 8:
      raise ConfigError(
        "resolution: expected a multiple of 8 after multiplication by "
        f"supersampling = {self.supersampling}, got {self.resolution}"
      )
    if self.batch % jax.local_device_count():
      raise ConfigError(
        "batch: expected a multiple of the number of devices, "
        f"{jax.local_device_count()}, got {self.batch}"
      )
    if self.batch > self.plan.size:
      raise ConfigError(
        f"batch: expected at most {self.plan.size}, the number of photos, got "
        f"{self.batch}"
      )
    return self

  @property
  def plan(self) -> gallery.Plan:
    """The training photos."""
    return gallery.Plan(
      people=self.people,
      photos=self.photos,
      seed=3 * self.seed + 1,
      resolution=self.resolution,
      supersampling=self.supersampling,
    )

  @property
  def test_plans(self) -> tuple[gallery.Plan, gallery.Plan]:
    """The test photos: of twins, and of each kind of mark."""
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
