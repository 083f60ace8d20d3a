"""Surface normals from depth images."""

import jax
import jax.numpy as jnp

from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.ops.rendering import rays as rays_lib
from my3dgen_jax.types import Array


def normals_from_depth(depth: Array, c: Array) -> jax.Array:
  """Normals of the surface that a depth image shows.

  The points of each pixel and its neighbors span the surface. Of the two
  neighbors along an axis, the one nearer in space gets more weight, by the
  fourth power of the distance: on a smooth surface both count alike, at a
  silhouette only the one on the same side.

  Args:
    depth: [N, S, S, 1], distance along the ray through each pixel's center,
      world units; S at least 2.
    c: [N, 25], or [1, 25], the cameras.

  Returns: [N, S, S, 3], unit length, in the camera axes that normal maps use:
    x right, y up, z towards the viewer.
  Raises: UserError on any other shape.
  """
  depth = jnp.asarray(depth, jnp.float32)
  checks.check_shape("depth", depth, ("N", "S", "S", 1))
  size = depth.shape[1]
  if not depth.shape[2] == size >= 2:
    raise UserError(
      "depth: expected a square of at least 2 x 2 pixels, got "
      f"{list(depth.shape)}"
    )
  cam2world, intrinsics = cameras.unpack_label(c)
  # In camera coordinates: the camera is at the origin and looks along z.
  still = jnp.broadcast_to(jnp.eye(4, dtype=jnp.float32), cam2world.shape)
  directions = rays_lib.generate_rays(still, intrinsics, size).directions
  points = depth * directions.reshape((-1, size, size, 3))
  right, down = _tangent(points, axis=2), _tangent(points, axis=1)
  normal = jnp.cross(right, down)
  # Image axes are right, down, away: away is flipped to face the viewer, and
  # normals that pointed away are negated, so only down changes, to up.
  length = jnp.linalg.norm(normal, axis=-1, keepdims=True)
  return (
    normal
    * jnp.array([-1.0, 1.0, 1.0], jnp.float32)
    / jnp.maximum(length, 1e-20)
  )


def _tangent(points: jax.Array, *, axis: int) -> jax.Array:
  """The step from each pixel's point to the next pixel's, [N, S, S, 3]."""
  size = points.shape[axis]
  steps = jnp.diff(points, axis=axis)
  take = lambda first, last: jax.lax.slice_in_dim(steps, first, last, axis=axis)
  # Pixels at the image's border have only one neighbor.
  after = jnp.concatenate([steps, take(size - 2, size - 1)], axis=axis)
  before = jnp.concatenate([take(0, 1), steps], axis=axis)
  square = lambda step: jnp.sum(step * step, axis=-1, keepdims=True)
  far_after, far_before = square(after) ** 2, square(before) ** 2
  total = far_after + far_before
  share = jnp.where(total > 0, far_before / jnp.where(total > 0, total, 1), 0.5)
  return share * after + (1 - share) * before
