"""What may be missing from a photo, and how it is looked for."""

import dataclasses
import functools
from typing import Literal, Optional

from my3dgen_jax.config import HullFitConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import degradations
from my3dgen_jax.training.hull_fit import Degradation

INPAINT, ENLARGE = "inpaint", "superresolution"
TASKS = (INPAINT, ENLARGE, "colour", "deblur", "jpeg")


@dataclasses.dataclass(frozen=True)
class EnhanceConfig:
  """How photos are enhanced.

  Attributes:
    task: one of `TASKS`.
    hull: of the search.
    factor: task "superresolution" of photos of the generator's size: how many
      times smaller they are made first, >= 1.
    sigma: task "deblur": of the blur, pixels.
    quality: task "jpeg": see `degradations.jpeg_like`.
    intact: photos show what is to be found: they are degraded first, and
      results are compared with them. Always so with a factor, for the centre
      as the hole, and with one mask for several photos.
    everywhere: what the generator shows replaces the background too; else
      that is the photo's, as it was seen.
    feather: width of the person mask's soft edge, share of the side.
    agreement_steps: of `degradations.agreeing`; 0: the generator's word
      stands.
  """

  task: Literal["inpaint", "superresolution", "colour", "deblur",
                "jpeg"] = INPAINT
  hull: HullFitConfig = HullFitConfig()
  factor: Optional[float] = None
  sigma: float = 4.0
  quality: float = 10.0
  intact: bool = False
  everywhere: bool = False
  feather: float = 0.02
  agreement_steps: int = 40

  def validate(self) -> "EnhanceConfig":
    """Checks the parts; raises ConfigError or UserError that names one."""
    self.hull.validate()
    if self.task not in TASKS:
      raise UserError(f"task: expected one of {', '.join(TASKS)}, got "
                      f"{self.task!r}")
    if self.factor is not None and not 1 <= self.factor < float("inf"):
      raise UserError(f"factor: expected a number >= 1, got {self.factor}")
    for name, low, high in (("sigma", 1e-3, 1000), ("quality", 1, 100),
                            ("feather", 0, 0.5)):
      if not low <= getattr(self, name) <= high:
        raise UserError(f"{name}: expected a number in [{low}, {high}], got "
                        f"{getattr(self, name)}")
    if not 0 <= self.agreement_steps <= 100_000:
      raise UserError("agreement_steps: expected a whole number >= 0, got "
                      f"{self.agreement_steps}")
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
def _degradation_of(task: str, side: int, sigma: float, quality: float
                    ) -> Degradation:
  """The same object for the same settings: a search is compiled for it."""
  return Degradation(*{
      ENLARGE: (f"shrunk {side}", functools.partial(
          degradations.shrunk, side=side)),
      "colour": ("grey", degradations.grey),
      "deblur": (f"blurred {sigma!r}", functools.partial(
          degradations.blurred, sigma=sigma)),
      "jpeg": (f"jpeg {quality!r}", functools.partial(
          degradations.jpeg_like, quality=quality)),
  }[task])
