"""Signed distances to simple shapes, and how to blend them.

Points are triples (x, y, z) of arrays of the same shape, so that XLA fuses a
whole body into a single loop. Distances are negative inside.
"""

import chex
import jax
import jax.numpy as jnp

from my3dgen_jax.types import Array

Point = tuple[Array, Array, Array]


def length(point: Point) -> jax.Array:
  """Euclidean norm, with a finite gradient at 0."""
  x, y, z = point
  return jnp.sqrt(x * x + y * y + z * z + 1e-12)


def moved(point: Point, centre: Point) -> Point:
  """The point relative to `centre`."""
  return tuple(p - c for p, c in zip(point, centre))


def sphere(point: Point, centre: Point, radius: chex.Numeric) -> jax.Array:
  """Exact distance to a sphere."""
  return length(moved(point, centre)) - radius


def ellipsoid(point: Point, centre: Point, radii: Point) -> jax.Array:
  """First-order distance to an ellipsoid with axes along x, y and z.

  Source: https://iquilezles.org/articles/ellipsoids
  """
  scaled = tuple(p / r for p, r in zip(moved(point, centre), radii))
  k0 = length(scaled)
  k1 = length(tuple(s / r for s, r in zip(scaled, radii)))
  return k0 * (k0 - 1) / (k1 + 1e-6)


def capsule(
  point: Point,
  start: Point,
  end: Point,
  radius: chex.Numeric,
  end_radius: chex.Numeric,
) -> jax.Array:
  """First-order distance to a rod whose radius changes linearly."""
  offset, axis = moved(point, start), moved(end, start)
  along = sum(o * a for o, a in zip(offset, axis))
  share = jnp.clip(along / sum(a * a for a in axis), 0, 1)
  nearest = tuple(o - share * a for o, a in zip(offset, axis))
  return length(nearest) - (radius + share * (end_radius - radius))


def union(a: jax.Array, b: jax.Array, blend: chex.Numeric) -> jax.Array:
  """Smooth minimum; `blend` is the range of distances that are blended.

  Source: https://iquilezles.org/articles/smin (quadratic)
  """
  share = jnp.maximum(blend - jnp.abs(a - b), 0) / blend
  return jnp.minimum(a, b) - share * share * blend / 4


def without(a: jax.Array, b: jax.Array, blend: chex.Numeric) -> jax.Array:
  """`a` where `b` is not, with a smooth edge."""
  return -union(-a, b, blend)


def ramp(value: Array, low: chex.Numeric, high: chex.Numeric) -> jax.Array:
  """0 at `low`, 1 at `high` (in either order), smooth between."""
  share = jnp.clip((value - low) / (high - low), 0, 1)
  return share * share * (3 - 2 * share)


def bump(value: Array, width: chex.Numeric) -> jax.Array:
  """1 at 0, falling smoothly to 0 at +-`width`."""
  share = jnp.maximum(1 - (value / width) ** 2, 0)
  return share * share


def wave(phase: Array) -> jax.Array:
  """A sine within 0.06, made of parabolas, which are far cheaper."""
  turn = phase * (1 / (2 * jnp.pi))
  turn = turn - jnp.round(turn)
  return turn * (8 - 16 * jnp.abs(turn))
