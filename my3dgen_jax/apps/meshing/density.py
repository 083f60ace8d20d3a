"""The density of a latent on a regular grid."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from my3dgen_jax.apps.rendering import frames
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.types import Array, Network

MIN_RESOLUTION, MAX_RESOLUTION = 8, 1024
# The value outside the grid; EG3D writes the same around its volumes.
EMPTY = -1000.0
# Grid points per batch: enough to fill an accelerator, in a few megabytes.
_POINTS = 2**21

OnProgress = Callable[[int, int], None]


class Volume(NamedTuple):
  """Density on a regular grid, inside an empty shell.

  Attributes:
    sigma: [N + 2, N + 2, N + 2] float32, axes x, y, z; raw, before the
      renderer's softplus. The outermost points are empty.
    side: side of the cube around the world's origin that the inner N^3 points
      fill from edge to edge, world units.
  """

  sigma: np.ndarray
  side: float

  @property
  def step(self) -> float:
    """Distance between neighboring points, world units."""
    return self.side / (len(self.sigma) - 3)

  @property
  def inner(self) -> np.ndarray:
    """The grid without its shell; a view."""
    return self.sigma[1:-1, 1:-1, 1:-1]


def extract_volume(
  network: Network,
  ws: Array,
  *,
  resolution: int = 256,
  crop: float | None = None,
  devices: Sequence[jax.Device] = (),
  on_progress: OnProgress | None = None,
) -> Volume:
  """Density of a latent on a grid.

  Computes a few planes of the grid at a time, so that it takes little more
  memory than the result, with one program. Arguments are as for
  `surface.extract_mesh`.

  Raises: UserError: names the argument that does not fit.
  """
  resolution = checks.whole_number(
    "resolution", resolution, MIN_RESOLUTION, MAX_RESOLUTION
  )
  rendering = network.module.config.rendering
  side = (
    default_side(rendering) if crop is None else finite_number("crop", crop)
  )
  if not 0 < side <= rendering.box_warp:
    raise UserError(
      f"crop: expected world units in (0, "
      f"{rendering.box_warp:g}], the box's side, got {side:g}"
    )
  axis = np.linspace(-side / 2, side / 2, resolution, dtype=np.float32)
  sigma = np.full((resolution + 2,) * 3, EMPTY, np.float32)
  inner = sigma[1:-1, 1:-1, 1:-1]
  planes = frames.planes_of(network, one_latent(ws))
  devices = tuple(devices) or tuple(jax.local_devices())
  everywhere = [jax.device_put((network, planes), device) for device in devices]
  rows = max(1, min(resolution, _POINTS // resolution**2))
  firsts = list(range(0, resolution, rows))

  def start(index):
    # The last block is as thick as the others, to avoid a second compilation.
    chosen = np.minimum(
      np.arange(firsts[index], firsts[index] + rows), resolution - 1
    )
    return _density(*everywhere[index % len(devices)], axis[chosen], axis)

  # Each device computes a block while the host copies another.
  waiting = [start(i) for i in range(min(len(devices), len(firsts)))]
  for index, first in enumerate(firsts):
    block = waiting.pop(0)
    if index + len(devices) < len(firsts):
      waiting.append(start(index + len(devices)))
    inner[first : first + rows] = np.asarray(block)[: resolution - first]
    if on_progress is not None:
      on_progress(min(first + rows, resolution), resolution)
  return Volume(sigma, side)


def default_side(rendering: RenderConfig) -> float:
  """The cube's default side: what the average camera of faces sees.

  It is as wide as the picture at the point that the camera looks at: shoulders
  are cut below, and what is far behind or beside the person, outside the
  picture, is excluded. If there is no background (cars on white), it is the
  whole box.

  Args:
    rendering: settings of the average camera and the box.

  Returns: world units, at most the box's side.
  """
  if rendering.white_back:
    return rendering.box_warp
  pivot = np.asarray(rendering.avg_camera_pivot)
  away = rendering.avg_camera_radius - float(np.linalg.norm(pivot))
  return min(rendering.box_warp, away / cameras.FACE_FOCAL)


def finite_number(name: str, value: Any) -> float:
  """A setting as a finite number; raises UserError naming it."""
  if (
    isinstance(value, bool)
    or not isinstance(value, (int, float, np.number))
    or not math.isfinite(value)
  ):
    raise UserError(f"{name}: expected a finite number, got {value!r}")
  return float(value)


def one_latent(ws: Array) -> np.ndarray:
  """One latent, [1, num_ws, w_dim]; raises UserError if there are more."""
  ws = np.asarray(ws)
  ws = ws[None] if ws.ndim == 2 else ws
  if ws.ndim != 3 or len(ws) != 1:
    raise UserError(
      f"ws: expected one latent, [num_ws, w_dim], got {list(ws.shape)}"
    )
  return ws


@jax.jit
def _density(
  network: Network, planes: Array, x: Array, axis: Array
) -> jax.Array:
  return network(planes, x, axis, axis, method="density_grid")
