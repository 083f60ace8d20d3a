"""Rasterizes triangles: which one covers each pixel, and where.

Plain NumPy, some millions of pixels per second: enough for the depth tests of
sixty cameras and the texels of one texture.
"""

from typing import NamedTuple

import numpy as np

_AT_ONCE = 2**21  # pixels to test at a time


class Cover(NamedTuple):
  """What covers pixels.

  Attributes:
    face: [H, W] int32, the triangle's index; -1: none.
    weights: [H, W, 3] float32, shares of its corners; they sum to 1.
    depth: [H, W] float32, depth of the nearest triangle; infinite: none.
  """

  face: np.ndarray
  weights: np.ndarray
  depth: np.ndarray


def cover(
  corners: np.ndarray, depth: np.ndarray | None, shape: tuple[int, int]
) -> Cover:
  """The nearest triangle at each pixel's center.

  Args:
    corners: [F, 3, 2], pixels: x right and y down; the first pixel's center is
      (0.5, 0.5). Both sides of a triangle are visible.
    depth: [F, 3], depth along the camera's axis in a perspective view, > 0; the
      weights are then those in space; None: triangles lie in the plane.
    shape: height and width of the grid.
  """
  height, width = shape
  corners = np.asarray(corners, np.float64)
  ones = depth is None
  inverse = np.ones(corners.shape[:2]) if ones else 1 / np.asarray(depth)
  a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
  area = _cross(b - a, c - a)
  # Pixels whose centers may lie in it.
  low = np.ceil(corners.min(axis=1) - 0.5).astype(np.int64)
  high = np.floor(corners.max(axis=1) - 0.5).astype(np.int64)
  low = np.maximum(low, 0)
  high = np.minimum(high, [width - 1, height - 1])
  size = high - low + 1
  chosen = np.flatnonzero((size > 0).all(axis=1) & (area != 0))
  nearest = np.zeros(height * width)  # 1 / depth
  face = np.full(height * width, -1, np.int32)
  weights = np.zeros((height * width, 3), np.float32)
  # Triangles of similar size are tested together.
  shapes = 2 ** np.ceil(np.log2(np.maximum(size[chosen], 1))).astype(np.int64)
  for kind in np.unique(shapes, axis=0):
    same = chosen[(shapes == kind).all(axis=1)]
    step = max(1, _AT_ONCE // int(kind.prod()))
    y, x = np.divmod(np.arange(kind.prod()), kind[0])
    for first in range(0, len(same), step):
      part = same[first : first + step]
      columns, rows = low[part, :1] + x, low[part, 1:] + y
      points = np.stack([columns + 0.5, rows + 0.5], -1)
      shares = (
        np.stack(
          [
            _cross(b[part, None] - points, c[part, None] - points),
            _cross(c[part, None] - points, a[part, None] - points),
            _cross(a[part, None] - points, b[part, None] - points),
          ],
          -1,
        )
        / area[part, None, None]
      )
      inside = (
        (shares >= -1e-9).all(axis=-1)
        & (columns <= high[part, :1])
        & (rows <= high[part, 1:])
      )
      which, _ = np.nonzero(inside)
      shares = shares[inside] * inverse[part][which]
      value = shares.sum(axis=-1)
      pixel = (rows * width + columns)[inside]
      np.maximum.at(nearest, pixel, value)
      seen = nearest[pixel] == value
      pixel, value = pixel[seen], value[seen]
      face[pixel] = part[which[seen]]
      weights[pixel] = shares[seen] / value[:, None]
  with np.errstate(divide="ignore"):
    far = (1 / nearest).astype(np.float32)
  return Cover(
    face.reshape(shape), weights.reshape(shape + (3,)), far.reshape(shape)
  )


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
