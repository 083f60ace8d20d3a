"""The user's choices: how photos become an album."""

import dataclasses
import math
from typing import Literal

from my3dgen_jax.apps.preparation import looks
from my3dgen_jax.config import ConfigError, setting
from my3dgen_jax.data.faces import photo_quality, upright


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
  """How photos become an album."""

  photos: str = setting(
    "", "Folder of photos and videos, including subfolders; or one video."
  )
  out: str = setting("", "Folder to write; the album goes into its album/.")
  size: int = setting(
    512, "Side of the crops, pixels, 16 to 4096; use the generator's."
  )
  domain: Literal["face", "cat"] = setting(
    "face", "Kind of faces to find: face (people) or cat."
  )
  detections: str = setting(
    "",
    "Landmarks to use instead of a detector: a folder of NAME.txt (cats: "
    "NAME.jpg.cat), or a JSON file. For cats, also searched beside the photos.",
  )
  mark: bool = setting(
    False,
    "Open a page in the browser to mark faces that were not found. "
    "For cats without landmarks it always opens.",
  )
  identity: str = setting(
    "",
    "Folder of a face recognition network, to set other people aside; "
    "none: no such check.",
  )
  min_sharpness: float = setting(
    photo_quality.MIN_SHARPNESS,
    "Minimum sharpness of a face, in [0, 1]; blurred faces have less.",
  )
  min_color: float = setting(
    photo_quality.MIN_COLOR,
    "Minimum color of a photo of people, in [0, 255]; gray and sepia photos "
    "have less.",
  )
  # Measured by benchmarks/small_faces.py: the smaller, the more harm.
  min_scale: float = setting(
    0.4, "Minimum number of photo pixels per crop pixel, along a side."
  )
  min_inside: float = setting(
    0.5,
    "Minimum share of the crop that lies in the photo, in [0, 1]; the rest is "
    "filled and masked.",
  )
  max_roll: float = setting(
    upright.MAX_ROLL,
    "Largest tilt of a head, degrees, in [0, 180]; sideways and upside-down "
    "photos are turned first.",
  )
  duplicate: float = setting(
    photo_quality.DUPLICATE,
    "Correlation of two faces, in [0, 1], at which one counts as a duplicate; "
    "1: no check.",
  )
  frames: int = setting(
    60, "Maximum number of frames to take from each video, >= 1."
  )
  test: float = setting(
    0.1, "Photos to hold out: a share below 1, or a number."
  )
  reference: float = setting(
    0.1, "Photos to compare identity with: a share below 1, or a number."
  )
  mirror: bool = setting(False, "Add mirrored copies of the training photos.")
  keep: tuple[str, ...] = setting(
    (), "Names of photos to keep even if they fail the checks."
  )
  workers: int = setting(0, "Number of processes to use; 0: one per core.")
  overwrite: bool = setting(False, "Replace the album in --out.")

  def validate(self) -> "PrepareConfig":
    """Checks every field; raises ConfigError naming a bad one."""
    for name in ("photos", "out"):
      if not getattr(self, name):
        raise ConfigError(
          f"{name}: is missing: the folder "
          + ("to write" if name == "out" else "of photos")
        )
    if self.domain not in looks.DOMAINS:
      raise ConfigError(
        "domain: expected one of "
        f"{', '.join(looks.DOMAINS)}, got {self.domain!r}"
      )
    for name, low, high in (
      ("size", 16, 4096),
      ("frames", 1, 10_000),
      ("workers", 0, 256),
    ):
      value = getattr(self, name)
      if value != int(value) or not low <= value <= high:
        raise ConfigError(
          f"{name}: expected a whole number from {low} to {high}, got {value}"
        )
    for name, high in (
      ("min_sharpness", 1),
      ("min_color", 255),
      ("min_scale", math.inf),
      ("min_inside", 1),
      ("max_roll", 180),
      ("duplicate", 1),
    ):
      if not 0 <= getattr(self, name) <= high:
        raise ConfigError(
          f"{name}: expected a number from 0 to {high}, got "
          f"{getattr(self, name)}"
        )
    for name in ("test", "reference"):
      value = getattr(self, name)
      if not 0 <= value < 2**31 or value > 1 and value != int(value):
        raise ConfigError(
          f"{name}: expected a share below 1 or a whole number, got {value}"
        )
    if self.domain != "face" and self.identity:
      raise ConfigError(
        "identity: it distinguishes people, not cats; leave it out"
      )
    return self
