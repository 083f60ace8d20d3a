"""How directions are found and followed: what a user chooses."""

import dataclasses
from typing import Literal, Tuple

from my3dgen_jax import latents
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.data import provenance
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import checks

APPLIES = ("alpha", "w")
UNITS = ("spread", "w")

_MOST = 1_000_000


@dataclasses.dataclass(frozen=True)
class EditConfig:
  """How directions are found and followed.

  Attributes:
    samples: latents that a direction is found among.
    truncation_psi: of the samples.
    seed: of the samples.
    batch_size: pictures at a time, over all devices.
    share: see `directions.fit`.
    strengths: how far one goes, a column each.
    unit: "spread": strengths count standard deviations of the samples along
      the direction; "w": they are lengths in W.
    apply: "alpha": the direction is followed as weights of the anchors, as
      far as they can follow it; "w": it is added to w.
    edge: what happens where the hull ends, see `latents.Hull.edit`. Anchors
      lie on its border themselves, so "stop" hardly moves them.
    beta: of the hull.
    turn: the camera's yaw goes from -turn at the first strength to turn at
      the last one, radians; 0: it stays where the start's is.
    frames: of a video a start, in which the strength goes from the first to
      the last and back; 0: none.
    yaw: how far the video's camera turns to either side, radians.
    pitch: how far it nods, radians; both 0: as the start's.
    video: its suffix, see `provenance.VIDEOS`.
  """

  samples: int = 10_000
  truncation_psi: float = 1.0
  seed: int = 0
  batch_size: int = 4
  share: float = 0.1
  strengths: Tuple[float, ...] = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
  unit: Literal["spread", "w"] = "spread"
  apply: Literal["alpha", "w"] = "alpha"
  edge: Literal["stop", "continue", "project"] = "continue"
  beta: float = 0.02
  turn: float = 0.0
  frames: int = 0
  yaw: float = 0.0
  pitch: float = 0.0
  video: str = ".mp4"

  def validate(self) -> "EditConfig":
    """Checks every field; raises UserError that names one."""
    for name, known in (("unit", UNITS), ("apply", APPLIES),
                        ("edge", latents.EDGES), ("video", provenance.VIDEOS)):
      if getattr(self, name) not in known:
        raise UserError(f"{name}: expected one of {', '.join(known)}, got "
                        f"{getattr(self, name)!r}")
    for name, low, high in (("samples", 1, _MOST), ("seed", 0, 2**32 - 1),
                            ("batch_size", 1, _MOST), ("frames", 0, 100_000)):
      checks.whole_number(name, getattr(self, name), low, high)
    checks.as_float32("truncation_psi", self.truncation_psi, ())
    checks.as_float32("strengths", self.strengths, ("T",))
    for name, low, high in (("share", 1e-6, 0.5), ("beta", 0, 1)):
      if not low <= getattr(self, name) <= high:
        raise UserError(f"{name}: expected a number in [{low}, {high}], got "
                        f"{getattr(self, name)}")
    render.check_reach(self.yaw, self.pitch)
    render.check_reach(self.turn, 0.0)
    return self
