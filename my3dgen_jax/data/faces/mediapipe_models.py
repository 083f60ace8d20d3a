"""Finds people and faces with MediaPipe's models.

Version 0.10.14 includes the models; from 0.10.30 on it downloads them, which
nothing here does. Python 3.13 and newer only have the latter, with which
`mediapipe_tasks` finds faces.
"""

import importlib.metadata
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from my3dgen_jax.data import images
from my3dgen_jax.data.faces import landmarks, mediapipe_tasks
from my3dgen_jax.data.faces.landmarks import Face
from my3dgen_jax.errors import UserError, without_package
from my3dgen_jax.types import Array

_TASKS_ALONE = 0, 10, 30  # the first version without models and `solutions`
# Side at which faces are searched, pixels; the models see 128 to 192.
_SEARCH_SIZE = 1024
_LARGE = 16_000_000  # pixels; copies of larger photos would fill the memory
# A face may be missed because it is too large or too small: so the search adds
# a border of this width, then tiles of these fractions of the longer side.
_BORDER = 0.25
_TILES = (0.6, 0.4)
_SAME_FACE_OVERLAP = (
  0.4  # intersection over union from which two boxes are one face
)
# The mesh is found in a square around the face, resized to this many pixels:
# first around the search result, in several sizes until one works, then around
# the mesh itself, in multiples of its longer side, and once more around that
# result, so that the search's exact result no longer matters.
_MESH_SIZE = 384
_FIRST_SQUARES = (2.0, 1.5, 2.7)
_SQUARE = 2.0
_ROUNDS = 2
_IN_SQUARE = 0.2  # smallest confidence in the square; a face is known there
# Meshes of things that are not faces differ by more than this fraction of their
# size; those of real faces by 0.01, near profiles by 0.03.
_MAX_SPREAD = 0.04


def person_segmenter() -> Callable[[Array], np.ndarray]:
  """A function that segments people.

  It maps images [N, H, W, 3] in [-1, 1] to masks [N, H, W, 1] in [0, 1], 1 on
  people.

  Raises: UserError: MediaPipe is missing, or a version without models.
  """
  if _has_tasks_alone():
    raise UserError(
      "finding people needs MediaPipe 0.10.14, which exists for Python 3.11 "
      "and 3.12; --segmenter=depth does not need it"
    )
  model = _solution("selfie_segmentation").SelfieSegmentation(model_selection=0)

  def segment(pictures: Array) -> np.ndarray:
    return np.stack(
      [
        model.process(picture).segmentation_mask[..., None]
        for picture in images.to_uint8(pictures)
      ]
    )

  return segment


def face_detector(*, min_score: float = 0.5) -> landmarks.Detector:
  """A function that finds faces and the 468 points of each.

  Both of MediaPipe's search models look for faces: in the photo, in the photo
  with a border, because they miss faces that fill it, and, if there is still
  none, in parts of it. An upright square is cut out around each face; the mesh
  models run on it and on its mirror image, and their results are averaged:
  that halves the noise, and a mirrored photo gets the mirrored points. What
  they do not see, or see in different places, is not a face.

  Args:
    min_score: smallest score of a face, in (0, 1): the search's score times
      the fraction of runs that found a mesh.

  Returns: the detector, for one thread.
  Raises: UserError: MediaPipe is missing, or a version without models.
  """
  if _has_tasks_alone():
    return _FaceDetector(
      searches=mediapipe_tasks.searches(min_score),
      meshes=mediapipe_tasks.meshes(_IN_SQUARE),
      min_score=min_score,
    )
  search, mesh = _solution("face_detection"), _solution("face_mesh")
  return _FaceDetector(
    searches=[
      search.FaceDetection(
        min_detection_confidence=min_score, model_selection=model
      )
      for model in (0, 1)
    ],  # near faces, distant faces
    meshes=[
      mesh.FaceMesh(
        static_image_mode=True,
        max_num_faces=2,
        refine_landmarks=refine,
        min_detection_confidence=_IN_SQUARE,
      )
      for refine in (True, False)
    ],
    min_score=min_score,
  )


