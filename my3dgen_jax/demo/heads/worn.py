"""Shape of hair, clothes and glasses.

All functions take points that are mirrored to the +x side.
"""

import types

import jax
import jax.numpy as jnp

from my3dgen_jax.demo.heads.face import bare_face, EYE_HEIGHT
from my3dgen_jax.demo.shapes import (
  capsule,
  ellipsoid,
  length,
  Point,
  ramp,
  union,
  wave,
  without,
)


def hair_distance(
  f: types.SimpleNamespace, point: Point, side: jax.Array
) -> jax.Array:
  """Distance to a cap of hair around the face, and long hair at the sides.

  Args:
    f: result of `build`.
    point: mirrored points.
    side: x before mirroring; with a part, one side hangs lower.
  """
  x, y, z = point
  volume = 0.015 + 0.005 * f.hair_volume + 0.008 * f.curls
  thick = volume * f.scalp - 0.012 * (1 - f.scalp)
  # Locks are shallow, so that distances remain valid.
  straight = 0.0018 * wave(75 * x + 5 * wave(13 * y)) * ramp(y, 0.20, 0.08)
  locks = f.scalp * (
    straight + f.curls * (0.0040 * curl_knobs(point) - straight)
  )
  # Fullest at the crown, thinner towards the neck.
  crown = 0.5 + 0.5 * ramp(y, -0.04, 0.07) + 0.5 * ramp(y, 0.08, 0.2)
  cap = bare_face(f, point) - thick * crown - locks
  fringe = 0.20 * f.hair_part * side * ramp(y, 0.06, 0.14)
  free = ellipsoid(
    (x, y + fringe, z),
    (0, 0.023 - 0.020 * f.hairline, 0.20),
    (0.128, 0.150, 0.155),
  )
  cap = without(cap, free + 0.002 * wave(190 * x + 40 * y), 0.016)
  # The cap's lower half does not cover the neck.
  cap = without(cap, y + 0.045 - 0.35 * (z + 0.05), 0.03)
  bottom = 0.05 - 0.33 * f.curtain - 0.02 * f.hair_length
  radius = length(
    (
      x / (0.150 + thick * 1.3),
      jnp.maximum(y - 0.10, 0) / 0.15,
      (z + 0.035) / (0.150 + thick * 1.2),
    )
  )
  curtain = without((radius - 1) * 0.13 - locks, y - bottom, 0.04)
  side = ellipsoid(point, (0, -0.08, 0.14), (0.124, 0.30, 0.165))
  curtain = (
    without(curtain, side, 0.02)
    + 0.2 * (1 - ramp(f.curtain, 0.0, 0.1))
    + 0.2 * (1 - ramp(f.scalp, 0.3, 0.8))
  )
  return union(cap, curtain, 0.03)


def curl_knobs(point: Point) -> jax.Array:
  """A pattern of curls, in [-1, 1]."""
  x, y, z = point
  return (
    wave(95 * x + 2 * wave(50 * z))
    * wave(100 * y + 2 * wave(60 * x))
    * wave(95 * z + 2 * wave(55 * y))
  )


def clothes_distance(point: Point) -> jax.Array:
  """Distance to shoulders and a collar around the neck."""
  torso = ellipsoid(point, (0, -0.46, -0.06), (0.36, 0.19, 0.15))
  collar = capsule(point, (0, -0.272, -0.045), (0, -0.40, -0.055), 0.087, 0.115)
  return union(torso, collar, 0.07)


def glasses_distance(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Distance to rims, bridge and temples; large for people without glasses."""
  strength, half_height, _ = f.marks.glasses
  x, y, z = point
  plane = f.eye_z + 0.019 - 1.6 * x * x
  half_width = 0.041
  ex, ey = (
    (x - f.eye_distance - 0.001) / half_width,
    (y - EYE_HEIGHT + 0.004) / (half_height + 0.004),
  )
  # A rounded rectangle: the fourth-power norm.
  norm = jnp.sqrt(jnp.sqrt(ex**4 + ey**4) + 1e-9)
  rim = length(((norm - 1) * half_height, z - plane, 0.0)) - 0.0036
  nose = capsule(
    point,
    (0, EYE_HEIGHT + 0.008, f.eye_z + 0.020),
    (f.eye_distance - half_width, EYE_HEIGHT + 0.004, f.eye_z + 0.017),
    0.0032,
    0.0032,
  )
  start_x = f.eye_distance + half_width
  temple = capsule(
    point,
    (start_x, EYE_HEIGHT + 0.010, f.eye_z + 0.019 - 1.6 * start_x**2),
    (f.skull_width + 0.002, EYE_HEIGHT, -0.01),
    0.0034,
    0.0034,
  )
  return jnp.minimum(jnp.minimum(rim, nose), temple) + (1 - strength)
