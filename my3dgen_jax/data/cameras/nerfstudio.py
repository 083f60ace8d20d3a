"""Cameras of NeRF tools: `transforms.json` and nerfstudio's `camera_path.json`.

    {"w": 512, "h": 512, "fl_x": 2183, "frames": [
       {"file_path": "images/a.png", "transform_matrix": [[4 numbers], ...]}]}
    {"camera_path": [{"camera_to_world": [16 numbers], "fov": 13.4}, ...]}

Their cameras have OpenGL's axes. Instead of lengths in pixels there may be
`camera_angle_x`, the horizontal angle in radians, as in Blender's files; the
image is then assumed to be square unless its size is given.
"""

import math
from collections.abc import Mapping
from typing import Any

from my3dgen_jax.errors import UserError

FRAMES, PATH = "frames", "camera_path"

_LENSES = ("k1", "k2", "k3", "k4", "p1", "p2")
_MOST_DISTORTION = 1e-3  # distortion coefficients below this are ignored


def is_transforms(content: Any) -> bool:
  """Whether the content is that of a `transforms.json`."""
  return isinstance(content, dict) and FRAMES in content


def is_camera_path(content: Any) -> bool:
  """Whether the content is that of a `camera_path.json`."""
  return isinstance(content, dict) and PATH in content


def entries(content: Mapping[str, Any], where: str) -> list[Any]:
  """Converts cameras to entries of a `dataset.json`, in their own convention.

  Args:
    content: content of either file.
    where: the file, which begins every message.

  Returns: [name, 25 numbers] for each frame.
  Raises: UserError: names the frame and what is missing.
  """
  key = FRAMES if is_transforms(content) else PATH
  frames = content[key]
  if not isinstance(frames, list):
    raise UserError(f"{where}: {key}: expected a list")
  found = []
  for i, frame in enumerate(frames):
    here = f"{where}: {key}[{i}]"
    if not isinstance(frame, dict):
      raise UserError(f"{here}: expected an object")
    if key == PATH:
      numbers = frame.get("camera_to_world"), _of_fov(frame, here)
      name = f"frame {i}"
    else:
      numbers = (
        _flat(frame.get("transform_matrix")),
        _of_lengths({**content, **frame}, here),
      )
      name = frame.get("file_path")
    matrix, intrinsics = numbers
    if not isinstance(matrix, list) or len(matrix) != 16:
      field = "camera_to_world" if key == PATH else "transform_matrix"
      raise UserError(f"{here}: {field}: expected 4x4 numbers")
    found.append([name, [*matrix, *intrinsics]])
  return found


def _flat(rows: Any) -> Any:
  if isinstance(rows, list) and all(isinstance(row, list) for row in rows):
    return [number for row in rows for number in row]
  return rows


def _of_fov(frame: Mapping[str, Any], here: str) -> list[float]:
  """Intrinsics, [9], from the vertical angle in degrees."""
  fov = _number(frame, "fov", here)
  if not 0 < fov < 180:
    raise UserError(f"{here}: fov: expected degrees, 0 to 180, got {fov:.6g}")
  focal = 0.5 / math.tan(math.radians(fov) / 2)
  return _intrinsics(focal, focal, 0.5, 0.5)


def _of_lengths(frame: Mapping[str, Any], here: str) -> list[float]:
  """Intrinsics, [9], from lengths in pixels or an angle."""
  for name in _LENSES:
    if name in frame and abs(_number(frame, name, here)) > _MOST_DISTORTION:
      raise UserError(
        f"{here}: {name}: the lens is distorted; undistort the photos first"
      )
  if "fl_x" not in frame:
    if "camera_angle_x" not in frame:
      raise UserError(f"{here}: has neither fl_x nor camera_angle_x")
    angle = _number(frame, "camera_angle_x", here)
    if not 0 < angle < math.pi:
      raise UserError(
        f"{here}: camera_angle_x: expected radians, 0 to 3.14, got {angle:.6g}"
      )
    ratio = 1.0
    if "w" in frame and "h" in frame:
      ratio = _size(frame, "w", here) / _size(frame, "h", here)
    focal = 0.5 / math.tan(angle / 2)
    return _intrinsics(focal, focal * ratio, 0.5, 0.5)
  width, height = _size(frame, "w", here), _size(frame, "h", here)
  middle = {"cx": width / 2, "cy": height / 2, "fl_y": frame["fl_x"]}
  of = lambda name: _number({**middle, **frame}, name, here)
  return _intrinsics(
    of("fl_x") / width, of("fl_y") / height, of("cx") / width, of("cy") / height
  )


def _intrinsics(fx: float, fy: float, cx: float, cy: float) -> list[float]:
  return [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]


def _size(frame: Mapping[str, Any], name: str, here: str) -> float:
  size = _number(frame, name, here)
  if size <= 0:
    raise UserError(f"{here}: {name}: expected pixels, > 0, got {size:.6g}")
  return size


def _number(frame: Mapping[str, Any], name: str, here: str) -> float:
  value = frame.get(name)
  if (
    isinstance(value, bool)
    or not isinstance(value, (int, float))
    or not abs(value) < 1e38
  ):
    raise UserError(f"{here}: {name}: expected a number")
  return float(value)
