"""What may be missing from a photo, and how it is restored."""

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
      "Task: inpaint: fill a hole; superresolution: enlarge small photos; "
      "color: colorize gray photos; deblur: sharpen; jpeg: remove JPEG "
      "artifacts.",
    )
  )
  hull: HullFitConfig = part(HullFitConfig(), "hull_")
  factor: float | None = setting(
    None,
    "superresolution: factor to downscale the photos by first, >= 1, to "
    "compare the results with the originals.",
  )
  sigma: float = setting(4.0, "deblur: standard deviation of the blur, pixels.")
  quality: float = setting(10.0, "jpeg: quality of the photos, 1 to 100.")
  # Always the case with a factor, with the center as the hole, and with one
  # mask for several photos.
  intact: bool = setting(
    False,
    "Treat the photos as intact: degrade them first, then compare the results "
    "with them; else a photo with its own hole is only filled.",
  )
  everywhere: bool = setting(
    False, "Take the background, too, from the generator, not from the photo."
  )
  feather: float = setting(
    0.02,
    "Width of the soft edge of the person's mask, as a share of the image's "
    "side, in [0, 0.5].",
  )
  agreement_steps: int = setting(
    40,
    "Number of steps that adjust the result to the degraded photo, >= 0; 0: "
    "keep the generator's picture as it is.",
  )

  def validate(self) -> "EnhanceConfig":
    """Checks every field; raises ConfigError or UserError naming a bad one."""
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
  """The degradation that a task undoes.

  Args:
    config: settings of any task but "inpaint".
    side: side of the photos as seen, pixels.

  Raises: UserError: the task does not degrade an image.
  """
  if config.task not in TASKS[1:]:
    raise UserError(f"task: {config.task} does not degrade whole images")
  return _degradation_of(config.task, side, config.sigma, config.quality)


@functools.lru_cache(maxsize=16)
def _degradation_of(
  task: str, side: int, sigma: float, quality: float
) -> Degradation:
  """One object per settings, since a search is compiled for it."""
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
