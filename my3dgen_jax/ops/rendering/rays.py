"""A camera's rays, and where they meet the volume."""

import chex
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.types import Array, Rays


def generate_rays(cam2world: Array, intrinsics: Array, resolution: int) -> Rays:
  """Rays through the pixel centers of a square image.

  Args:
    cam2world: [N, 4, 4].
    intrinsics: [N, 3, 3], normalized by the image size.
    resolution: S, pixels along a side.

  Returns: Rays of M = S * S, row-major.
  Raises: AssertionError on a rank or batch mismatch.
  """
  chex.assert_shape(cam2world, (None, 4, 4))
  chex.assert_shape(intrinsics, (cam2world.shape[0], 3, 3))
  centres = (jnp.arange(resolution, dtype=jnp.float32) + 0.5) / resolution
  v, u = (
    axis.reshape(1, -1)
    for axis in jnp.meshgrid(centres, centres, indexing="ij")
  )
  fx, skew, cx = (intrinsics[:, 0, i, None] for i in range(3))
  fy, cy = (intrinsics[:, 1, i, None] for i in (1, 2))
  x = (u - cx + cy * skew / fy - skew * v / fy) / fx
  y = (v - cy) / fy
  camera_space = jnp.stack([x, y, jnp.ones_like(x)], axis=-1)
  directions = jnp.einsum(
    "nij,nmj->nmi",
    cam2world[:, :3, :3],
    camera_space,
    precision=lax.Precision.HIGHEST,
  )
  directions /= jnp.linalg.norm(directions, axis=-1, keepdims=True)
  origins = jnp.broadcast_to(cam2world[:, None, :3, 3], directions.shape)
  return Rays(origins=origins, directions=directions)


def box_limits(rays: Rays, box_warp: float) -> tuple[jax.Array, jax.Array]:
  """Distances where rays enter and leave the origin-centered cube `box_warp`.

  A ray that misses the cube gets the smallest near and the largest far
  distance of its own image's rays that hit it; with no hit at all, (0, 0).
  (EG3D takes them over the batch, so that one image depends on the others.)

  Args:
    rays: Rays.
    box_warp: side of the cube, world units.

  Returns: two [N, M] arrays of distances along the rays.
  """
  inverse = 1 / rays.directions
  faces = jnp.stack(
    [
      (-box_warp / 2 - rays.origins) * inverse,
      (box_warp / 2 - rays.origins) * inverse,
    ]
  )
  # A ray within a face's plane gives 0 * inf: that face bounds nothing.
  near = jnp.max(
    jnp.nan_to_num(
      faces.min(axis=0), nan=-jnp.inf, posinf=jnp.inf, neginf=-jnp.inf
    ),
    axis=-1,
  )
  far = jnp.min(
    jnp.nan_to_num(
      faces.max(axis=0), nan=jnp.inf, posinf=jnp.inf, neginf=-jnp.inf
    ),
    axis=-1,
  )
  hit = near <= far
  any_hit = hit.any(axis=-1, keepdims=True)
  smallest = jnp.min(jnp.where(hit, near, jnp.inf), axis=-1, keepdims=True)
  largest = jnp.max(jnp.where(hit, near, -jnp.inf), axis=-1, keepdims=True)
  return (
    jnp.where(hit, near, jnp.where(any_hit, smallest, 0)),
    jnp.where(hit, far, jnp.where(any_hit, largest, 0)),
  )
