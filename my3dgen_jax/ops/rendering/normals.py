"""Which way a surface faces, from how far away it is."""

import jax
import jax.numpy as jnp

from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.ops.rendering import rays as rays_lib
from my3dgen_jax.types import Array


def normals_from_depth(depth: Array, c: Array) -> jax.Array:
  """Normals of the surface that a depth image shows.

  Each pixel's point and those beside it span the surface. Of the two
  neighbours on a line the nearer one in space counts more, by the fourth
  power: on a smooth surface both count alike, at a silhouette only the one
  on the same side.

  Args:
    depth: [N, S, S, 1], distance along the ray through each pixel's centre,
      world units; S at least 2.
    c: [N, 25], or [1, 25], the cameras.

  Returns: [N, S, S, 3], of length 1, in the camera's axes as normal maps have
    them: x right, y up, z towards the viewer.
  Raises: UserError on another shape.
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
  # In the camera's own axes: it stands at the origin and looks along z.
  still = jnp.broadcast_to(jnp.eye(4, dtype=jnp.float32), cam2world.shape)
  directions = rays_lib.generate_rays(still, intrinsics, size).directions
  points = depth * directions.reshape((-1, size, size, 3))
  right, down = _tangent(points, axis=2), _tangent(points, axis=1)
  normal = jnp.cross(right, down)
  # Image axes are right, down and away: away becomes towards the viewer, and
  # a normal that pointed away is turned round, so that down becomes up alone.
  length = jnp.linalg.norm(normal, axis=-1, keepdims=True)
  return (
    normal
    * jnp.array([-1.0, 1.0, 1.0], jnp.float32)
    / jnp.maximum(length, 1e-20)
  )


def _tangent(points: jax.Array, *, axis: int) -> jax.Array:
  """The step from a pixel's point to the next one's, [N, S, S, 3]."""
  size = points.shape[axis]
  steps = jnp.diff(points, axis=axis)
  take = lambda first, last: jax.lax.slice_in_dim(steps, first, last, axis=axis)
  # At the image's border there is one neighbour.
  after = jnp.concatenate([steps, take(size - 2, size - 1)], axis=axis)
  before = jnp.concatenate([take(0, 1), steps], axis=axis)
  square = lambda step: jnp.sum(step * step, axis=-1, keepdims=True)
  far_after, far_before = square(after) ** 2, square(before) ** 2
  total = far_after + far_before
  share = jnp.where(total > 0, far_before / jnp.where(total > 0, total, 1), 0.5)
  return share * after + (1 - share) * before
