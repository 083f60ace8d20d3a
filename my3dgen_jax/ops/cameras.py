"""Cameras in EG3D's convention, and the 25-number camera label c.

World: y up, the face looks along +z. Camera: OpenCV axes (x right, y down,
z forward). Intrinsics are divided by the image size: a focal length of 1
spans the image, the principal point is (0.5, 0.5).
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.config import RenderConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import checks
from my3dgen_jax.tracing.derivatives import entry
from my3dgen_jax.tracing.programs import one_program
from my3dgen_jax.types import Array

LABEL_SIZE = 25
FACE_FOCAL = 4.2647  # the focal length of face and cat labels, in image sizes

# The published weights were trained with camera labels that use these
# roundings of sqrt(2) and pi, so a field of view must be converted with them.
_SQRT2_OF_FOV = 1.414
_PI_OF_FOV = 3.14159


@entry
def look_at(
  yaw: chex.Numeric,
  pitch: chex.Numeric,
  pivot: Array = (0.0, 0.0, 0.0),
  radius: chex.Numeric = 1.0,
) -> jax.Array:
  """Cameras on a sphere about the origin that look at one point.

  Args:
    yaw: [...] radians, offset from the front; positive moves the camera
      towards +x, so that the face turns towards the image's left.
    pitch: [...] radians, offset from the front; positive moves it down.
    pivot: [..., 3], the point looked at, world units.
    radius: [...], the sphere's radius, world units.

  Returns: cam2world, [..., 4, 4].
  Source: EG3D, camera conventions; `LookAtPoseSampler`.
  """
  yaw, pitch, radius = map(jnp.asarray, (yaw, pitch, radius))
  pivot = checks.as_float32("pivot", pivot, (..., 3))
  shape = jnp.broadcast_shapes(
    yaw.shape, pitch.shape, radius.shape, pivot.shape[:-1]
  )
  azimuth = yaw + jnp.pi / 2
  # v / pi is the share of a uniform sphere above the camera; phi is its polar
  # angle. "Up" is undefined at the poles themselves.
  v = jnp.clip(pitch + jnp.pi / 2, 1e-5, jnp.pi - 1e-5)
  phi = jnp.arccos(1 - 2 * v / jnp.pi)
  origin = radius[..., None] * jnp.stack(
    jnp.broadcast_arrays(
      jnp.sin(phi) * jnp.cos(jnp.pi - azimuth),
      jnp.cos(phi),
      jnp.sin(phi) * jnp.sin(jnp.pi - azimuth),
    ),
    axis=-1,
  )
  origin = jnp.broadcast_to(origin, shape + (3,)).astype(jnp.float32)

  forward = _normalize(pivot - origin)
  world_up = jnp.broadcast_to(
    jnp.array([0.0, 1.0, 0.0], jnp.float32), forward.shape
  )
  right = -_normalize(jnp.cross(world_up, forward))
  up = _normalize(jnp.cross(forward, right))
  rotation = jnp.stack([right, up, forward], axis=-1)
  top = jnp.concatenate([rotation, origin[..., None]], axis=-1)
  bottom = jnp.broadcast_to(
    jnp.array([0.0, 0.0, 0.0, 1.0], jnp.float32), shape + (1, 4)
  )
  return jnp.concatenate([top, bottom], axis=-2)


def _normalize(vectors: jax.Array) -> jax.Array:
  return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)


@entry
def intrinsics_from_fov(fov_degrees: chex.Numeric) -> jax.Array:
  """Normalized intrinsics for a field of view.

  Args:
    fov_degrees: [...], in (0, 180), as in EG3D's scripts: the angle spanned by
      the image's width over sqrt(2). 18.837 for the face checkpoints.

  Returns: [..., 3, 3].
  Raises: UserError on an angle out of range.
  """
  fov = checks.as_float32("fov_degrees", fov_degrees, (...,))
  values = checks.concrete(fov)
  if values is not None and not ((values > 0) & (values < 180)).all():
    raise UserError(
      f"fov_degrees: expected angles between 0 and 180, got {fov_degrees}"
    )
  focal = 1 / (_SQRT2_OF_FOV * jnp.tan(fov * _PI_OF_FOV / 360))
  return intrinsics_from_focal(focal)


@entry
def intrinsics_from_focal(focal: chex.Numeric) -> jax.Array:
  """Normalized intrinsics for a focal length in image sizes, see FACE_FOCAL.

  Args:
    focal: [...], the same along x and y; the principal point is the center.

  Returns: [..., 3, 3].
  """
  return _intrinsics(jnp.asarray(focal, jnp.float32))


@one_program()
def _intrinsics(focal: jax.Array) -> jax.Array:
  scale = jnp.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]], jnp.float32)
  rest = jnp.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 1]], jnp.float32)
  return focal[..., None, None] * scale + rest


@entry
def pack_label(cam2world: Array, intrinsics: Array) -> jax.Array:
  """Packs a camera into the label c.

  Args:
    cam2world: [..., 4, 4].
    intrinsics: [..., 3, 3], normalized; leading axes broadcast.

  Returns: [..., 25].
  Raises: UserError on any other shape.
  """
  cam2world, intrinsics = jnp.asarray(cam2world), jnp.asarray(intrinsics)
  checks.check_shape("cam2world", cam2world, (..., 4, 4))
  checks.check_shape("intrinsics", intrinsics, (..., 3, 3))
  return _packed(cam2world, intrinsics)


@one_program()
def _packed(cam2world: jax.Array, intrinsics: jax.Array) -> jax.Array:
  batch = jnp.broadcast_shapes(cam2world.shape[:-2], intrinsics.shape[:-2])
  return jnp.concatenate(
    [
      jnp.broadcast_to(
        cam2world.reshape(cam2world.shape[:-2] + (16,)), batch + (16,)
      ),
      jnp.broadcast_to(
        intrinsics.reshape(intrinsics.shape[:-2] + (9,)), batch + (9,)
      ),
    ],
    axis=-1,
  )


@entry
def label(
  yaw: chex.Numeric,
  pitch: chex.Numeric = 0.0,
  rendering: RenderConfig = RenderConfig(),
  *,
  focal: chex.Numeric = FACE_FOCAL,
) -> jax.Array:
  """Labels of cameras around a generator's faces, at their usual distance.

  Args:
    yaw: [...] radians, see `look_at`.
    pitch: [...] radians.
    rendering: the generator's `config.rendering`: the point its cameras look
      at, and their distance.
    focal: the focal length, in image sizes; by default that of faces and cats.

  Returns: c, [..., 25].
  """
  cam2world = look_at(
    yaw, pitch, rendering.avg_camera_pivot, rendering.avg_camera_radius
  )
  return pack_label(cam2world, intrinsics_from_focal(focal))


@entry
def unpack_label(c: Array) -> tuple[jax.Array, jax.Array]:
  """Unpacks the label c, [..., 25], into cam2world and intrinsics.

  Returns: cam2world [..., 4, 4] and intrinsics [..., 3, 3].
  Raises: UserError on any other shape.
  """
  c = jnp.asarray(c)
  checks.check_shape("c", c, (..., LABEL_SIZE))
  return _unpacked(c)


@one_program()
def _unpacked(c: jax.Array) -> tuple[jax.Array, jax.Array]:
  batch = c.shape[:-1]
  return c[..., :16].reshape(batch + (4, 4)), c[..., 16:].reshape(
    batch + (3, 3)
  )


@entry
def turned(c: Array, angles: Array, pivot: Array) -> jax.Array:
  """Labels of cameras rotated around a point, at an unchanged distance.

  Args:
    c: [..., 25].
    angles: [..., 2], rotations about the world's y and x axes, radians.
    pivot: [3], the point, world units.

  Returns: c, [..., 25].
  """
  cam2world, intrinsics = unpack_label(c)
  pivot, angles = jnp.asarray(pivot), jnp.asarray(angles)
  cosine, sine = jnp.cos(angles), jnp.sin(angles)
  zero, one = jnp.zeros_like(sine[..., 0]), jnp.ones_like(sine[..., 0])

  def matrix(*rows):
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)

  about_y = matrix(
    (cosine[..., 0], zero, sine[..., 0]),
    (zero, one, zero),
    (-sine[..., 0], zero, cosine[..., 0]),
  )
  about_x = matrix(
    (one, zero, zero),
    (zero, cosine[..., 1], -sine[..., 1]),
    (zero, sine[..., 1], cosine[..., 1]),
  )
  rotation = about_y @ about_x
  place = (rotation @ (cam2world[..., :3, 3] - pivot)[..., None])[..., 0]
  moved = cam2world.at[..., :3, :3].set(rotation @ cam2world[..., :3, :3])
  return pack_label(moved.at[..., :3, 3].set(place + pivot), intrinsics)


@entry
def mirror(c: Array) -> jax.Array:
  """The label of the left-right mirrored image.

  Args:
    c: [..., 25]; the principal point is assumed to be in the middle column.

  Returns: [..., 25].
  """
  c = jnp.asarray(c)
  checks.check_shape("c", c, (..., LABEL_SIZE))
  signs = np.ones((4, 4), np.float32)
  for row, column in ((0, 1), (0, 2), (1, 0), (2, 0), (0, 3)):
    signs[row, column] = -1
  return c * np.concatenate([signs.ravel(), np.ones(9, np.float32)])


@entry
def check_label(c: Array, name: str = "c") -> jax.Array:
  """Checks that labels hold valid cameras; values only if they are concrete.

  Args:
    c: [N, 25].
    name: the argument's name in the message.

  Returns: c, as float32.
  Raises:
    UserError: not [N, 25]; NaN; a rotation that is not orthonormal to 1e-3
      or is a reflection; a bottom row other than (0, 0, 0, 1); a focal length
      <= 0.
  """
  c = checks.as_float32(name, c, ("N", LABEL_SIZE))
  values = checks.concrete(c)
  if values is None:
    return c
  values = values.astype(np.float64)
  cam2world = values[:, :16].reshape(-1, 4, 4)
  intrinsics = values[:, 16:].reshape(-1, 3, 3)
  rotation = cam2world[:, :3, :3]
  error = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(
    axis=(1, 2)
  )
  wrong = np.flatnonzero((error > 1e-3) | (np.linalg.det(rotation) < 0))
  if wrong.size:
    i = wrong[0]
    raise UserError(
      f"{name}[{i}]: cam2world is not a rigid camera: the upper left 3x3 "
      f"block must be a rotation (|R R^T - I| is {error[i]:.3g}, "
      f"det R is {np.linalg.det(rotation[i]):.3g})"
    )
  wrong = np.flatnonzero(
    np.abs(cam2world[:, 3] - [0, 0, 0, 1]).max(axis=1) > 1e-3
  )
  if wrong.size:
    raise UserError(
      f"{name}[{wrong[0]}]: the bottom row of cam2world must "
      f"be 0 0 0 1, got {cam2world[wrong[0], 3]}"
    )
  focal = intrinsics[:, [0, 1], [0, 1]]
  wrong = np.flatnonzero((focal <= 0).any(axis=1))
  if wrong.size:
    raise UserError(
      f"{name}[{wrong[0]}]: intrinsics must have positive "
      f"focal lengths, got {focal[wrong[0]]}"
    )
  return c
