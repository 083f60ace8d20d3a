"""A procedural head: its signed distance, colors and light.

World units, y up, the face looks along +z; the body continues below the frame.
Everything is symmetric in x except marks, light and the hair's part. Colors do
not depend on the view, because EG3D's decoder does not know it. Imports the
demo's `people` and `shapes`.
"""

from my3dgen_jax.demo.heads.colors import wall_color
from my3dgen_jax.demo.heads.face import EYE_HEIGHT
from my3dgen_jax.demo.heads.geometry import (
  build,
  distance,
  sdf,
  WALL_RADIUS,
  wall_sdf,
)
from my3dgen_jax.demo.heads.light import color, shaded, with_normals

__all__ = [
  "EYE_HEIGHT",
  "WALL_RADIUS",
  "build",
  "color",
  "distance",
  "sdf",
  "shaded",
  "wall_color",
  "wall_sdf",
  "with_normals",
]
