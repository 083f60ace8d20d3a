"""Finds which way up a photo is, if its file does not say or is wrong.

Detectors are trained with upright faces. Yet they find faces that lie on their
side, whose landmarks show it; and in more than half of the photos that are
upside down they see an upright face, with its mouth on the forehead, but less
confidently. So a photo without a confident upright face is tried in all four
orientations.

The limits were found on 112 photos from real albums, each in four orientations
(`benchmarks/ways_up.py` repeats that): upright ones have a score of at least
0.9 except for 12 of them, upside-down ones of at most 0.84; and no photo has
another orientation within 0.04 of the right one's score.
"""

import dataclasses

import numpy as np

from my3dgen_jax.data.faces import face_align
from my3dgen_jax.data.faces.face_align import Framing
from my3dgen_jax.data.faces.landmarks import Detector, Face
from my3dgen_jax.errors import UserError

# A face rotated further than this is on its side or upside down, degrees.
MAX_ROLL = 45.0
_SURE = 0.9  # score of a face from which other orientations are not tried
_BETTER = 0.02  # margin by which another orientation must score higher
_LEAST = 0.6  # smallest best score, if no face is upright
_TRIED_SIZE = 2048  # longer side while orientations are tried, pixels


def turned(image: np.ndarray, quarters: int) -> np.ndarray:
  """Rotates a photo, [H, W, C], clockwise by quarter turns."""
  return np.ascontiguousarray(np.rot90(image, -quarters))


def turned_face(face: Face, quarters: int, size: tuple[int, int]) -> Face:
  """Maps a face to the pixels of `turned`.

  Args:
    face: the face, in the photo's pixels.
    quarters: quarter turns clockwise; negative ones undo them.
    size: width and height of the photo before it is turned.
  """
  width, height = size

  def move(points: np.ndarray) -> np.ndarray:
    x, y, rest = points[..., :1], points[..., 1:2], points[..., 2:]
    x, y = ((x, y), (height - y, x), (width - x, height - y), (y, width - x))[
      quarters % 4
    ]
    return np.concatenate([x, y, rest], axis=-1)

  face = face.moved(move)
  if face.box is None:
    return face
  left, top, right, bottom = face.box
  return dataclasses.replace(
    face,
    box=(
      *(min(left, right), min(top, bottom)),
      *(max(left, right), max(top, bottom)),
    ),
  )


def quarters_of(faces: list[Face], framing: Framing = face_align.FACE) -> int:
  """The rotation that makes a photo upright, from its known faces.

  Args:
    faces: faces, the largest first.
    framing: framing for this kind of face.

  Returns: quarter turns clockwise: 0 if any face is upright, otherwise those of
    the first.
  """
  rolls = _rolls(faces, framing)
  if not rolls or min(map(abs, rolls)) <= MAX_ROLL:
    return 0
  return round(-rolls[0] / 90) % 4


def _rolls(faces: list[Face], framing: Framing) -> list[float]:
  """Rolls of the faces that have one."""
  rolls = []
  for face in faces:
    try:
      face_align.align(face.points, framing=framing)
    except UserError:  # landmarks that are not a face's
      continue
    rolls.append(face_align.roll(face.points, framing))
  return rolls


def find(detector: Detector, image: np.ndarray) -> tuple[list[Face], int]:
  """Finds faces in a photo, whichever way up it is.

  Args:
    detector: finds faces in a photo that is upright.
    image: [H, W, 3] uint8.

  Returns:
    faces: faces, in the pixels of the rotated photo.
    quarters: quarter turns clockwise for `turned`.
  """
  faces = detector(image)
  upright = _surest(faces)
  if upright >= _SURE:
    return faces, 0
  small = _small(image)
  scores = {q: _surest(detector(turned(small, q))) for q in (1, 2, 3)}
  best = max(scores, key=lambda quarters: scores[quarters])
  if scores[best] < max(_LEAST, upright + _BETTER):
    return faces, 0
  other = detector(turned(image, best))
  if _surest(other) <= upright:
    return faces, 0
  return other, best


def _surest(faces: list[Face]) -> float:
  """The best score of an upright face; 0 if there is none."""
  return max(
    (
      1.0 if face.score is None else face.score
      for face in faces
      if any(abs(roll) <= MAX_ROLL for roll in _rolls([face], face_align.FACE))
    ),
    default=0.0,
  )


def _small(image: np.ndarray) -> np.ndarray:
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  times = -(-max(image.shape[:2]) // _TRIED_SIZE)
  if times == 1:
    return image
  return np.asarray(Image.fromarray(image).reduce(times))
