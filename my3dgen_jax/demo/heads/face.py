"""Shape of a head's skin and eyes: distances, and positions on the face.

All functions take the result of `build` for a person, and points that are
mirrored to the +x side.
"""

import types

import jax
import jax.numpy as jnp

from my3dgen_jax.demo.shapes import (
  bump,
  capsule,
  ellipsoid,
  moved,
  Point,
  ramp,
  sphere,
  union,
  without,
)

EYE_HEIGHT = 0.045
EYE_RADIUS = 0.028


def bare_face(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Skull, jaw and chin: the face before its features."""
  chin_y = -0.166 - f.face_length
  skull = ellipsoid(
    point, (0, 0.095, -0.01), (f.skull_width, f.skull_height, 0.178)
  )
  x, y, z = point
  # Narrower towards the chin; an ellipsoid alone looks boxy there.
  taper = 0.86 + 0.14 * ramp(y, -0.20, 0.0)
  face = ellipsoid(
    (x / taper, y, z),
    (0, -0.03 - f.face_length / 2, 0.062),
    (f.face_width, 0.158 + f.face_length / 2, 0.127),
  )
  jaw = capsule(
    point,
    (f.jaw_width, -0.098 - f.face_length, 0.02),
    (f.chin_width * 0.6, chin_y + 0.010, 0.115 + f.chin_forward),
    0.032,
    0.028,
  )
  chin = ellipsoid(
    point, (0, chin_y, 0.136 + f.chin_forward), (f.chin_width, 0.032, 0.035)
  )
  cheeks = ellipsoid(
    point,
    (0.068, -0.012 + 0.010 * f.smile, 0.118),
    (0.044, 0.038, 0.047 + f.cheek_fullness + 0.006 * f.smile),
  )
  mass = union(union(skull, face, 0.06), union(jaw, chin, 0.05), 0.06)
  return union(mass, cheeks, 0.045)


def skin_distance(
  f: types.SimpleNamespace, point: Point, side: jax.Array
) -> jax.Array:
  """Distance to all parts of the skin's color; `side` is x before mirroring."""
  x, y, z = point
  body = bare_face(f, point)
  brow = capsule(
    point,
    (0.02, f.brow_y - 0.004, f.eye_z - 0.002),
    (0.095, f.brow_y - 0.008, f.eye_z - 0.038),
    0.014,
    0.012,
  )
  body = union(body, brow, 0.035)
  socket = ellipsoid(
    point, (f.eye_distance, EYE_HEIGHT, f.eye_z + 0.026), (0.040, 0.025, 0.032)
  )
  body = without(body, socket, 0.03)
  body = union(body, _nose(f, point), 0.016)
  body = _with_lids(f, point, body)
  body = _with_mouth(f, point, body)
  neck = capsule(point, (0, -0.10, -0.035), (0, -0.36, -0.055), 0.078, 0.086)
  body = union(body, neck, 0.035)
  body = union(body, _ear(f, point), 0.012)
  # Age deepens the fold from the nose to the corner of the mouth.
  fold = fold_share(f, point)
  body = body + (0.0015 + 0.0028 * f.age + 0.0015 * f.smile) * fold
  beard = beard_share(f, point)
  body = body - 0.010 * ramp(f.beard, 0.9, 2.0) * beard
  mole = f.marks.mole
  spot = bump(jnp.hypot(side - mole[1], y - mole[2]), mole[3])
  return body - 0.003 * mole[0] * spot * (z > 0.05)


def _nose(f: types.SimpleNamespace, point: Point) -> jax.Array:
  tip_z = f.nose_z + f.nose_height
  tip = (0, f.nose_y + 0.009 + f.nose_tip, tip_z - 0.013)
  bridge = capsule(
    point,
    (0, EYE_HEIGHT + 0.012, f.nose_z - 0.022 + f.nose_bridge),
    tip,
    0.0115,
    0.0140,
  )
  ball = sphere(point, tip, 0.0165 + 0.12 * (f.nose_width - 0.0255))
  wing = ellipsoid(
    point,
    (f.nose_width * 0.78, f.nose_y + 0.003, f.nose_z + 0.010),
    (0.0125, 0.0125, 0.018),
  )
  nose = union(union(bridge, ball, 0.012), wing, 0.012)
  nostril = ellipsoid(
    point,
    (f.nose_width * 0.42, f.nose_y - 0.009, f.nose_z + 0.017),
    (0.0055, 0.0065, 0.009),
  )
  return without(nose, nostril, 0.004)


def eye_center(f: types.SimpleNamespace) -> Point:
  """Center of the eyeball."""
  return f.eye_distance, EYE_HEIGHT, f.eye_z - 0.031


def almond(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Distance of a point outside the opening of the lids, seen from in front."""
  ex = point[0] - f.eye_distance
  ey = point[1] - EYE_HEIGHT - f.eye_tilt * ex
  width = 0.0298 * f.eye_size
  bow = 1 - (ex / width) ** 2
  squint = 1 - 0.28 * f.smile
  top = f.eye_openness * f.eye_size * (1 - 0.18 * f.age)
  bottom = 0.78 * f.eye_openness * f.eye_size * squint
  height = jnp.where(ey > 0, top, bottom)
  slope = 2 * height * ex / width**2
  return (jnp.abs(ey) - height * bow) / jnp.sqrt(1 + slope * slope)


def _with_lids(
  f: types.SimpleNamespace, point: Point, body: jax.Array
) -> jax.Array:
  """Adds lids around the eyes and opens them."""
  center = eye_center(f)
  lids = sphere(point, center, EYE_RADIUS * f.eye_size * 1.14)
  body = union(body, lids, 0.012)
  opening = jnp.maximum(almond(f, point), center[2] - point[2])
  return without(body, opening, 0.004)


def eyes_distance(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Distance to the eyeballs."""
  return sphere(point, eye_center(f), EYE_RADIUS * f.eye_size)


def mouth_place(
  f: types.SimpleNamespace, point: Point
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Position along the lips, 1 at a corner; height above them; thickness."""
  along = jnp.clip(point[0] / f.smile_width, 0, 1.15)
  line = f.mouth_y + (0.019 * f.smile - 0.003) * along * along
  return along, point[1] - line, jnp.maximum(1 - along * along, 0)


def _lip_z(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Depth of the lips, which curve around the teeth."""
  return f.mouth_z - 4.0 * point[0] * point[0]


def _with_mouth(
  f: types.SimpleNamespace, point: Point, body: jax.Array
) -> jax.Array:
  """Adds lips, and opens them over the teeth in a broad smile."""
  _, height, thick = mouth_place(f, point)
  z = _lip_z(f, point)
  gap = f.opening * thick
  x = point[0]
  upper = ellipsoid(
    (x, height - gap, point[2] - z),
    (0, f.upper_lip * 0.42, 0.0),
    (f.smile_width, f.upper_lip * 0.75, 0.0085),
  )
  lower = ellipsoid(
    (x, height + gap, point[2] - z),
    (0, -f.lower_lip * 0.45, -0.0015),
    (f.smile_width * 0.9, f.lower_lip * 0.70, 0.0105),
  )
  body = union(union(body, upper, 0.009), lower, 0.009)
  hole = jnp.maximum(jnp.abs(height) - gap, z - 0.008 - point[2])
  return without(body, hole + 0.002 * (1 - ramp(gap, 0.0, 0.003)), 0.003)


def _ear(f: types.SimpleNamespace, point: Point) -> jax.Array:
  x, y, z = moved(point, (f.skull_width * 0.985, 0.012, -0.012))
  # Rotated out of the side of the head by the slope `ear_out`.
  x = x + f.ear_out * (z + 0.01)
  size = f.ear_size
  shell = ellipsoid(
    (x, y, z), (0.0, 0.0, 0.0), (0.013, 0.046 * size, 0.029 * size)
  )
  bowl = ellipsoid(
    (x, y, z), (0.013, 0.004, 0.004), (0.010, 0.030 * size, 0.017 * size)
  )
  return without(shell, bowl, 0.008)


def fold_share(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """1 in the fold beside nose and mouth, 0 elsewhere."""
  top, bottom = f.nose_y + 0.010, f.mouth_y - 0.004
  share = jnp.clip((top - point[1]) / (top - bottom), 0, 1)
  line = f.nose_width + 0.010 + share * (f.smile_width + 0.006 - f.nose_width)
  along = bump(point[1] - (top + bottom) / 2, 0.055)
  return bump(point[0] - line, 0.011) * along * (point[2] > 0.05)


def beard_share(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """1 where a beard grows, 0 elsewhere."""
  x, y, z = point
  cheek_line = -0.070 + 0.62 * jnp.maximum(x - 0.05, 0)
  area = ramp(y, cheek_line + 0.012, cheek_line - 0.018)
  moustache_top = ramp(y, f.nose_y - 0.008, f.nose_y - 0.018)
  beside = ramp(x, f.smile_width * 0.65, f.smile_width * 1.1)
  area = area * (moustache_top + beside * (1 - moustache_top))
  along, height, _ = mouth_place(f, point)
  lips = ramp(jnp.hypot(along, height / 0.022), 1.08, 0.88)
  behind = ramp(z, -0.02, 0.02)
  under = ramp(y, -0.245, -0.215)
  return area * (1 - lips) * behind * under
