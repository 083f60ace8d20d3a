"""Cameras of a viewer: from a browser's camera to a generator's and back.

Pure functions without browser or server; `camera` applies them to a window.
"""

import dataclasses
import functools
import math

import jax
import numpy as np

from my3dgen_jax.apps.rendering.limits import Limits
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Array

_LINEAR_SHARE = 0.7  # share of a limit up to which angles are not changed
# A browser's camera turns all around; a generator's turns less far, so it turns
# more slowly.
_TURN = 0.5
_MAX_BEFORE_LIMIT = 1.3  # in limits; beyond, `soft_limit` hardly changes
_STEEPEST = 1.5  # largest elevation of a browser's camera, radians
_NEAREST, _FARTHEST = 4.0, 0.6  # zoom
_ANGLE_TOLERANCE = 1e-3  # cameras that differ by less are the same


@dataclasses.dataclass(frozen=True)
class Orbit:
  """A camera around the front, as a mouse can set it.

  Attributes:
    yaw: yaw from the front, radians, as in `cameras.look_at`.
    pitch: pitch from the front, radians, as in `cameras.look_at`.
    zoom: magnification; 1: as in the prior's training; 2: twice as large.
    shift: shift of the picture to the right and down, in image sizes.
  """

  yaw: float = 0.0
  pitch: float = 0.0
  zoom: float = 1.0
  shift: tuple[float, float] = (0.0, 0.0)


def soft_limit(angle: float, limit: float) -> float:
  """Limits an angle smoothly; small angles do not change.

  Args:
    angle: the angle, radians.
    limit: bound of the result, radians, > 0.
  """
  free = _LINEAR_SHARE * limit
  beyond = abs(angle) - free
  if beyond <= 0:
    return angle
  room = limit - free
  return math.copysign(free + room * math.tanh(beyond / max(room, 1e-9)), angle)


def distance(config: RenderConfig) -> float:
  """Distance from the average camera to its target, world units."""
  return float(np.linalg.norm(_front(config) - config.avg_camera_pivot))


def field_of_view(focal: float = cameras.FACE_FOCAL) -> float:
  """The angle that the picture's height spans, radians."""
  return 2 * math.atan(0.5 / focal)


def orbit_of_pose(
  position: Array,
  look_at: Array,
  config: RenderConfig,
  limits: Limits,
  *,
  focal: float = cameras.FACE_FOCAL,
) -> Orbit:
  """The generator's camera for a browser's orbiting camera.

  A generator's camera has a fixed distance, so moving closer becomes a longer
  focal length, and moving sideways shifts the picture.

  Args:
    position: [3], world units.
    look_at: [3], the center of the orbit, world units.
    config: settings of the average camera.
    limits: soft limits of the angles.
    focal: focal length at zoom 1, in image sizes.
  """
  away = np.asarray(position, np.float64) - look_at
  far = max(float(np.linalg.norm(away)), 1e-6)
  x, y, z = away / far
  yaw, pitch = _angles(x, y, z)
  yaw = soft_limit(yaw, limits.yaw)
  pitch = soft_limit(pitch, limits.pitch)
  zoom = min(max(distance(config) / far, _FARTHEST), _NEAREST)
  right = np.array([z, 0.0, -x]) / max(math.hypot(x, z), 1e-6)
  down = np.cross(right, [x, y, z])
  moved = np.asarray(look_at, np.float64) - config.avg_camera_pivot
  shift = [
    max(min(-focal * float(axis @ moved) / far, zoom / 2), -zoom / 2)
    for axis in (right, down)
  ]
  return Orbit(yaw, pitch, zoom, (shift[0], shift[1]))


