"""The points to mark: names, order, and typical positions."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from my3dgen_jax.data.faces import cat_face, landmarks
from my3dgen_jax.errors import UserError

_MIRRORED = (
  "left and right seem swapped: left is the left of the picture, "
  "not of the head"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Kind:
  """A kind of face.

  Attributes:
    title: description of the points, in a few words.
    names: the points' names, in the order of the landmarks file.
    shape: [K, 2], a typical face from the front; x to the right, y down, any
      unit.
    lines: pairs of points to join in a drawing.
  """

  title: str
  names: tuple[str, ...]
  shape: np.ndarray
  lines: tuple[tuple[int, int], ...]

  def checked(self, points: object, size: Sequence[int]) -> np.ndarray:
    """Checks points sent by a browser; returns them as [K, 2] float64.

    Args:
      points: rows of x and y, pixels.
      size: width and height of the photo, pixels.

    Raises: UserError: the points cannot be marks of such a face.
    """
    count = len(self.names)
    try:
      found = np.array(points, np.float64)
    except (ValueError, TypeError, OverflowError):
      found = np.zeros(0)
    if found.shape != (count, 2) or not np.isfinite(found).all():
      raise UserError(f"expected {count} points of two numbers each")
    limits = np.array(size, np.float64)
    # Ears may be outside a photo, but not far.
    if (found < -limits).any() or (found > 2 * limits).any():
      raise UserError(
        "a point is far outside the photo; move it, or skip the photo"
      )
    if np.ptp(found, axis=0).max() < 2:
      raise UserError(
        "all points are in the same place; clear and mark them again"
      )
    # Swapped sides make the fit to the typical face a reflection.
    if _determinant(self.shape, found) < 0:
      raise UserError(_MIRRORED)
    return found


def _determinant(shape: np.ndarray, points: np.ndarray) -> float:
  """Determinant of the best linear map between them; below 0 if it mirrors."""
  a, b = (x - x.mean(axis=0) for x in (shape, points))
  return float(np.linalg.det(np.linalg.lstsq(a, b, rcond=None)[0]))


def _cat() -> Kind:
  return Kind(
    "the nine points of a cat",
    (
      "left eye",
      "right eye",
      "mouth, below the nose",
      "left ear, outer base",
      "left ear, tip",
      "left ear, inner base",
      "right ear, inner base",
      "right ear, tip",
      "right ear, outer base",
    ),
    cat_face.frontal_shape(),
    ((0, 2), (1, 2), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8)),
  )


def _person() -> Kind:
  return Kind(
    "the five points of a face",
    (
      "left eye",
      "right eye",
      "tip of the nose",
      "left corner of the mouth",
      "right corner of the mouth",
    ),
    landmarks.points_of_mesh(landmarks.mean_mesh().points)[:, :2] * [1, -1],
    ((0, 2), (1, 2), (3, 4)),
  )


_KINDS: Mapping[str, Callable[[], Kind]] = {"face": _person, "cat": _cat}


@functools.cache
def kind_of(domain: str) -> Kind:
  """The points of a domain of `apps.preparation`: "face" or "cat"."""
  return _KINDS[domain]()
