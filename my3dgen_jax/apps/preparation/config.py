"""How photos become an album: what a user chooses."""

import dataclasses
import math
from typing import Literal, Tuple

from my3dgen_jax.apps.preparation import looks
from my3dgen_jax.config import ConfigError, setting
from my3dgen_jax.data.faces import photo_quality


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
  """How photos become an album."""

  photos: str = setting("", "Folder of photos and videos, with all that is "
                        "in it; or one video.")
  out: str = setting("", "Folder to write; the album is in its album/.")
  size: int = setting(512, "Side of the crops, pixels: the generator's.")
  domain: Literal["face", "cat"] = setting("face", "Whose faces: face (of "
                                           "people) or cat.")
  detections: str = setting("", "Landmarks to use instead of a detector: a "
                            "folder of NAME.txt (cats: NAME.jpg.cat), or a "
                            "JSON file. Cats' are looked for beside photos.")
  identity: str = setting("", "Folder of a face recognition network, to set "
                          "other people aside; none: no such check.")
  min_sharpness: float = setting(photo_quality.MIN_SHARPNESS, "Blurred faces "
                                 "have less.")
  min_colour: float = setting(photo_quality.MIN_COLOUR, "Grey and sepia "
                              "photos of people have less.")
  min_scale: float = setting(0.4, "Least pixels of a photo for one of the "
                             "crop, along a side.")
  min_inside: float = setting(0.5, "Least share of the crop that lies in the "
                              "photo; the rest is filled up and masked.")
  duplicate: float = setting(photo_quality.DUPLICATE, "From this correlation "
                             "on a face repeats another; 1: none does.")
  frames: int = setting(60, "Of each video, at most.")
  test: float = setting(0.1, "Photos to hold out: a share, or from 1 on a "
                        "number.")
  reference: float = setting(0.1, "Photos to compare identity with, likewise.")
  mirror: bool = setting(False, "Add mirrored copies of the photos to learn "
                         "from.")
  keep: Tuple[str, ...] = setting((), "Names of photos that no check sets "
                                  "aside.")
  workers: int = setting(0, "Processes; 0: one a core.")
  overwrite: bool = setting(False, "Replace the album that --out holds.")

  def validate(self) -> "PrepareConfig":
    """Checks the fields; raises ConfigError that names one."""
    for name in ("photos", "out"):
      if not getattr(self, name):
        raise ConfigError(f"{name}: is missing: the folder "
                          + ("to write" if name == "out" else "of photos"))
    if self.domain not in looks.DOMAINS:
      raise ConfigError("domain: expected one of "
                        f"{', '.join(looks.DOMAINS)}, got {self.domain!r}")
    for name, low, high in (
        ("size", 16, 4096), ("frames", 1, 10_000), ("workers", 0, 256)):
      value = getattr(self, name)
      if value != int(value) or not low <= value <= high:
        raise ConfigError(f"{name}: expected a whole number from {low} to "
                          f"{high}, got {value}")
    for name, high in (
        ("min_sharpness", 1), ("min_colour", 255), ("min_scale", math.inf),
        ("min_inside", 1), ("duplicate", 1)):
      if not 0 <= getattr(self, name) <= high:
        raise ConfigError(f"{name}: expected a number from 0 to {high}, got "
                          f"{getattr(self, name)}")
    for name in ("test", "reference"):
      value = getattr(self, name)
      if not 0 <= value < 2**31 or value > 1 and value != int(value):
        raise ConfigError(f"{name}: expected a share below 1 or a whole "
                          f"number, got {value}")
    if self.domain != "face" and self.identity:
      raise ConfigError("identity: tells people apart, not cats; leave it out")
    return self
