"""How far heads turn under somebody's hand: as far as priors were trained."""

import dataclasses

from my3dgen_jax.apps.rendering import render
from my3dgen_jax.config import setting


@dataclasses.dataclass(frozen=True)
class Limits:
  """How far a camera turns."""

  yaw: float = setting(
    0.6, "Largest angle of the camera to either side, radians."
  )
  pitch: float = setting(
    0.35, "Largest angle of the camera up and down, radians."
  )

  def validate(self) -> "Limits":
    """Checks both; raises UserError that names one."""
    render.check_reach(self.yaw, self.pitch)
    return self
