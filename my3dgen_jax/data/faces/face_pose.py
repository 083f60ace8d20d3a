"""From a face's landmarks in a crop to the camera label.

    label = face_pose.label(face.moved(alignment.to_crop), size=512)

An average head is rotated and translated until a camera of EG3D's focal length
sees its landmarks where they are. The mesh's depth counts as one more
coordinate of each landmark, but only half: it is a network's estimate, yet it
shows a head's pitch better than the image, where a smile or a long nose moves
what is seen. As in EG3D, the camera is then put at the standard distance.

`benchmarks/prepare_accuracy.py` measures the accuracy.
"""

import dataclasses
import functools

import numpy as np
from scipy import optimize
from scipy.spatial import transform

from my3dgen_jax.data.faces import face_align, landmarks
from my3dgen_jax.data.faces.landmarks import Face
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Array

# Distance of the camera from the world's origin in every label of EG3D's
# pipeline that we have (its newer mode "cor" measures from elsewhere).
RADIUS = 2.7

# Placement of the mean mesh in EG3D's world: its pitch, the distance of the
# eyes' outer corners, and the shift of its origin up and towards the camera.
# These four numbers are all that is fitted to labels:
# `benchmarks.prepare_accuracy --fit` fitted them to the twelve crops that
# EG3D's own pipeline labeled. Without any one of the twelve they change by at
# most 0.3 degrees, 0.001, 0.002 and 0.01.
_TILT_DEGREES = -0.5
_UNIT = 0.2146
_UP, _FORWARD = 0.0004, 0.2335

# Standard deviation of heads' pitch: with few landmarks, a long face and one
# that looks up or down are hard to tell apart.
_NOD = np.radians(10.0)
# Standard deviation of a detector's few points, about twice the mesh's own
# there; world units.
_POINTS_DEVIATION = 0.01
_DEPTH_DOUBT = 2.0  # factor of the depth's standard deviation
_CAMERA_AXES = np.diag([1.0, -1.0, -1.0])  # for a frontal face
_START_YAWS = (-0.5, 0.0, 0.5)  # radians, without depth


