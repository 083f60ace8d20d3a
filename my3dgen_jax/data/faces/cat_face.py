"""Cats' faces, as EG3D's AFHQ generators expect them.

Nine points, in the order of the CAT data set, whose `.cat` files hold them:
the eyes, the mouth, and three for each ear: outer base, tip and inner base of
the left ear, then inner base, tip and outer base of the right one; left is the
image's left.

Limits: EG3D made its labels with nine such points and OpenCV, but neither its
model of a cat nor its labels are public, so nothing here is fitted to them.

- The shape is the cat that GRAM aligns to (Deng et al. 2022), in units of the
  eyes' distance. It matches the points that we marked by hand in 16 photos of
  one cat and one photo of another to 0.03 units at the eyes, 0.11 at the
  mouth, 0.15 at the ears' bases and 0.25 at their tips; ears move. `_DEVIATION`
  comes from this.
- AFHQ's images have "the eyes at the center" (StarGAN v2, section 4); so do
  GRAM's crops, in which the eyes are a third of the width apart. We use those.
- The crop's center is where EG3D's average cameras for cats look, 0.06 behind
  the origin (its table of settings); so the size in the world follows from the
  crop's size.

The points are clicked (`apps.marking`), or come from any program that writes
them; `cat_detector` finds where cats are in a photo, but no points.
"""

import functools

import numpy as np

from my3dgen_jax.data.faces import face_align, face_pose
from my3dgen_jax.data.faces.face_pose import Domain, HeadShape
from my3dgen_jax.ops import cameras

POINTS = 9
SUFFIX = ".cat"  # of the file next to a photo: NAME.jpg.cat

# x to the image's right, y up, z towards the viewer; the eyes are 1 apart.
_SHAPE = np.array(
  [
    [-0.500, 0.026, 0.402],
    [0.500, 0.026, 0.402],
    [0.000, -0.599, 0.914],
    [-1.183, 0.343, -0.682],
    [-1.318, 1.628, -0.499],
    [-0.532, 0.950, -0.320],
    [0.532, 0.950, -0.320],
    [1.318, 1.628, -0.499],
    [1.183, 0.343, -0.682],
  ]
)
_DEVIATION = np.array([0.04, 0.04, 0.1, 0.15, 0.25, 0.15, 0.15, 0.25, 0.15])
_SIDE = 3.066  # side of the crop, in units of the eyes' distance
_PIVOT = -0.06  # z of the point that cameras look at, world units


def frontal_shape() -> np.ndarray:
  """The nine points of a frontal cat face, [9, 2]: x right, y down."""
  return _SHAPE[:, :2] * [1, -1]


@functools.cache
def cats() -> Domain:
  """Cats, with nine points each."""
  # World size that the crop's center spans at the cameras' distance.
  unit = face_pose.RADIUS / cameras.FACE_FOCAL / _SIDE
  shape = HeadShape(_SHAPE, np.stack([_DEVIATION, _DEVIATION], axis=1))
  return Domain(
    framing=face_align.Framing(tuple(map(tuple, _SHAPE.tolist())), _SIDE),
    points=shape.placed(tilt_degrees=0.0, unit=unit, up=0.0, forward=_PIVOT),
  )
