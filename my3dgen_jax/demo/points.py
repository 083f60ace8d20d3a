"""Points of procedural people, from which a prior learns shapes directly.

From images alone, a volume learns fog; a few hundred points of known density
and color per person teach it surfaces first.
"""

import functools

import chex
import flax.struct
import jax
import jax.numpy as jnp

from my3dgen_jax.demo import heads, people, render
from my3dgen_jax.types import Array

# Ellipses around the most important regions, (x, y, half width, half height):
# the whole face, the eyes, nose and mouth.
_REGIONS = (
  (0.0, 0.0, 0.11, 0.155),
  (0.0, 0.05, 0.105, 0.038),
  (0.0, -0.075, 0.062, 0.055),
)
_STEPS = 64
_TOLERANCE = 1e-3  # largest distance of a point from the surface, world units
_DENSITY_SLOPE = 1500.0  # raw density per world unit inside
_DENSITY_RANGE = (-8.0, 40.0)


@flax.struct.dataclass
class SurfacePoints:
  """Points on people.

  Attributes:
    points: [N, 3], world units.
    normals: [N, 3], outward, of length 1.
    color: [N, 3], shaded, in [-1, 1].
  """

  points: jax.Array
  normals: jax.Array
  color: jax.Array


@flax.struct.dataclass
class FieldPoints:
  """Target values of a radiance field at points of the volume.

  Attributes:
    points: [N, 3], world units.
    density: [N], raw density, before the softplus.
    color: [N, 3] in [-1, 1].
    weight: [N] in {0, 1}, weight of the color: 1 near a surface.
  """

  points: jax.Array
  density: jax.Array
  color: jax.Array
  weight: jax.Array


@functools.partial(jax.jit, static_argnames=("count",))
def surface_points(
  key: chex.PRNGKey,
  person: people.Person,
  count: int,
  *,
  face_weight: float = 0.6,
) -> SurfacePoints:
  """Samples visible points on one person's surface.

  Args:
    key: the PRNG key.
    person: a person without a batch axis.
    count: number of points, N.
    face_weight: share of points on the face as seen from the front, in equal
      parts the whole face, the eyes and the mouth; the others are anywhere on
      head, hair and shoulders, seen from all around.
  """
  keys = jax.random.split(key, 3)
  on_face = jax.random.uniform(keys[0], (count,)) < face_weight
  face = _face_rays(keys[1], count)
  around = _rays_from_around(keys[2], count)
  origins, directions = (
    jnp.where(on_face[:, None], a, b) for a, b in zip(face, around)
  )
  head = heads.build(person)
  t, off = render.march(
    head, origins, directions, jnp.zeros(count), steps=_STEPS, least_step=1e-3
  )
  points = origins + t[:, None] * directions
  good = (jnp.abs(off) < _TOLERANCE) & (jnp.abs(points) < 0.5).all(axis=-1)
  # A few rays creep along an edge or leave the box: the first good point
  # replaces theirs.
  points = points[jnp.where(good, jnp.arange(count), jnp.argmax(good))]
  color, normals = heads.with_normals(head, tuple(points.T))
  return SurfacePoints(points=points, normals=normals, color=color)


def _face_rays(key: chex.PRNGKey, count: int) -> tuple[jax.Array, jax.Array]:
  """Origins and directions of rays from the cameras' side to the face."""
  keys = jax.random.split(key, 3)
  region = jnp.asarray(_REGIONS)[
    jax.random.randint(keys[0], (count,), 0, len(_REGIONS))
  ]
  place = region[:, :2] + region[:, 2:] * jax.random.ball(
    keys[1], 2, shape=(count,)
  )
  # A target inside the head, so that every ray hits something.
  target = jnp.concatenate([place, jnp.full((count, 1), 0.07)], axis=-1)
  turn = jax.random.uniform(keys[2], (count, 2), minval=-1.0, maxval=1.0)
  return _towards(target, turn * jnp.array([0.5, 0.25]))