class _FaceDetector:
  """See `face_detector`."""

  def __init__(self, searches: list[Any], meshes: list[Any], min_score: float):
    self._searches = searches
    self._meshes = meshes
    self._min_score = min_score

  def __call__(self, image: np.ndarray) -> list[Face]:
    # pylint: disable-next=import-outside-toplevel
    from PIL import Image

    photo = Image.fromarray(image)
    faces = []
    for patches in _searched(*photo.size):
      # The most confident first: of two detections of a face the first stays.
      found = sorted(
        (
          finding for patch in patches for finding in self._search(photo, patch)
        ),
        key=lambda finding: -finding[0],
      )
      for score, centre, side, roll in found:
        if not any(_inside(centre, face.box) for face in faces):
          face = self._face(photo, score, centre, side, roll)
          if face and not any(
            _overlap(face.box, other.box) > _SAME_FACE_OVERLAP
            for other in faces
          ):
            faces.append(face)
      if faces:
        break
    return landmarks.largest_first(faces)

  def _search(
    self, photo: Any, patch: tuple[float, float, float, float]
  ) -> Iterator[tuple[float, np.ndarray, float, float]]:
    """Yields score, center, side and roll (radians) of likely faces."""
    left, top, right, bottom = patch
    scale = min(1.0, _SEARCH_SIZE / max(right - left, bottom - top))
    size = (
      max(1, round((right - left) * scale)),
      max(1, round((bottom - top) * scale)),
    )
    pixels = _cut(photo, patch, size)
    extent, start = np.array([right - left, bottom - top]), (left, top)
    for model in self._searches:
      for detection in model.process(pixels).detections or ():
        location = detection.location_data
        box = location.relative_bounding_box
        corner = np.array([box.xmin, box.ymin])
        span = np.array([box.width, box.height])
        eyes = [
          np.array([eye.x, eye.y]) * extent
          for eye in location.relative_keypoints[:2]
        ]
        yield (
          detection.score[0],
          (corner + span / 2) * extent + start,
          float((span * extent).max()),
          _roll(*eyes),
        )

  def _face(
    self, photo: Any, score: float, centre: np.ndarray, side: float, roll: float
  ) -> Face | None:
    for times in _FIRST_SQUARES:
      mesh = self._mesh(
        self._meshes[0], photo, centre, times * side, roll, mirrored=False
      )
      if mesh is not None:
        break
    else:
      return None
    for _ in range(_ROUNDS):
      centre, side, roll = _square_about(mesh)
      looks = [
        self._mesh(
          model, photo, centre, _SQUARE * side, roll, mirrored=mirrored
        )
        for model in self._meshes
        for mirrored in (False, True)
      ]
      seen = [look for look in looks if look is not None]
      sure = float(score) * len(seen) / len(looks)
      if sure < self._min_score:
        return None
      mesh = np.mean(seen, axis=0)
    spread = np.std(seen, axis=0)[:, :2].mean()
    if spread > _MAX_SPREAD * np.ptp(mesh[:, :2], axis=0).max():
      return None
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    return Face(
      points=landmarks.points_of_mesh(mesh[:, :2]),
      dense=mesh,
      box=(*low.tolist(), *high.tolist()),
      score=sure,
    )

  def _mesh(
    self,
    model: Any,
    photo: Any,
    centre: np.ndarray,
    side: float,
    roll: float,
    *,
    mirrored: bool,
  ) -> np.ndarray | None:
    """The mesh nearest the center of a square of the photo, [468, 3]."""
    axes = (
      side
      / _MESH_SIZE
      * np.array(
        [[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]]
      )
    )
    corner = centre - axes @ np.full(2, _MESH_SIZE / 2)
    pixels = _turned(photo, axes, corner, _MESH_SIZE)
    if mirrored:
      pixels = np.ascontiguousarray(pixels[:, ::-1])
    found = model.process(pixels).multi_face_landmarks or ()
    meshes = [
      _MESH_SIZE
      * np.array(
        [[p.x, p.y, p.z] for p in face.landmark[: landmarks.MESH_POINTS]]
      )
      for face in found
    ]
    if not meshes:
      return None
    mesh = min(
      meshes,
      key=lambda mesh: np.linalg.norm(
        mesh[:, :2].mean(axis=0) - _MESH_SIZE / 2
      ),
    )
    if mirrored:
      mesh = mesh[landmarks.mean_mesh().mirror] * [-1, 1, 1] + [
        _MESH_SIZE,
        0,
        0,
      ]
    depth = mesh[:, 2] - mesh[:, 2].mean()
    return np.concatenate(
      [mesh[:, :2] @ axes.T + corner, depth[:, None] * side / _MESH_SIZE],
      axis=1,
    )


