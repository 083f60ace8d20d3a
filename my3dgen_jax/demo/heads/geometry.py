"""Signed distances to a whole person, and to the wall behind."""

import types
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.demo import people
from my3dgen_jax.demo.heads.face import (
  bare_face,
  EYE_HEIGHT,
  eyes_distance,
  skin_distance,
)
from my3dgen_jax.demo.heads.worn import (
  clothes_distance,
  glasses_distance,
  hair_distance,
)
from my3dgen_jax.demo.shapes import bump, Point, ramp, union
from my3dgen_jax.types import Array

# The wall behind every person: the inside of a sphere around the cameras'
# target, so that a volume can contain it. Its front half is open.
WALL_RADIUS = 0.53
# Curved shapes are not exact distances: shorter steps never pass a surface.
SAFETY = 0.85


class Parts(NamedTuple):
  """Distances to the parts with colors of their own."""

  skin: jax.Array
  eyes: jax.Array
  hair: jax.Array
  clothes: jax.Array
  glasses: jax.Array


def sdf(person: people.Person, points: Array) -> jax.Array:
  """Signed distance to one person.

  Args:
    person: a person without a batch axis.
    points: [N, 3], world units.

  Returns: [N], world units, at most the true distance; negative inside.
  """
  return distance(build(person), split_points(points))


def wall_sdf(points: Array) -> jax.Array:
  """Signed distance of points, [..., 3], to the wall behind all people."""
  from_pivot = points - jnp.asarray(people.PIVOT)
  return jnp.maximum(
    WALL_RADIUS - jnp.linalg.norm(from_pivot, axis=-1), from_pivot[..., 2]
  )


def build(person: people.Person) -> types.SimpleNamespace:
  """Computes everything that does not depend on points: traits and face depths.

  Returns: the parameters of `people.decode`, `marks`, and z of the bare face at
    the eyes, nose and mouth.
  """
  f = people.decode(person)
  f.marks = person.marks
  f.scalp = ramp(f.hairline, -1.15, -0.85)  # 0: bald
  f.curls = ramp(f.hair_curl, 0.4, 1.3)
  f.curtain = ramp(f.hair_length, 0.1, 0.9)
  f.mouth_y = -0.099 + f.mouth_height - 0.45 * f.face_length
  f.nose_y = -0.039 - 0.3 * f.face_length - f.nose_length
  f.brow_y = EYE_HEIGHT + 0.036 + f.brow_height
  f.smile_width = f.mouth_width * (1 + 0.20 * f.smile)
  f.opening = 0.0125 * ramp(f.smile, 0.45, 1.0)
  heights = jnp.stack([jnp.float32(EYE_HEIGHT), f.nose_y, f.mouth_y])
  sides = jnp.stack([f.eye_distance, jnp.float32(0), jnp.float32(0)])
  f.eye_z, f.nose_z, f.mouth_z = _face_depths(f, sides, heights)
  return f


def split_points(points: Array) -> Point:
  """x, y and z of points, [N, 3]."""
  chex.assert_shape(points, (None, 3))
  return points[:, 0], points[:, 1], points[:, 2]


def _face_depths(
  f: types.SimpleNamespace, x: jax.Array, y: jax.Array
) -> tuple[jax.Array, ...]:
  """z of the bare face at (x, y), seen from the front."""
  z = lax.fori_loop(
    0,
    24,
    lambda _, z: z - 0.9 * bare_face(f, (x, y, z)),
    jnp.full(x.shape, 0.45),
  )
  return tuple(z)


def distance(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Signed distance to a person, given the result of `build`."""
  parts = parts_of(f, point)
  body = union(parts.skin, parts.hair, 0.008)
  others = jnp.minimum(jnp.minimum(parts.eyes, parts.clothes), parts.glasses)
  return SAFETY * jnp.minimum(body, others)


def mirror(f: types.SimpleNamespace, point: Point) -> Point:
  """Mirrors points to the +x side, after undoing the marks' asymmetry."""
  x, y, z = point
  drop, shift = f.marks.asymmetry
  x = x - shift * ramp(y, 0.0, -0.17)
  y = y + drop * jnp.clip(x / 0.05, -1, 1) / 2 * bump(y + 0.02, 0.2)
  return jnp.abs(x), y, z


def parts_of(f: types.SimpleNamespace, point: Point) -> Parts:
  """Distances to all parts with colors of their own."""
  side = point[0]
  point = mirror(f, point)
  hair = hair_distance(f, point, side)
  return Parts(
    skin=skin_distance(f, point, side),
    eyes=eyes_distance(f, point),
    hair=hair,
    clothes=clothes_distance(point),
    glasses=glasses_distance(f, point),
  )
