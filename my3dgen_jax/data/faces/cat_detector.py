"""Where cats' faces are in a photo, by OpenCV's cascade.

OpenCV comes with MediaPipe, and the cascade with OpenCV. It finds cats that
look about into the camera; it says where their faces are, but no points.
"""

import functools
import importlib
import pathlib
from typing import Any, NamedTuple

import numpy as np

_CASCADE = "haarcascade_frontalcatface_extended.xml"


class _Search(NamedTuple):
  """How the cascade is used.

  Attributes:
    side: of what it sees, pixels: finer finds more that is none.
    step: of its scales.
    neighbors: detections that must agree.
    least: size of a face, of the photo's shorter side.
  """

  side: int
  step: float
  neighbors: int
  least: float


# Of 22 photos of one cat (../shared/data/cats), and of 60 photos of people:
_EAGER = _Search(480, 1.03, 3, 0.15)  # 17 and 18
_STRICT = _Search(640, 1.05, 4, 0.06)  # 9 and 9

Box = tuple[float, float, float, float]


def available() -> bool:
  """Whether there is OpenCV here, with the cascade."""
  return _cascade() is not None


def find_cats(pixels: np.ndarray, *, strict: bool = False) -> list[Box]:
  """Finds cats' faces.

  Args:
    pixels: [H, W, 3] uint8, RGB.
    strict: whether it is not known that there is a cat: finds fewer, and
      calls fewer other things cats.

  Returns: (left, top, right, bottom) in pixels, the largest first; none where
    OpenCV is missing.
  """
  cascade = _cascade()
  if cascade is None:
    return []
  cv2 = _opencv()
  search = _STRICT if strict else _EAGER
  scale = min(1.0, search.side / max(pixels.shape[:2]))
  gray = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
  if scale < 1:
    gray = cv2.resize(
      gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
    )
  least = max(24, round(search.least * min(gray.shape)))
  found = cascade.detectMultiScale(
    cv2.equalizeHist(gray),
    scaleFactor=search.step,
    minNeighbors=search.neighbors,
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
  # Libraries that cannot be loaded, such as libGL, raise all kinds.
  except Exception:  # pylint: disable=broad-exception-caught
    return None


@functools.cache
def _cascade() -> Any:
  if _opencv() is None:
    return None
  path = pathlib.Path(_opencv().data.haarcascades) / _CASCADE
  found = _opencv().CascadeClassifier(str(path))
  return None if found.empty() else found