def _rays_from_around(
  key: chex.PRNGKey, count: int
) -> tuple[jax.Array, jax.Array]:
  """Origins and directions of rays to the head, neck and shoulders."""
  keys = jax.random.split(key, 3)
  unit = jax.random.uniform(keys[0], (count, 3), minval=-1.0, maxval=1.0)
  skull = jnp.array([0, 0.09, -0.01]) + unit * jnp.array([0.08, 0.09, 0.10])
  neck = jnp.array([0, -0.22, -0.05]) + unit * jnp.array([0.04, 0.06, 0.03])
  torso = jnp.array([0, -0.40, -0.06]) + unit * jnp.array([0.25, 0.05, 0.05])
  which = jax.random.randint(keys[1], (count, 1), 0, 4)
  target = jnp.where(which < 2, skull, jnp.where(which == 2, neck, torso))
  turn = jax.random.uniform(keys[2], (count, 2), minval=-1.0, maxval=1.0)
  return _towards(target, turn * jnp.array([jnp.pi, 0.5]))


def _towards(target: jax.Array, turn: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Rays to `target`, [N, 3], from far outside, at yaw and pitch, [N, 2]."""
  yaw, pitch = turn[:, 0], turn[:, 1]
  back = jnp.stack(
    [
      jnp.sin(yaw) * jnp.cos(pitch),
      jnp.sin(pitch),
      jnp.cos(yaw) * jnp.cos(pitch),
    ],
    axis=-1,
  )
  return target + 0.9 * back, -back


def density_target(distance: Array) -> jax.Array:
  """Raw density of a field with its surface where `distance` is 0."""
  return jnp.clip(-_DENSITY_SLOPE * distance, *_DENSITY_RANGE)


def field_points(
  key: chex.PRNGKey,
  person: people.Person,
  count: int,
  *,
  face_weight: float = 0.6,
  spread: float = 0.012,
) -> FieldPoints:
  """Samples points with the density and color that a field should have there.

  60 % are near the person's surface, 20 % in the box of side 1, and 20 % near
  the wall behind.

  Args:
    key: the PRNG key.
    person: a person without a batch axis.
    count: number of points, N, a multiple of 5.
    face_weight: see `surface_points`.
    spread: standard deviation of the distance to the surface, world units.
  """
  chex.assert_is_divisible(count, 5)
  keys = jax.random.split(key)
  near = surface_points(
    keys[0], person, 3 * count // 5, face_weight=face_weight
  )
  return _field_about(keys[1], person, near, spread)


@jax.jit
def _field_about(
  key: chex.PRNGKey,
  person: people.Person,
  near: SurfacePoints,
  spread: chex.Numeric,
) -> FieldPoints:
  """Moves points off the surface and adds points elsewhere."""
  fifth = near.points.shape[0] // 3
  keys = jax.random.split(key, 3)
  wall = _wall_points(keys[0], fifth)
  inward = jnp.asarray(people.PIVOT) - wall
  free = jax.random.uniform(keys[1], (fifth, 3), minval=-0.5, maxval=0.5)
  nowhere = jnp.zeros((fifth, 3))
  points = jnp.concatenate([near.points, wall, free])
  normals = jnp.concatenate([near.normals, inward / heads.WALL_RADIUS, nowhere])
  away = spread * jax.random.normal(keys[2], (5 * fifth, 1))
  points = points + away * normals
  distance = jnp.minimum(heads.sdf(person, points), heads.wall_sdf(points))
  color = jnp.concatenate([near.color, heads.wall_color(person, wall), nowhere])
  weight = (jnp.arange(5 * fifth) < 4 * fifth).astype(jnp.float32)
  return FieldPoints(
    points=points, density=density_target(distance), color=color, weight=weight
  )


def _wall_points(key: chex.PRNGKey, count: int) -> jax.Array:
  """Points, [N, 3], on the part of the wall that cameras see."""
  angles = jax.random.uniform(key, (count, 2), minval=-1.0, maxval=1.0)
  yaw, height = angles[:, 0] * 1.25, angles[:, 1] * 0.7
  flat = jnp.sqrt(1 - height**2)
  out = jnp.stack([jnp.sin(yaw) * flat, height, -jnp.cos(yaw) * flat], axis=-1)
  return jnp.asarray(people.PIVOT) + heads.WALL_RADIUS * out
