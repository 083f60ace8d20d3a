"""What may be missing from a photo, and how it is looked for."""

import dataclasses
import functools
from typing import Literal

from my3dgen_jax.config import HullFitConfig, part, setting
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import degradations
from my3dgen_jax.training.hull_fit import Degradation

INPAINT, ENLARGE = "inpaint", "superresolution"
TASKS = (INPAINT, ENLARGE, "color", "deblur", "jpeg")


@dataclasses.dataclass(frozen=True)
class EnhanceConfig:
  """How photos are enhanced."""

  task: Literal["inpaint", "superresolution", "color", "deblur", "jpeg"] = (
    setting(
      INPAINT,
      "What is missing: inpaint: a hole; "
      "superresolution: detail of small photos; color: the "
      "colors of grey ones; deblur: sharpness; jpeg: what JPEG "
      "files lose.",
    )
  )
  hull: HullFitConfig = part(HullFitConfig(), "hull_")
  factor: float | None = setting(
    None,
    "superresolution: factor, >= 1, by which photos are made smaller "
    "first, to compare the results with them.",
  )
  sigma: float = setting(4.0, "deblur: standard deviation of the blur, pixels.")
  quality: float = setting(10.0, "jpeg: quality of the photos, 1 to 100.")
  # Always so with a factor, for the centre as the hole, and with one mask for
  # several photos.
  intact: bool = setting(
    False,
    "Photos show what is to be found: degrade them first, and "
    "compare; else a photo with a hole of its own is only filled.",
  )
  everywhere: bool = setting(
    False, "Take the background from the generator, too, not from the photo."
  )
  feather: float = setting(
    0.02,
    "Width of the soft edge of the person's mask, as a share of the "
    "image's side, in [0, 0.5].",
  )
  agreement_steps: int = setting(
    40,
    "Steps that bring the result to what was seen, >= 0; 0: what the "
    "generator shows stays.",
  )

  def validate(self) -> "EnhanceConfig":
    """Checks the parts; raises ConfigError or UserError that names one."""
    self.hull.validate()
    if self.task not in TASKS:
      raise UserError(
        f"task: expected one of {', '.join(TASKS)}, got {self.task!r}"
      )
    if self.factor is not None and not 1 <= self.factor < float("inf"):
      raise UserError(f"factor: expected a number >= 1, got {self.factor}")
    for name, low, high in (
      ("sigma", 1e-3, 1000),
      ("quality", 1, 100),
      ("feather", 0, 0.5),
    ):
      if not low <= getattr(self, name) <= high:
        raise UserError(
          f"{name}: expected a number in [{low}, {high}], got "
          f"{getattr(self, name)}"
        )
    if not 0 <= self.agreement_steps <= 100_000:
      raise UserError(
        "agreement_steps: expected a whole number >= 0, got "
        f"{self.agreement_steps}"
      )
    return self


def degradation_of(config: EnhanceConfig, *, side: int) -> Degradation:
  """What a task says has happened to a photo.

  Args:
    config: of any task but "inpaint".
    side: of the photos as they were seen, pixels.

  Raises: UserError: nothing has happened to an image.
  """
  if config.task not in TASKS[1:]:
    raise UserError(f"task: {config.task} is no degradation of whole images")
  return _degradation_of(config.task, side, config.sigma, config.quality)


@functools.lru_cache(maxsize=16)
def _degradation_of(
  task: str, side: int, sigma: float, quality: float
) -> Degradation:
  """The same object for the same settings: a search is compiled for it."""
  return Degradation(
    *{
      ENLARGE: (
        f"shrunk {side}",
        functools.partial(degradations.shrunk, side=side),
      ),
      "color": ("grey", degradations.grey),
      "deblur": (
        f"blurred {sigma!r}",
        functools.partial(degradations.blurred, sigma=sigma),
      ),
      "jpeg": (
        f"jpeg {quality!r}",
        functools.partial(degradations.jpeg_like, quality=quality),
      ),
    }[task]
  )
