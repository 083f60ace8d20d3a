"""Which way up a photo is, where its file does not say or says it wrongly.

Detectors are trained with upright faces. Yet they find lying ones, whose
landmarks tell; and in more than half of the photos that are upside down they
see a face the right way up, with its mouth on the forehead, but less surely.
So a photo in which no face is surely upright is looked at in all four ways.

The limits were found on 112 photos of real albums, each in four ways
(`benchmarks/ways_up.py` repeats that): upright ones have a
score of 0.9 and more but for 12 of them, upside down ones of 0.84 at most; and
of no photo is another way up as sure as the right one, by 0.04.
"""

import dataclasses

import numpy as np

from my3dgen_jax.data.faces import face_align
from my3dgen_jax.data.faces.face_align import Framing
from my3dgen_jax.data.faces.landmarks import Detector, Face
from my3dgen_jax.errors import UserError

# A face that leans more than this lies, or stands on its head, degrees.
MAX_ROLL = 45.0
_SURE = 0.9  # score of a face, from which other ways up are not tried
_BETTER = 0.02  # by so much another way up must be surer
_LEAST = 0.6  # score of the surest face, where upright there is none
_TRIED_SIZE = 2048  # pixels, of the longer side, while ways up are tried


def turned(image: np.ndarray, quarters: int) -> np.ndarray:
  """A photo, [H, W, C], turned clockwise by quarters of a turn."""
  return np.ascontiguousarray(np.rot90(image, -quarters))


def turned_face(face: Face, quarters: int, size: tuple[int, int]) -> Face:
  """A face in the pixels of `turned`.

  Args:
    face: in those of the photo.
    quarters: clockwise; negative ones undo it.
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
  """How a photo must be turned for what is known to be in it.

  Args:
    faces: the largest first.
    framing: of this kind of face.

  Returns: quarters clockwise: 0 where any face is upright, else those of the
    first.
  """
  rolls = _rolls(faces, framing)
  if not rolls or min(map(abs, rolls)) <= MAX_ROLL:
    return 0
  return round(-rolls[0] / 90) % 4


def _rolls(faces: list[Face], framing: Framing) -> list[float]:
  """Of those faces that have a roll."""
  rolls = []
  for face in faces:
    try:
      face_align.align(face.points, framing=framing)
    except UserError:  # landmarks of no face
      continue
    rolls.append(face_align.roll(face.points, framing))
  return rolls


def find(detector: Detector, image: np.ndarray) -> tuple[list[Face], int]:
  """Finds faces in a photo, whichever way up it is.

  Args:
    detector: finds faces in a photo that is upright.
    image: [H, W, 3] uint8.

  Returns:
    faces: in the pixels of the photo, turned.
    quarters: by how much it is to be `turned`, clockwise.
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
  """The best score of a face that is upright; 0: there is none."""
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
