"""Bakes a texture from pictures: what cameras see of each texel, else a guess.

A texel's color is the weighted mean of the pictures that see it: those that
look straight at it count most, and those with the texel at an edge do not
count. What no camera sees, the back of a head, is filled smoothly from its
surroundings: the radiance field has colors there, but no training constrains
them.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.apps.meshing.atlas import Unwrapped
from my3dgen_jax.apps.meshing.rasterize import cover
from my3dgen_jax.apps.rendering.views import Views
from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Array

_TEXELS = 2**17  # colored at a time
_DEPTH_SIDE = 1024  # most pixels along a depth test's side
_HIDDEN = 0.006  # world units behind the first surface: not seen
_STEP = 0.03  # world units between neighboring pixels: an edge
_FEATHER = 1.5  # pixels next to an edge that count less
_POWER = 6.0  # of the angle's cosine
_GUESS = 1e-4  # weight of the guess where cameras see a texel
_KNOWN = 1e-3  # weight at which a vertex needs no guess
_HELD = 1e3  # how firmly smoothing keeps known values


class _Seen(NamedTuple):
  """Arrays of V cameras and pictures, as the program takes them."""

  world2cam: np.ndarray  # [V, 3, 4]
  intrinsics: np.ndarray  # [V, 3, 3]
  eye: np.ndarray  # [V, 3]
  image: np.ndarray  # [V, H, W, 3]
  depth: np.ndarray  # [V, D, D], of the mesh; infinite: nothing
  trust: np.ndarray  # [V, D, D] in [0, 1], 0 at edges


def bake(mesh: Unwrapped, views: Views, size: int) -> np.ndarray:
  """The texture of a mesh.

  Args:
    mesh: the mesh to texture.
    views: pictures of the mesh.
    size: side of the texture, texels.

  Returns: [size, size, 3] uint8 sRGB; texels between charts have the color of
    the nearest one.
  """
  texels = cover(mesh.uv[mesh.faces] * size, None, (size, size))
  inside = texels.face >= 0
  corners = mesh.faces[texels.face[inside]]
  weights = texels.weights[inside]
  seen = _prepare(mesh, views)
  at_vertices, total = _mean_of_views(mesh.vertices, mesh.normals, seen)
  guess = _spread(mesh, at_vertices, total > _KNOWN)
  colors = np.empty((len(corners), 3), np.float32)
  for first in range(0, len(corners), _TEXELS):
    part = slice(first, first + _TEXELS)
    mixed = lambda values: np.einsum(
      "nk,nkc->nc", weights[part], values[corners[part]]
    )
    mean, total = _mean_of_views(
      mixed(mesh.vertices), mixed(mesh.normals), seen
    )
    share = (total / (total + _GUESS))[:, None]
    colors[part] = share * mean + (1 - share) * mixed(guess)
  texture = np.zeros((size, size, 3), np.uint8)
  texture[inside] = np.rint(255 * np.clip(colors, 0, 1))
  return _filled(texture, inside)


def _prepare(mesh: Unwrapped, views: Views) -> _Seen:
  """Depth maps of the mesh from all cameras, and where its edges are."""
  # Imported here: it takes half a second, which most commands do not need.
  from scipy import ndimage  # pylint: disable=import-outside-toplevel

  cam2world, intrinsics = map(np.asarray, cameras.unpack_label(views.c))
  rotation = cam2world[:, :3, :3].transpose(0, 2, 1)
  eye = cam2world[:, :3, 3]
  world2cam = np.concatenate([rotation, -rotation @ eye[..., None]], axis=-1)
  side = min(_DEPTH_SIDE, 2 * views.image.shape[1])
  reach = max(1.0, _FEATHER * side / views.image.shape[1])
  depths, trusts = [], []
  for matrix, lens in zip(world2cam, intrinsics):
    points = mesh.vertices @ matrix[:, :3].T + matrix[:, 3]
    pixels = side * (points @ lens.T)[:, :2] / points[:, 2:]
    depth = cover(
      pixels[mesh.faces], points[:, 2][mesh.faces], (side, side)
    ).depth
    near = np.where(np.isinf(depth), 1e3, depth)
    edge = (
      ndimage.maximum_filter(near, 3) - ndimage.minimum_filter(near, 3) > _STEP
    )
    away = (
      ndimage.distance_transform_edt(~edge)
      if edge.any()
      else np.full(edge.shape, np.inf)
    )
    depths.append(depth)
    trusts.append(np.clip((away - 1) / reach, 0, 1))
  return _Seen(
    world2cam.astype(np.float32),
    intrinsics,
    eye,
    views.image,
    np.stack(depths),
    np.stack(trusts).astype(np.float32),
  )


def _mean_of_views(
  points: np.ndarray, normals: np.ndarray, seen: _Seen
) -> tuple[np.ndarray, np.ndarray]:
  """Mean colors [N, 3] of points, and their total weights [N]."""
  colors, totals = [], []
  for first in range(0, len(points), _TEXELS):
    rows = np.minimum(
      np.arange(first, first + min(_TEXELS, _padded(len(points)))),
      len(points) - 1,
    )
    color, total = _mean(points[rows], normals[rows], seen)
    kept = len(points) - first
    colors.append(np.asarray(color)[:kept])
    totals.append(np.asarray(total)[:kept])
  return np.concatenate(colors), np.concatenate(totals)


def _padded(count: int) -> int:
  """Rounds up to a power of two, so few programs serve all lengths."""
  return 1 << max(10, (count - 1).bit_length())


@jax.jit
def _mean(
  points: Array, normals: Array, seen: _Seen
) -> tuple[jax.Array, jax.Array]:
  normals = normals / jnp.maximum(
    jnp.linalg.norm(normals, axis=-1, keepdims=True), 1e-9
  )

  def add(sums, view):
    local = points @ view.world2cam[:, :3].T + view.world2cam[:, 3]
    z = local[:, 2]
    at = (local @ view.intrinsics.T)[:, :2] / jnp.maximum(z, 1e-6)[:, None]
    inside = (z > 0) & (at > 0).all(-1) & (at < 1).all(-1)
    back = view.eye - points
    cosine = jnp.sum(back * normals, -1) / jnp.linalg.norm(back, axis=-1)
    # Compare with neighboring pixels too: a slanted surface has another depth
    # one pixel on.
    visible = z <= _largest(view.depth, at) + _HIDDEN
    weight = (
      jnp.where(inside & visible, jnp.maximum(cosine, 0) ** _POWER, 0)
      * _bilinear(view.trust[..., None], at)[:, 0]
    )
    color = _bilinear(view.image, at)
    return (sums[0] + weight[:, None] * color, sums[1] + weight), None

  start = (jnp.zeros_like(points), jnp.zeros(len(points), points.dtype))
  (color, total), _ = jax.lax.scan(add, start, seen)
  return color / jnp.maximum(total, 1e-12)[:, None], total


def _bilinear(image: jax.Array, at: jax.Array) -> jax.Array:
  """Samples [H, W, C] at [N, 2] in [0, 1]; outside, the border's value."""
  size = jnp.array(image.shape[1::-1])
  place = at * size - 0.5
  low = jnp.floor(place).astype(jnp.int32)
  share = place - low
  take = lambda dx, dy: image[
    jnp.clip(low[:, 1] + dy, 0, size[1] - 1),
    jnp.clip(low[:, 0] + dx, 0, size[0] - 1),
  ]
  x, y = share[:, :1], share[:, 1:]
  return (1 - y) * ((1 - x) * take(0, 0) + x * take(1, 0)) + y * (
    (1 - x) * take(0, 1) + x * take(1, 1)
  )


