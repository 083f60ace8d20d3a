"""Where in space the head is: what of a picture belongs to it."""

from typing import NamedTuple

import numpy as np

from my3dgen_jax.apps.meshing.density import Volume

_MARGIN = 2  # points of the grid about the head that belong to it


class Head(NamedTuple):
  """A region of space.

  Attributes:
    inside: [N, N, N] bool, axes x, y, z.
    side: the side of the cube about the world's origin that it fills, world units.
  """

  inside: np.ndarray
  side: float

  def holds(self, points: np.ndarray) -> np.ndarray:
    """Which points [..., 3] are in it, [...] bool."""
    count = len(self.inside)
    place = (points / self.side + 0.5) * (count - 1)
    near = np.rint(place).astype(np.int64)
    within = ((near >= 0) & (near < count)).all(axis=-1)
    near = np.clip(near, 0, count - 1)
    return within & self.inside[near[..., 0], near[..., 1], near[..., 2]]


def find_head(volume: Volume, level: float) -> Head:
  """The piece with the largest surface, and a little about it.

  As for meshes, where the cube cuts does not count: a wall behind a head would
  gain more there than it has itself. Without any piece it is the whole cube.

  Args:
    volume: density.
    level: raw density on the surface.
  """
  # Half a second, which most commands need not wait.
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
