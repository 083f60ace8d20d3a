"""How far users may turn heads: the range that priors were trained on."""

import dataclasses

from my3dgen_jax.apps.rendering import render
from my3dgen_jax.config import setting


@dataclasses.dataclass(frozen=True)
class Limits:
  """Limits of the camera's angles."""

  yaw: float = setting(
    0.6, "Largest angle of the camera to either side, radians."
  )
  pitch: float = setting(
    0.35, "Largest angle of the camera up and down, radians."
  )

  def validate(self) -> "Limits":
    """Checks both; raises UserError naming a bad one."""
    render.check_reach(self.yaw, self.pitch)
    return self
