"""The region of space that the head occupies."""

from typing import NamedTuple

import numpy as np

from my3dgen_jax.apps.meshing.density import Volume

_MARGIN = 2  # grid points around the head that belong to its region


class Head(NamedTuple):
  """A region of space.

  Attributes:
    inside: [N, N, N] bool, axes x, y, z.
    side: side of the cube around the world's origin that the grid fills, world
      units.
  """

  inside: np.ndarray
  side: float

  def holds(self, points: np.ndarray) -> np.ndarray:
    """Whether points [..., 3] are in the region, [...] bool."""
    count = len(self.inside)
    place = (points / self.side + 0.5) * (count - 1)
    near = np.rint(place).astype(np.int64)
    within = ((near >= 0) & (near < count)).all(axis=-1)
    near = np.clip(near, 0, count - 1)
    return within & self.inside[near[..., 0], near[..., 1], near[..., 2]]


def find_head(volume: Volume, level: float) -> Head:
  """The piece with the largest surface, and a margin around it.

  As for meshes, the cube's cuts are not counted: a wall behind a head would
  gain more area there than it has itself. Without any piece, it is the whole
  cube.

  Args:
    volume: the density.
    level: raw density at the surface.
  """
  # Imported here: it takes half a second, which most commands do not need.
  from scipy import ndimage  # pylint: disable=import-outside-toplevel

  solid = volume.inner > level
  pieces, count = ndimage.label(solid)
  if not count:
    return Head(np.ones_like(solid), volume.side)
  surface = np.zeros(count + 1, np.int64)
  for axis in range(3):
    before, after = (
      np.moveaxis(pieces, axis, 0)[chosen]
      for chosen in (slice(None, -1), slice(1, None))
    )
    for one, other in ((before, after), (after, before)):
      surface += np.bincount(one[other == 0], minlength=count + 1)
  surface[0] = 0
  return Head(
    ndimage.binary_dilation(pieces == np.argmax(surface), iterations=_MARGIN),
    volume.side,
  )
