"""Light on a person's surface: shaded colors and normals."""

import types

import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.demo import people
from my3dgen_jax.demo.heads.colors import albedo
from my3dgen_jax.demo.heads.geometry import (
  build,
  distance,
  SAFETY,
  split_points,
)
from my3dgen_jax.demo.shapes import length, Point, ramp
from my3dgen_jax.types import Array


def color(person: people.Person, points: Array) -> jax.Array:
  """Shaded color of points on one person's surface.

  Args:
    person: a person without a batch axis.
    points: [N, 3], points on the surface, world units.

  Returns: [N, 3] in [-1, 1].
  """
  head = build(person)
  return shaded(head, split_points(points))


def _light(f: types.SimpleNamespace) -> jax.Array:
  """Direction towards the key light, [3]."""
  side, height = f.light_side, jnp.clip(f.light_height, 0.1, 1.0)
  direction = jnp.stack([jnp.sin(side), height, jnp.cos(side)])
  return direction / jnp.linalg.norm(direction)


def _look_around(
  f: types.SimpleNamespace, point: Point, light: jax.Array
) -> tuple[Point, jax.Array, jax.Array]:
  """Normals, ambient occlusion and shadows of surface points.

  A single loop for all taps of the distance keeps compilation short: four for
  its gradient, three along the normal for ambient occlusion, five towards the
  light for a soft shadow.

  Returns: the normal; visibility of the sky and of the light, both [N] in
    [0, 1].
  """
  corners = jnp.array(
    [[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], jnp.float32
  )
  reach = jnp.array([0.014, 0.035, 0.080, 0.018, 0.040, 0.075, 0.125, 0.190])

  def seen(i, d, looks):
    """Adds tap i, with distance d."""
    gradient, sky, sun = looks
    gradient = tuple(
      g + jnp.where(i < 4, corners[jnp.clip(i, 0, 3), k] * d, 0)
      for k, g in enumerate(gradient)
    )
    step, d = reach[jnp.maximum(i - 4, 0)], d / SAFETY
    closed = jnp.clip(1 - (d - 0.004) / step, 0, 1)
    sky = sky - jnp.where((i >= 4) & (i < 7), 0.34 * closed, 0)
    sun = jnp.where(i < 7, sun, jnp.minimum(sun, 6 * (d + 0.006) / step))
    return gradient, sky, sun

  def tap(i, state):
    # Adding the previous tap lets XLA compute the body once for all results.
    looks = seen(i - 1, *state)
    step, corner = reach[jnp.maximum(i - 4, 0)], corners[jnp.minimum(i, 3)]
    d = distance(
      f,
      tuple(
        p
        + jnp.where(
          i < 4,
          1e-3 * corner[k],
          0.004 * n + step * jnp.where(i < 7, n, light[k]),
        )
        for k, (p, n) in enumerate(zip(point, _normalized(looks[0])))
      ),
    )
    return d, looks

  zeros, ones = jnp.zeros_like(point[0]), jnp.ones_like(point[0])
  taps = 4 + reach.size
  looks = seen(
    taps - 1,
    *lax.fori_loop(0, taps, tap, (zeros, ((zeros, zeros, zeros), ones, ones))),
  )
  gradient, sky, sun = looks
  return _normalized(gradient), jnp.clip(sky, 0.15, 1), ramp(sun, 0, 1)


def _normalized(point: Point) -> Point:
  size = length(point)
  return tuple(p / size for p in point)


def shaded(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Colors in [-1, 1], [N, 3], of surface points, for the result of `build`."""
  return with_normals(f, point)[0]


def with_normals(
  f: types.SimpleNamespace, point: Point
) -> tuple[jax.Array, jax.Array]:
  """Colors and outward normals, both [N, 3], of surface points."""
  light = _light(f)
  normal, sky, sun = _look_around(f, point, light)
  facing = sum(n * light[k] for k, n in enumerate(normal))
  # Light wraps around skin, red the farthest: cheap subsurface scattering.
  wrap = jnp.array([0.42, 0.30, 0.25])
  key = jnp.clip((facing[:, None] + wrap) / (1 + wrap), 0, 1)
  key = key * (0.25 + 0.75 * sun[:, None])
  warm = 1 + f.light_warmth * jnp.array([1.0, 0.0, -1.0])
  fill = sky * (0.72 + 0.28 * normal[1])
  # The half vector to a viewer in front, independent of the camera.
  half = light + jnp.array([0.0, 0.0, 1.0])
  half = half / jnp.linalg.norm(half)
  gloss = jnp.clip(sum(n * half[k] for k, n in enumerate(normal)), 0, 1)
  strength = f.light_strength
  # A display gamma of 2 needs only a square and a square root.
  lit = 1.45 * strength * warm * key + 1.25 * (1 - strength) * fill[:, None]
  linear = albedo(f, point) ** 2 * lit
  linear = linear + (0.05 * strength * gloss**24 * sun)[:, None]
  return (jnp.sqrt(jnp.clip(linear, 0, 1)) * 2 - 1, jnp.stack(normal, axis=-1))