def _largest(depth: jax.Array, at: jax.Array) -> jax.Array:
  """The largest of four depths [H, W] around [N, 2]; empty counts as near."""
  size = jnp.array(depth.shape[::-1])
  low = jnp.floor(at * size - 0.5).astype(jnp.int32)
  depth = jnp.where(jnp.isinf(depth), 0, depth)
  take = lambda dx, dy: depth[
    jnp.clip(low[:, 1] + dy, 0, size[1] - 1),
    jnp.clip(low[:, 0] + dx, 0, size[0] - 1),
  ]
  return functools.reduce(
    jnp.maximum, (take(dx, dy) for dx in (0, 1) for dy in (0, 1))
  )


def _spread(
  mesh: Unwrapped, values: np.ndarray, known: np.ndarray
) -> np.ndarray:
  """Values [V, C], kept where known and filled smoothly elsewhere."""
  # pylint: disable-next=import-outside-toplevel
  from scipy import sparse

  # pylint: disable-next=import-outside-toplevel
  from scipy.sparse import linalg

  if not known.any():
    return np.full_like(values, 0.5)
  usual = values[known].mean(axis=0)
  # Vertices on both sides of a cut are the same.
  _, rows = np.unique(mesh.vertices, axis=0, return_inverse=True)
  rows = rows.ravel()
  count = rows.max() + 1
  faces = rows[mesh.faces]
  pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
  edges = sparse.coo_matrix(
    (np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count)
  )
  edges = ((edges + edges.T) > 0).astype(np.float64).tocsr()
  # Pieces without a known vertex take the mean of all.
  held = np.zeros(count)
  held[rows[known]] = _HELD
  wanted = np.zeros((count, values.shape[1]))
  wanted[rows[known]] = values[known] - usual
  degree = np.asarray(edges.sum(axis=1)).ravel()
  matrix = (sparse.diags(degree + held + 1e-6) - edges).tocsc()
  solved = linalg.splu(matrix).solve(held[:, None] * wanted)
  return (usual + solved[rows]).astype(np.float32)


def _filled(texture: np.ndarray, inside: np.ndarray) -> np.ndarray:
  """Fills texels outside charts with the color of the nearest one inside."""
  # pylint: disable-next=import-outside-toplevel
  from scipy import ndimage

  if inside.all() or not inside.any():
    return texture
  y, x = ndimage.distance_transform_edt(
    ~inside, return_distances=False, return_indices=True
  )
  return texture[y, x]