@dataclasses.dataclass(frozen=True, eq=False)
class HeadShape:
  """Landmarks of an average head.

  Attributes:
    points: [M, 3], in the world: y up, the head looks along +z.
    deviation: [M, 2], standard deviation over heads, world units: along x and
      y, and along z.
  """

  points: np.ndarray
  deviation: np.ndarray

  def placed(
    self, *, tilt_degrees: float, unit: float, up: float, forward: float
  ) -> "HeadShape":
    """Rotates about x (up is positive), scales, then shifts along y and z."""
    turn = transform.Rotation.from_euler(
      "x", -tilt_degrees, degrees=True
    ).as_matrix()
    return HeadShape(
      unit * self.points @ turn.T + [0, up, forward], unit * self.deviation
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Domain:
  """A kind of head.

  Attributes:
    framing: framing of its crops.
    points: the shape for `Face.points`.
    dense: the shape for `Face.dense`, or None.
    focal: focal length of its cameras, in image sizes.
    radius: distance of its cameras from the origin, world units.
  """

  framing: face_align.Framing
  points: HeadShape
  dense: HeadShape | None = None
  focal: float = cameras.FACE_FOCAL
  radius: float = RADIUS


@functools.cache
def people() -> Domain:
  """People's faces, as EG3D's FFHQ generators expect them."""
  return people_at(
    tilt_degrees=_TILT_DEGREES, unit=_UNIT, up=_UP, forward=_FORWARD
  )


def people_at(**place: float) -> Domain:
  """People's faces with another mesh placement; see `HeadShape.placed`."""
  mean = landmarks.mean_mesh()
  dense = HeadShape(mean.points, mean.deviation).placed(**place)
  points = landmarks.points_of_mesh(dense.points)
  return Domain(
    framing=face_align.FACE,
    dense=dense,
    points=HeadShape(points, np.full((len(points), 2), _POINTS_DEVIATION)),
  )


def label(face: Face, *, size: int, domain: Domain | None = None) -> np.ndarray:
  """The camera label of a crop.

  Args:
    face: the face, in the crop's pixels, see `Face.moved`; its mesh is used if
      it has one, otherwise its few points.
    size: side of the crop, pixels.
    domain: the kind of head; None: `people()`.

  Returns: [25] float32, see `ops.cameras`.
  Raises: UserError, as `head_pose`.
  """
  domain = domain or people()
  if face.dense is not None and domain.dense is not None:
    pose = head_pose(face.dense, domain.dense, size=size, focal=domain.focal)
  else:
    pose = head_pose(face.points, domain.points, size=size, focal=domain.focal)
  return np.asarray(
    cameras.pack_label(
      camera(pose, radius=domain.radius).astype(np.float32),
      cameras.intrinsics_from_focal(domain.focal),
    )
  )


def camera(pose: np.ndarray, *, radius: float = RADIUS) -> np.ndarray:
  """The camera that sees a head, at the standard distance.

  Args:
    pose: [4, 4], world to camera, see `head_pose`.
    radius: distance from the world's origin; the camera moves along the line
      to it.

  Returns: cam2world, [4, 4] float64.
  """
  cam2world = np.linalg.inv(pose)
  cam2world[:3, 3] *= radius / np.linalg.norm(cam2world[:3, 3])
  return cam2world


def head_pose(
  points: Array,
  shape: HeadShape,
  *,
  size: int,
  focal: float = cameras.FACE_FOCAL,
) -> np.ndarray:
  """The pose of a head seen by a camera in the origin (perspective-n-point).

  Args:
    points: [M, 2] or with depth [M, 3], pixels of the crop; see `Face`.
    shape: shape of the head.
    size: side of the crop, pixels.
    focal: the camera's focal length, in sides of the crop; it looks at the
      center.

  Returns: world to camera (OpenCV's axes), [4, 4] float64.
  Raises: UserError on another number of points, and on points that are not a
    head: not finite, all in one place.
  """
  points = np.asarray(points, np.float64)
  count = len(shape.points)
  if points.shape not in ((count, 2), (count, 3)):
    raise UserError(
      f"landmarks: expected {count} points, [{count}, 2] or "
      f"[{count}, 3], got {list(points.shape)}"
    )
  if not np.isfinite(points).all():
    raise UserError("landmarks: contain NaN or infinity")
  if np.ptp(points[:, :2], axis=0).max() < 1:
    raise UserError("landmarks: all are in the same place")
  # Tangents of angles from the center, and depth in the same unit.
  seen = (points - [size / 2, size / 2, 0][: points.shape[1]]) / (focal * size)
  centre = shape.points.mean(axis=0)
  problem = _Problem(shape.points - centre, shape.deviation, seen)
  solutions = [problem.solve(start) for start in problem.starts()]
  rotation, translation = min(solutions, key=lambda it: it[0])[1:]
  pose = np.eye(4)
  pose[:3, :3] = rotation
  pose[:3, 3] = translation - rotation @ centre
  return pose


@dataclasses.dataclass(frozen=True, eq=False)
class _Problem:
  """The least-squares problem for one head.

  Attributes:
    points: [M, 3], relative to the head's center.
    deviation: [M, 2], standard deviations.
    seen: [M, 2] or [M, 3], tangents of angles.
  """

  points: np.ndarray
  deviation: np.ndarray
  seen: np.ndarray

  def starts(self):
    """Yields rotations to start from."""
    if self.seen.shape[1] == 3:
      yield transform.Rotation.align_vectors(
        self.seen - self.seen.mean(axis=0),
        self.points,
        1 / self.deviation[:, 0] ** 2,
      )[0].as_matrix()
      return
    for yaw in _START_YAWS:
      yield _CAMERA_AXES @ transform.Rotation.from_euler("y", yaw).as_matrix()

  def solve(self, start: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Minimizes from a rotation: returns cost, rotation, translation."""
    flat = (self.points @ start.T)[:, :2]
    spread = lambda x: np.sqrt(np.sum((x - x.mean(axis=0)) ** 2))
    distance = spread(flat) / spread(self.seen[:, :2])
    place = np.append(self.seen[:, :2].mean(axis=0), 1) * distance

    def rotation_of(x):
      return transform.Rotation.from_rotvec(x[:3]).as_matrix() @ start

    def residuals(x):
      rotation = rotation_of(x)
      head = self.points @ rotation.T
      there = head + x[3:]
      error = (there[:, :2] / there[:, 2:] - self.seen[:, :2]) * x[5]
      terms = [
        (error / self.deviation[:, :1]).ravel(),
        np.arcsin(np.clip(rotation[2, 1:2], -1, 1)) / _NOD,
      ]
      if self.seen.shape[1] == 3:
        deviation = _DEPTH_DOUBT * self.deviation[:, 1]
        error = head[:, 2] - self.seen[:, 2] * x[5]
        terms.append(
          (error - np.average(error, weights=deviation**-2)) / deviation
        )
      return np.concatenate(terms)

    result = optimize.least_squares(
      residuals, np.concatenate([np.zeros(3), place]), method="lm"
    )
    return result.cost, rotation_of(result.x), result.x[3:]
