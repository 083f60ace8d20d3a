"""What `field.glsl` does, in NumPy, for tests without a browser."""

import numpy as np

from my3dgen_jax.apps.sharing.field import Field
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import rays as rays_lib

_HAZE, _THIN, _SOLID = 8.0, 3.0, 0.1  # as there


def softplus(x):
  return np.logaddexp(0, x)


def softplus2(x):
  """The shader's approximation of log2(1 + 2^x)."""
  t = np.maximum(1 - 0.1 * np.abs(x), 0)
  return np.maximum(x, 0) + t * t * (
    0.24325 + t * (-0.44657 + t * (0.02084 + t * 1.18414))
  )


def _decoder(field: Field):
  """first [H, C], offset [H], second [4, H], last [4]."""
  groups, hidden = field.groups, field.hidden
  first, offset, second, last = np.split(
    field.decoder.astype(np.float64),
    np.cumsum([16 * groups * hidden, 4 * hidden, 16 * hidden]),
  )
  # A mat4 comes column by column.
  first = first.reshape(hidden, groups, 4, 4).transpose(0, 3, 1, 2)
  second = second.reshape(4 * hidden, 4).T
  return first.reshape(4 * hidden, 4 * groups), offset, second, last


def _texture(layers: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Bilinear, clamped at the edge: [L, S, S, 4] at [M] to [M, 4 L], of 1."""
  side = layers.shape[1]
  at = [np.clip(v * side - 0.5, 0, side - 1) for v in (x, y)]
  low = [np.minimum(np.floor(v), side - 2).astype(int) for v in at]
  (right, down), (i, j) = (v - k for v, k in zip(at, low)), low
  right, down = right[:, None], down[:, None]
  taps = lambda dy, dx: (
    layers[:, j + dy, i + dx].transpose(1, 0, 2).reshape(len(x), -1)
  )
  return (
    (1 - down) * ((1 - right) * taps(0, 0) + right * taps(0, 1))
    + down * ((1 - right) * taps(1, 0) + right * taps(1, 1))
  ) / 255


def radiance(field: Field, stop: int, points: np.ndarray, box: float):
  """Red, green, blue and raw density, [M, 4], at [M, 3]."""
  texels = field.texels[stop].astype(np.float64)
  side = texels.shape[1]
  x, y, z = (((points / box + 0.5) * (side - 2) + 1) / side).T
  feature = _texture(texels[: field.groups], x, y) + _texture(
    texels[field.groups :], x, z
  )
  first, offset, second, last = _decoder(field)
  found = softplus2(feature @ first.T + offset) @ second.T + last
  found[:, :3] = 1.002 / (1 + np.exp(-found[:, :3])) - 0.001
  return found


def _leaps(field: Field, stop: int, points, directions):
  skips = field.skips[stop]
  cells = len(skips)
  cell = 2 * field.reach / cells
  at = points / cell + 0.5 * cells
  index = np.clip(np.floor(at).astype(int), 0, cells - 1)
  away = skips[index[:, 2], index[:, 1], index[:, 0]].astype(float)
  slow = 1 / np.maximum(np.abs(directions), 1e-6)
  room = (np.sign(directions) * (index + 0.5 - at) - 0.5) * slow
  far = np.min(room[:, None] + away[..., None] * slow[:, None], axis=-1)
  return np.where(away == 0, 0, np.maximum(far, 0) * cell + 1e-4)


def draw(
  field: Field,
  config: RenderConfig,
  c: np.ndarray,
  size: int,
  *,
  stop: int = 0,
  pace: float,
  fade: float = 2.0,
  dark: float = 0.004,
) -> np.ndarray:
  """What the page paints: [size, size, 3] in [0, 1]."""
  rays = rays_lib.generate_rays(*cameras.unpack_label(c[None]), size)
  eye, along = (
    np.asarray(v[0], np.float64) for v in (rays.origins, rays.directions)
  )
  count = size**2
  if config.ray_start == "auto":
    start, end = (
      np.asarray(v[0]) for v in rays_lib.box_limits(rays, config.box_warp)
    )
  else:
    start = np.full(count, config.ray_start)
    end = np.full(count, config.ray_end)
  color, light = np.zeros((count, 3)), np.ones(count)
  depth, before = start.copy(), np.zeros(count)
  last, inside = np.zeros((count, 4)), np.zeros(count, bool)
  for _ in range(1024):
    (going,) = np.nonzero((depth <= end) & (light > dark))
    if not going.size:
      break
    points = eye[going] + depth[going, None] * along[going]
    far = _leaps(field, stop, points, along[going])
    leap = far[:, 0] > 0
    some = going[leap]
    depth[some] = (
      start[some]
      + np.ceil((depth[some] + far[leap, 0] - start[some]) / pace) * pace
    )
    inside[some] = False
    some, far = going[~leap], far[~leap, 1]
    found = radiance(field, stop, points[~leap], config.box_warp)
    density = softplus((found[:, 3] + last[some, 3]) / 2 - 1)
    solid = 1 - np.exp(-density * (depth[some] - before[some]))
    solid = np.where(inside[some], solid, 0)
    color[some] += (light[some] * solid)[:, None] * (
      (found[:, :3] + last[some, :3]) / 2
    )
    light[some] *= 1 - solid
    last[some], before[some], inside[some] = found, depth[some], True
    thin = softplus(found[:, 3] - 1) * pace
    depth[some] += pace * np.maximum(
      np.maximum(
        np.minimum(np.floor(far / pace), _HAZE),
        np.minimum(_SOLID / np.maximum(thin, 1e-9), _THIN),
      ),
      1 + fade * (1 - light[some]),
    )
  if config.white_back:
    color += light[:, None]
  return np.clip(color, 0, 1).reshape(size, size, 3)
