"""Initial splats: the points of all views, merged per cell of a grid."""

import numpy as np

from my3dgen_jax.apps.splats.targets import pixel_width, Targets
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops.rendering.splats import Splats

_LEAST_POINTS = 2  # points per cell: a single one is noise
_FLAT = 0.25  # a splat's thickness, as a share of its width
_WIDE = 0.55  # standard deviation of a splat, in widths of a cell
_LOGIT = 2.0  # logit of the opacity
_SLANTED = 0.15  # smallest cosine of the viewing angle at which points are used
_ROUNDS = 24  # steps of the bisection
_POINTS = (
  2_000_000  # maximum number of merged points; larger pictures are thinned
)


def merge(targets: Targets, most: int) -> tuple[Splats, float]:
  """Splats of the surface in views, flat along the surface.

  Args:
    targets: the views.
    most: maximum number of splats; the grid's cells are as small as possible,
      and at least as wide as a pixel.

  Returns: the splats, as NumPy arrays, and the width of a cell, world units.
  Raises: UserError: the views show no surface.
  """
  eye = targets.c.reshape(-1, 25)[:, [3, 7, 11]][:, None, None]
  away = eye - targets.points
  away /= np.linalg.norm(away, axis=-1, keepdims=True)
  cosine = (away * targets.normals).sum(axis=-1)
  chosen = targets.head & targets.sure & targets.smooth & (cosine > _SLANTED)
  rows = np.flatnonzero(chosen)
  rows = rows[:: max(1, -(-len(rows) // _POINTS))]
  points, normals, colors, weights = (
    values.reshape(chosen.size, -1)[rows].astype(np.float64)
    for values in (targets.points, targets.normals, targets.image, cosine)
  )
  if len(points) < 2 * _LEAST_POINTS:
    raise UserError(
      "splats: the views show no surface of a head; try a lower level"
    )
  # Cells smaller than pixels would be empty, or contain a single point.
  far = np.linalg.norm(eye - targets.points, axis=-1)[chosen].mean()
  low = float(far) * pixel_width(targets.c, targets.image.shape[1])
  high = max(1.0, 2 * low)
  for _ in range(_ROUNDS):
    middle = float(np.sqrt(low * high))
    if _cells(points, middle)[1] > most:
      low = middle
    else:
      high = middle
  weights = weights[:, 0]
  rows, count = _cells(points, high)
  total = np.bincount(rows, weights, count)
  mean = lambda values: np.stack(
    [np.bincount(rows, weights * one, count) / total for one in values.T], -1
  )
  means, colors, normals = map(mean, (points, colors, normals))
  kept = np.bincount(rows, minlength=count) >= _LEAST_POINTS
  means, colors, normals = means[kept], colors[kept], normals[kept]
  number = len(means)
  scales = np.log(_WIDE * high * np.array([1.0, 1.0, _FLAT]))
  splats = Splats(
    means=means,
    log_scales=np.broadcast_to(scales, (number, 3)),
    quaternions=_turned(normals),
    logits=np.full(number, _LOGIT),
    colors=colors,
  )
  return (
    Splats(**{k: np.array(v, np.float32) for k, v in vars(splats).items()}),
    float(high),
  )


def _cells(points: np.ndarray, width: float) -> tuple[np.ndarray, int]:
  """Numbers of the points' cells, and the number of cells."""
  place = np.floor(points / width).astype(np.int64)
  place -= place.min(axis=0)
  size = place.max(axis=0) + 1
  key = (place[:, 0] * size[1] + place[:, 1]) * size[2] + place[:, 2]
  _, rows = np.unique(key, return_inverse=True)
  return rows, int(rows.max()) + 1


def _turned(normals: np.ndarray) -> np.ndarray:
  """Quaternions [N, 4], w first, that rotate z to normals [N, 3]."""
  length = np.linalg.norm(normals, axis=-1, keepdims=True)
  x, y, z = (normals / np.maximum(length, 1e-9)).T
  # Halfway between z and the normal; opposite normals rotate around x.
  found = np.stack([1 + z, -y, x, np.zeros_like(z)], axis=-1)
  found[1 + z < 1e-6] = [0, 1, 0, 0]
  return found / np.linalg.norm(found, axis=-1, keepdims=True)
