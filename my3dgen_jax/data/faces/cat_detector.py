"""Finds cats' faces in photos, with OpenCV's cascade.

OpenCV comes with MediaPipe, and the cascade with OpenCV. It finds cats that
roughly look into the camera; it gives boxes of their faces, but no points.
"""

import functools
import importlib
import pathlib
from typing import Any

import numpy as np

_CASCADE = "haarcascade_frontalcatface_extended.xml"

# It finds the cat in 17 of 22 photos of one (docs/accuracy.md), and
# reports a cat in 18 of 60 photos of people: where a cat is known to be there,
# missing it costs more.
_SIDE = 480  # side of the image that the cascade sees, pixels
_STEP, _NEIGHBORS = 1.03, 3  # of its scales; detections that must agree
_LEAST = 0.15  # smallest face, as a fraction of the photo's shorter side

Box = tuple[float, float, float, float]


def available() -> bool:
  """Whether OpenCV with the cascade is installed."""
  return _cascade() is not None


def find_cats(pixels: np.ndarray) -> list[Box]:
  """Finds cats' faces.

  Args:
    pixels: [H, W, 3] uint8, RGB.

  Returns: (left, top, right, bottom) in pixels, the largest first; empty if
    OpenCV is missing.
  """
  cascade = _cascade()
  if cascade is None:
    return []
  cv2 = _opencv()
  scale = min(1.0, _SIDE / max(pixels.shape[:2]))
  gray = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
  if scale < 1:
    gray = cv2.resize(
      gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
    )
  least = max(24, round(_LEAST * min(gray.shape)))
  found = cascade.detectMultiScale(
    cv2.equalizeHist(gray),
    scaleFactor=_STEP,
    minNeighbors=_NEIGHBORS,
    minSize=(least, least),
  )
  boxes = [
    (
      float(x) / scale,
      float(y) / scale,
      float(x + width) / scale,
      float(y + height) / scale,
    )
    for x, y, width, height in found
  ]
  return sorted(boxes, key=lambda box: box[0] - box[2])


@functools.cache
def _opencv() -> Any:
  try:
    return importlib.import_module("cv2")
  # Libraries that fail to load, such as libGL, raise various errors.
  except Exception:  # pylint: disable=broad-exception-caught
    return None


@functools.cache
def _cascade() -> Any:
  if _opencv() is None:
    return None
  path = pathlib.Path(_opencv().data.haarcascades) / _CASCADE
  found = _opencv().CascadeClassifier(str(path))
  return None if found.empty() else found
