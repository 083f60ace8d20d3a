"""Gaussian splats: differentiable rendering of ellipsoids to an image.

Images are cut into square tiles. The splats that a tile may show are found
outside the differentiated code (`bin_splats`, in NumPy); a tile's pixels then
blend its splats from front to back, all pixels and splats at once.

Source: Kerbl et al. 2023, "3D Gaussian Splatting for Real-Time Radiance Field
Rendering", https://arxiv.org/abs/2308.04079; equation numbers refer to it.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Array

TILE = 8  # pixels along a side
# Variance, in pixels^2, added to every splat in the image, as viewers of 3DGS
# files do.
LOW_PASS = 0.3
_LEAST_ALPHA, _MOST_ALPHA = 1 / 255, 0.99
_NEAR = 0.05  # near plane, world units


@flax.struct.dataclass
class Splats:
  """N colored ellipsoids.

  Attributes:
    means: [N, 3], world units.
    log_scales: [N, 3], logarithms of the standard deviations along the
      ellipsoid's axes, world units.
    quaternions: [N, 4], w first, of any length: rotations from the ellipsoid's
      axes to the world's.
    logits: [N], logits of the opacity at the center.
    colors: [N, 3], in [0, 1], sRGB as in image files: blended without
      linearizing.
  """

  means: Array
  log_scales: Array
  quaternions: Array
  logits: Array
  colors: Array


class Projected(NamedTuple):
  """Ellipses in an image.

  Attributes:
    centers: [N, 2], pixels.
    conics: [N, 3], the inverse covariance's xx, xy, yy, 1 / pixels^2.
    variances: [N, 2], along x and y, pixels^2.
    depth: [N], along the camera's axis, world units.
  """

  centers: jax.Array
  conics: jax.Array
  variances: jax.Array
  depth: jax.Array


class Lists(NamedTuple):
  """The splats that tiles show.

  Attributes:
    indices: [T, K] int32, indices of splats from front to back; N: no more.
    hidden: number of splats that did not fit into the lists; they were the
      farthest.
  """

  indices: np.ndarray
  hidden: int


def rotations(quaternions: Array) -> jax.Array:
  """Rotation matrices [N, 3, 3] of quaternions [N, 4], w first."""
  unit = quaternions / jnp.linalg.norm(quaternions, axis=-1, keepdims=True)
  w, x, y, z = jnp.moveaxis(unit, -1, 0)
  rows = (
    (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
    (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
    (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
  )
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def project(
  splats: Splats, c: Array, side: int, *, low_pass: float = LOW_PASS
) -> Projected:
  """Projects splats into a camera's image.

  Args:
    splats: N splats.
    c: [25], the camera label; no skew.
    side: side of the image, pixels.
    low_pass: variance added in the image, pixels^2.

  Source: equation 5 of the paper.
  """
  cam2world, intrinsics = cameras.unpack_label(c)
  world2cam = cam2world[:3, :3].T
  local = (splats.means - cam2world[:3, 3]) @ cam2world[:3, :3]
  x, y, z = jnp.moveaxis(local, -1, 0)
  z = jnp.maximum(z, _NEAR)
  fx, fy = side * intrinsics[0, 0], side * intrinsics[1, 1]
  centers = jnp.stack(
    [
      fx * x / z + side * intrinsics[0, 2],
      fy * y / z + side * intrinsics[1, 2],
    ],
    axis=-1,
  )
  # Outside the image the linear approximation would diverge.
  reach = 0.65 / intrinsics[0, 0]
  slant_x, slant_y = (jnp.clip(axis / z, -reach, reach) for axis in (x, y))
  zero = jnp.zeros_like(z)
  jacobian = jnp.stack(
    [
      jnp.stack([fx / z, zero, -fx * slant_x / z], axis=-1),
      jnp.stack([zero, fy / z, -fy * slant_y / z], axis=-1),
    ],
    axis=-2,
  )
  root = rotations(splats.quaternions) * jnp.exp(splats.log_scales)[:, None, :]
  half = jacobian @ (world2cam @ root)  # [N, 2, 3]
  xx = jnp.sum(half[:, 0] ** 2, -1) + low_pass
  yy = jnp.sum(half[:, 1] ** 2, -1) + low_pass
  xy = jnp.sum(half[:, 0] * half[:, 1], -1)
  determinant = jnp.maximum(xx * yy - xy * xy, 1e-9)
  return Projected(
    centers,
    jnp.stack([yy, -xy, xx], axis=-1) / determinant[:, None],
    jnp.stack([xx, yy], axis=-1),
    local[:, 2],
  )


def bin_splats(
  projected: Projected, logits: Array, side: int, longest: int
) -> Lists:
  """Finds the splats that each tile may show, from front to back.

  Args:
    projected: N splats, not traced.
    logits: [N], opacity logits.
    side: side of the image, pixels; a multiple of `TILE`.
    longest: K, the largest number of splats per tile.

  Returns: lists for T = (side / TILE)^2 tiles, row by row.
  """
  centers, variances, depth = map(
    np.asarray, (projected.centers, projected.variances, projected.depth)
  )
  count, tiles = len(depth), side // TILE
  opacity = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
  # Where alpha falls below the threshold: equation 4 solved for the distance.
  falls = np.maximum(2 * np.log(np.maximum(opacity / _LEAST_ALPHA, 1)), 0)
  reach = np.sqrt(falls[:, None] * variances)
  with np.errstate(invalid="ignore"):
    low = np.floor((centers - reach) / TILE)
    high = np.floor((centers + reach) / TILE)
  seen = (
    (depth > _NEAR)
    & (falls > 0)
    & np.isfinite(low + high).all(-1)
    & (high >= 0).all(-1)
    & (low < tiles).all(-1)
  )
  order = np.flatnonzero(seen)
  order = order[np.argsort(depth[order], kind="stable")]
  low = np.clip(low[order], 0, tiles - 1).astype(np.int64)
  high = np.clip(high[order], 0, tiles - 1).astype(np.int64)
  wide = high - low + 1
  times = wide.prod(axis=-1)
  splat = np.repeat(order, times)
  step = np.arange(times.sum()) - np.repeat(times.cumsum() - times, times)
  first, wide = np.repeat(low, times, axis=0), np.repeat(wide[:, 0], times)
  tile = (first[:, 1] + step // wide) * tiles + first[:, 0] + step % wide
  by_tile = np.argsort(tile.astype(np.uint32), kind="stable")
  tile, splat = tile[by_tile], splat[by_tile]
  place = np.arange(len(tile)) - np.searchsorted(tile, tile)
  fits = place < longest
  indices = np.full((tiles * tiles, longest), count, np.int32)
  indices[tile[fits], place[fits]] = splat[fits]
  return Lists(indices, int((~fits).sum()))


def composite(
  splats: Splats, projected: Projected, indices: Array, tiles: Array, side: int
) -> tuple[jax.Array, jax.Array]:
  """Blends the splats of tiles; differentiable except for the lists.

  Args:
    splats: the splats, for their colors and opacities.
    projected: the same splats, projected.
    indices: [T, K], see `Lists`.
    tiles: [T], row-major indices of the tiles.
    side: side of the whole image, pixels.

  Returns: colors over black, [T, TILE^2, 3], and transmittance,
    [T, TILE^2].
  Source: equations 3 and 4 of the paper.
  """
  take = lambda values: jnp.take(
    values, indices, axis=0, mode="fill", fill_value=0
  )
  offset = jnp.stack(
    jnp.meshgrid(jnp.arange(TILE), jnp.arange(TILE)), axis=-1
  ).reshape(1, -1, 2)
  across = side // TILE
  corner = TILE * jnp.stack([tiles % across, tiles // across], axis=-1)
  pixels = corner[:, None] + offset + 0.5
  # Pixels come last, so that the processor vectorizes over them.
  dx, dy = (
    pixels[:, None, :, i] - take(projected.centers[:, i])[..., None]
    for i in (0, 1)
  )
  xx, xy, yy = (take(projected.conics[:, i])[..., None] for i in range(3))
  power = -0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy
  opacity = take(jax.nn.sigmoid(splats.logits))[..., None]
  alpha = jnp.minimum(opacity * jnp.exp(power), _MOST_ALPHA)
  alpha = jnp.where(alpha < _LEAST_ALPHA, 0, alpha)  # [T, K, P]
  through = jnp.cumsum(jnp.log1p(-alpha), axis=1)
  before = jnp.exp(
    jnp.concatenate([jnp.zeros_like(through[:, :1]), through[:, :-1]], axis=1)
  )
  color = jnp.einsum("tkp,tkc->tpc", alpha * before, take(splats.colors))
  return color, jnp.exp(through[:, -1])


def render(
  splats: Splats,
  c: Array,
  side: int,
  *,
  longest: int = 512,
  low_pass: float = LOW_PASS,
) -> tuple[jax.Array, jax.Array]:
  """Renders a whole image.

  Args:
    splats: the splats to render.
    c: [25], the camera label.
    side: side of the image, pixels; a multiple of `TILE`.
    longest: the largest number of splats per tile.
    low_pass: see `project`.

  Returns: colors over black, [side, side, 3], and transmittance,
    [side, side, 1].
  """
  projected = _project(splats, c, side, low_pass=low_pass)
  lists = bin_splats(projected, splats.logits, side, longest)
  color, through = _composite(
    splats, projected, lists.indices, jnp.arange(len(lists.indices)), side
  )
  return (from_tiles(color, side), from_tiles(through[..., None], side))


def from_tiles(values: jax.Array, side: int) -> jax.Array:
  """Joins all tiles: [T, TILE^2, C] to [side, side, C]."""
  across = side // TILE
  values = values.reshape(across, across, TILE, TILE, -1)
  return values.transpose(0, 2, 1, 3, 4).reshape(side, side, -1)


def to_tiles(image: Array) -> Array:
  """Splits into tiles: [side, side, C] to [T, TILE^2, C]."""
  across = image.shape[0] // TILE
  values = image.reshape(across, TILE, across, TILE, -1)
  return values.transpose(0, 2, 1, 3, 4).reshape(
    across * across, TILE * TILE, -1
  )


_project = jax.jit(project, static_argnums=2, static_argnames="low_pass")
_composite = jax.jit(composite, static_argnums=4)
