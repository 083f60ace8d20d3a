"""Views as targets for splats: pictures, points, and masks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.apps.rendering.views import Views
from my3dgen_jax.apps.splats.heads import Head
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import normals as normals_lib
from my3dgen_jax.ops.rendering import rays

# Difference in depth between neighboring pixels at an edge, in widths of a
# pixel there; a surface seen at such a grazing angle is treated as an edge.
_STEP = 6.0
_HOLE = 1 / 300  # share of the picture; smaller holes are errors of depth
_RING = 1  # pixels at the head's outline that are undecided


class Targets(NamedTuple):
  """Pictures with a point in space for each pixel.

  Attributes:
    c: [V, 25], camera labels.
    image: [V, S, S, 3] in [0, 1].
    head: [V, S, S] bool: True for the head, False for pixels that should be
      empty.
    sure: [V, S, S] bool: whether `head` is certain.
    points: [V, S, S, 3], world units.
    normals: [V, S, S, 3], in world axes, towards the camera.
    smooth: [V, S, S] bool: False at edges, where points are between near and
      far.
  """

  c: np.ndarray
  image: np.ndarray
  head: np.ndarray
  sure: np.ndarray
  points: np.ndarray
  normals: np.ndarray
  smooth: np.ndarray


def targets_of(views: Views, head: Head | None) -> Targets:
  """Targets from views.

  Args:
    views: the views, with depth maps of any smaller size.
    head: the region to show; None: everything visible.
  """
  from scipy import ndimage  # pylint: disable=import-outside-toplevel

  assert views.depth is not None
  count, side = views.image.shape[:2]
  width = pixel_width(views.c, side)
  made: dict[str, list[np.ndarray]] = {
    name: [] for name in ("head", "sure", "points", "normals", "smooth")
  }
  for i in range(count):
    points, normals, depth = map(
      np.asarray, _in_space(views.depth[i], views.c[i], side)
    )
    edge = ndimage.maximum_filter(depth, 3) - ndimage.minimum_filter(depth, 3)
    inside = np.ones(depth.shape, bool) if head is None else head.holds(points)
    if head is not None:
      inside = _cleaned(inside)
    size = 2 * _RING + 1
    ring = ndimage.maximum_filter(inside, size) & ~ndimage.minimum_filter(
      inside, size
    )
    made["head"].append(inside)
    made["sure"].append(~ring)
    made["points"].append(points)
    made["normals"].append(normals)
    made["smooth"].append(edge < _STEP * width * depth)
  return Targets(
    views.c, views.image, **{name: np.stack(one) for name, one in made.items()}
  )


def pixel_width(c: np.ndarray, side: int) -> float:
  """The width of a pixel at distance 1, world units; the mean of cameras."""
  return float(np.mean(1 / (side * c[:, 16])))


def _cleaned(inside: np.ndarray) -> np.ndarray:
  """Removes specks and small holes, which rays between two surfaces cause."""
  from scipy import ndimage  # pylint: disable=import-outside-toplevel

  inside = ndimage.binary_opening(ndimage.binary_closing(inside))
  holes, _ = ndimage.label(~inside)
  small = np.bincount(holes.ravel()) < _HOLE * inside.size
  return inside | small[holes]


@jax.jit
def _normals(depth: jax.Array, c: jax.Array) -> jax.Array:
  return normals_lib.normals_from_depth(depth[None], c[None])[0]


def _in_space(
  depth: np.ndarray, c: np.ndarray, side: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Points and normals [side, side, 3] and depth [side, side] of one view."""
  return _in_space_at(jnp.asarray(depth), _normals(depth, c), c, side)


def _enlarged(values: jax.Array, side: int) -> jax.Array:
  return jax.image.resize(values, (side, side, values.shape[-1]), "linear")


def _in_space_of(depth, normals, c, side):
  cam2world, intrinsics = cameras.unpack_label(c)
  fine = _enlarged(depth, side)
  lines = rays.generate_rays(cam2world[None], intrinsics[None], side)
  shape = (side, side, 3)
  points = lines.origins.reshape(shape) + fine * lines.directions.reshape(shape)
  # Normal maps have y up and z towards the viewer, cameras y down and z away.
  turned = _enlarged(normals, side) * jnp.array([1.0, -1.0, -1.0])
  turned = turned @ cam2world[:3, :3].T
  length = jnp.linalg.norm(turned, axis=-1, keepdims=True)
  return points, turned / jnp.maximum(length, 1e-9), fine[..., 0]


_in_space_at = jax.jit(_in_space_of, static_argnums=3)