def _searched(
  width: int, height: int
) -> Iterator[list[tuple[float, float, float, float]]]:
  """Yields (left, top, right, bottom) of parts, grouped by search round."""
  border = _BORDER * max(width, height)
  yield [
    (0, 0, width, height),
    (-border, -border, width + border, height + border),
  ]
  for share in _TILES:
    side = share * max(width, height)

    def starts(length, side=side):
      if length <= side:
        return [(length - side) / 2]
      return np.linspace(
        0, length - side, math.ceil(2 * (length - side) / side) + 1
      )  # half of each overlaps the next

    yield [
      (x, y, x + side, y + side) for y in starts(height) for x in starts(width)
    ]


def _cut(
  photo: Any, box: tuple[float, float, float, float], size: tuple[int, int]
) -> np.ndarray:
  """A part of a photo, black outside, antialiased, [H, W, 3] uint8."""
  # As `reducing_gap` would, but before the part is copied with its border.
  times = int(min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1]) / 2)
  if times > 1 and photo.width * photo.height > _LARGE:
    photo = photo.reduce(times)
    box = (box[0] / times, box[1] / times, box[2] / times, box[3] / times)
  left, top = math.floor(box[0]), math.floor(box[1])
  part = photo.crop((left, top, math.ceil(box[2]), math.ceil(box[3])))
  return np.asarray(
    part.resize(
      size,
      box=(box[0] - left, box[1] - top, box[2] - left, box[3] - top),
      resample=_pil().Resampling.BILINEAR,
      reducing_gap=2.0,
    )
  )


def _turned(
  photo: Any, axes: np.ndarray, corner: np.ndarray, size: int
) -> np.ndarray:
  """A turned square of a photo: pixel p of it is axes @ p + corner."""
  corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) @ axes.T
  low = np.floor((corners + corner).min(axis=0) - 2).astype(int)
  high = np.ceil((corners + corner).max(axis=0) + 2).astype(int)
  part = photo.crop((*low.tolist(), *high.tolist()))
  # Bicubic interpolation reads 4 x 4 pixels, whatever their distance.
  times = max(1, math.floor(np.linalg.norm(axes[:, 0])))
  if times > 1:
    part = part.reduce(times)
  axes, corner = axes / times, (corner - low) / times
  return np.asarray(
    part.transform(
      (size, size),
      _pil().Transform.AFFINE,
      (axes[0, 0], axes[0, 1], corner[0], axes[1, 0], axes[1, 1], corner[1]),
      _pil().Resampling.BICUBIC,
    )
  )


def _pil() -> Any:
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  return Image


def _square_about(mesh: np.ndarray) -> tuple[np.ndarray, float, float]:
  """Center, longer side and roll of the upright box around a mesh."""
  points = landmarks.points_of_mesh(mesh[:, :2])
  roll = _roll(points[0], points[1])
  turn = np.array(
    [[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]]
  )
  upright = mesh[:, :2] @ turn
  low, high = upright.min(axis=0), upright.max(axis=0)
  return turn @ ((low + high) / 2), float((high - low).max()), roll


def _roll(left: np.ndarray, right: np.ndarray) -> float:
  """Rotation of the line between the eyes, radians, clockwise."""
  return math.atan2(right[1] - left[1], right[0] - left[0])


def _inside(point: np.ndarray, box: tuple[float, float, float, float]) -> bool:
  """Whether a detection's center is in the middle of a face's box."""
  x, y = ((point[i] - box[i]) / (box[i + 2] - box[i]) for i in (0, 1))
  return 0.2 < x < 0.8 and 0.2 < y < 0.8


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
  """Intersection over union of two boxes."""
  width = min(a[2], b[2]) - max(a[0], b[0])
  height = min(a[3], b[3]) - max(a[1], b[1])
  shared = max(width, 0) * max(height, 0)
  area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
  return shared / (area(a) + area(b) - shared)


def check():
  """Loads MediaPipe, so that its absence shows before any long work.

  Raises: UserError, as `face_detector`.
  """
  if _has_tasks_alone():
    mediapipe_tasks.check()
  else:
    _solution("face_mesh")


def _has_tasks_alone() -> bool:
  """Whether this MediaPipe is a version without `solutions`."""
  try:
    version = importlib.metadata.version("mediapipe")
  except importlib.metadata.PackageNotFoundError:
    return False
  return tuple(map(int, re.findall(r"\d+", version)[:3])) >= _TASKS_ALONE


def _solution(name: str) -> Any:
  """A module of `mediapipe.solutions`."""
  os.environ.setdefault("GLOG_minloglevel", "2")  # its logs are verbose
  try:
    # pylint: disable=import-outside-toplevel
    from mediapipe.python import solutions

    return getattr(solutions, name)
  except (ImportError, AttributeError) as error:
    raise without_package(
      error, "MediaPipe", mediapipe_tasks.MISSING
    ) from error
