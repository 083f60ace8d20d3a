"""The user's choices: how directions are found and followed."""

import dataclasses
from typing import Literal

from my3dgen_jax import latents
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.config import setting
from my3dgen_jax.data import provenance
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import checks

APPLIES = ("alpha", "w")
UNITS = ("spread", "w")

_MAX_COUNT = 1_000_000


@dataclasses.dataclass(frozen=True)
class EditConfig:
  """How directions are found and followed."""

  samples: int = setting(
    10_000,
    "Number of the generator's samples to find a direction with, >= 1.",
    low=1,
  )
  truncation_psi: float = setting(
    1.0, "Truncation of the samples; 1: none, 0: the mean face."
  )
  seed: int = setting(0, "Seed of the samples, >= 0.", low=0)
  batch_size: int = setting(
    4, "Pictures per batch, over all devices, >= 1.", low=1
  )
  share: float = setting(
    0.1,
    "Share of the samples to fit a direction to, in (0, 0.5]: those with the "
    "highest scores against as many with the lowest.",
  )
  strengths: tuple[float, ...] = setting(
    (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),
    "Strengths of the edit, in the unit given by --unit.",
    low=-1000,
    high=1000,
  )
  unit: Literal["spread", "w"] = setting(
    "spread",
    "Unit of strengths: spread: standard deviations of the samples "
    "along the direction; w: distance in W.",
  )
  apply: Literal["alpha", "w"] = setting(
    "alpha",
    "How to apply a direction: alpha: by changing the anchor weights, as "
    "closely as they allow; w: by adding it to w.",
  )
  edge: Literal["stop", "continue", "project"] = setting(
    "continue",
    "Behavior at the edge of the hull: stop, continue beyond it, or project "
    "onto the hull. The run's photos lie at the edge already, so stop hardly "
    "moves them.",
  )
  beta: float = setting(
    0.02, "Dilation of the hull: anchor weights are >= -beta; in [0, 1]."
  )
  turn: float = setting(
    0.0,
    "Yaw of the camera at the last strength, radians; -turn at the first; 0: "
    "the camera does not move.",
  )
  frames: int = setting(
    0,
    "Frames of each start's video, which goes from the first strength to the "
    "last and back; 0: no video.",
    low=0,
  )
  yaw: float = setting(
    0.0, "Largest angle of the video's camera to either side, radians."
  )
  pitch: float = setting(
    0.0, "Largest angle of the video's camera up and down, radians."
  )
  video: str = setting(
    ".mp4", "File format of the video.", choices=provenance.VIDEOS
  )

  def validate(self) -> "EditConfig":
    """Checks every field; raises UserError naming the first bad one."""
    for name, known in (
      ("unit", UNITS),
      ("apply", APPLIES),
      ("edge", latents.EDGES),
      ("video", provenance.VIDEOS),
    ):
      if getattr(self, name) not in known:
        raise UserError(
          f"{name}: expected one of {', '.join(known)}, got "
          f"{getattr(self, name)!r}"
        )
    for name, low, high in (
      ("samples", 1, _MAX_COUNT),
      ("seed", 0, 2**32 - 1),
      ("batch_size", 1, _MAX_COUNT),
      ("frames", 0, 100_000),
    ):
      checks.whole_number(name, getattr(self, name), low, high)
    checks.as_float32("truncation_psi", self.truncation_psi, ())
    checks.as_float32("strengths", self.strengths, ("T",))
    for name, low, high in (("share", 1e-6, 0.5), ("beta", 0, 1)):
      if not low <= getattr(self, name) <= high:
        raise UserError(
          f"{name}: expected a number in [{low}, {high}], got "
          f"{getattr(self, name)}"
        )
    render.check_reach(self.yaw, self.pitch)
    render.check_reach(self.turn, 0.0)
    return self