def rested_pose(
  position: Array, look_at: Array, config: RenderConfig, limits: Limits
) -> tuple[np.ndarray, np.ndarray] | None:
  """The pose to bring a browser's camera back to from far beyond the limits.

  There, the next drag back is visible at once.

  Args:
    position: [3], world units.
    look_at: [3], the center of the orbit, world units.
    config: settings of the average camera.
    limits: limits of the angles.

  Returns: position and look_at; None: the camera is not beyond the limits.
  """
  away = np.asarray(position, np.float64) - look_at
  far = max(float(np.linalg.norm(away)), 1e-6)
  x, y, z = away / far
  yaw, pitch = _angles(x, y, z)
  ends = [
    math.copysign(min(abs(angle), _MAX_BEFORE_LIMIT * limit), angle)
    for angle, limit in ((yaw, limits.yaw), (pitch, limits.pitch))
  ]
  if np.allclose(ends, [yaw, pitch], atol=_ANGLE_TOLERANCE):
    return None
  orbit = Orbit(*ends, zoom=distance(config) / far)
  pose, pivot = pose_of_orbit(orbit, config)
  moved = np.asarray(look_at, np.float64) - pivot
  return pose + moved, pivot + moved


def pose_of_orbit(
  orbit: Orbit, config: RenderConfig
) -> tuple[np.ndarray, np.ndarray]:
  """The browser's camera for an orbit, without the shift.

  Returns: position [3] and target [3], world units.
  """
  azimuth = orbit.yaw / _TURN
  height = math.asin(max(min(-2 * orbit.pitch / math.pi, 1), -1)) / _TURN
  height = max(min(height, _STEEPEST), -_STEEPEST)
  pivot = np.array(config.avg_camera_pivot, np.float64)
  away = np.array(
    [
      math.cos(height) * math.sin(azimuth),
      math.sin(height),
      math.cos(height) * math.cos(azimuth),
    ]
  )
  return pivot + distance(config) / orbit.zoom * away, pivot


def label_of_orbit(
  orbit: Orbit, config: RenderConfig, *, focal: float = cameras.FACE_FOCAL
) -> np.ndarray:
  """The label [25] of an orbit."""
  return np.asarray(
    _label(
      np.array(
        [orbit.yaw, orbit.pitch, focal * orbit.zoom, *orbit.shift], np.float32
      ),
      config,
    )
  )


@functools.partial(jax.jit, static_argnames="config")
def _label(numbers: Array, config: RenderConfig) -> jax.Array:
  """Label of yaw, pitch, focal length, and shift right and down."""
  cam2world = cameras.look_at(
    numbers[0], numbers[1], config.avg_camera_pivot, config.avg_camera_radius
  )
  intrinsics = cameras.intrinsics_from_focal(numbers[2])
  return cameras.pack_label(cam2world, intrinsics.at[:2, 2].add(numbers[3:]))


def orbit_of_label(
  c: Array, config: RenderConfig, *, focal: float = cameras.FACE_FOCAL
) -> Orbit:
  """The orbit that comes closest to a photo's camera.

  Args:
    c: [25].
    config: settings of the average camera.
    focal: focal length at zoom 1, in image sizes.
  """
  cam2world, intrinsics = map(np.asarray, cameras.unpack_label(c))
  x, y, z = -cam2world[:3, 2].astype(np.float64)  # cameras look along z
  pitch = -math.pi / 2 * float(np.clip(y, -1, 1))
  zoom = float(np.clip(intrinsics[0, 0] / focal, _FARTHEST, _NEAREST))
  return Orbit(math.atan2(x, z), pitch, zoom)


def same_orbit(a: Orbit, b: Orbit) -> bool:
  """Whether the difference between two orbits is invisible."""
  return bool(
    np.allclose(
      [a.yaw, a.pitch, a.zoom, *a.shift],
      [b.yaw, b.pitch, b.zoom, *b.shift],
      atol=_ANGLE_TOLERANCE,
    )
  )


def _angles(x: float, y: float, z: float) -> tuple[float, float]:
  """Yaw and pitch of a browser's camera in the direction (x, y, z)."""
  # look_at's pitch is defined for uniformly distributed cameras: a camera's
  # height is -2 pitch / pi.
  height = math.asin(max(min(y, 1.0), -1.0))
  return (_TURN * math.atan2(x, z), -math.pi / 2 * math.sin(_TURN * height))


def zoom_distances(config: RenderConfig) -> tuple[float, float]:
  """The smallest and the largest distance of a browser's camera."""
  return distance(config) / _NEAREST, distance(config) / _FARTHEST


def _front(config: RenderConfig) -> np.ndarray:
  return np.array([0.0, 0.0, config.avg_camera_radius])
