"""Unlit colors of a person's surface and of the wall, in sRGB."""

import types

import jax
import jax.numpy as jnp

from my3dgen_jax.demo import people
from my3dgen_jax.demo.heads.face import beard_share, eye_center, EYE_RADIUS
from my3dgen_jax.demo.heads.geometry import mirror, parts_of
from my3dgen_jax.demo.heads.painting import (
  with_brows,
  with_lips,
  with_marks,
  wrinkles,
)
from my3dgen_jax.demo.heads.tones import (
  hair_tone,
  mixed,
  pick,
  skin_tone,
  tinted,
)
from my3dgen_jax.demo.heads.worn import curl_knobs
from my3dgen_jax.demo.shapes import bump, moved, Point, ramp, wave
from my3dgen_jax.types import Array

# From light to dark.
_IRIS = (
  (0.36, 0.54, 0.72),
  (0.42, 0.55, 0.42),
  (0.45, 0.30, 0.16),
  (0.28, 0.17, 0.10),
  (0.20, 0.12, 0.08),
)


def wall_color(person: people.Person, points: Array) -> jax.Array:
  """Colors in [-1, 1] of points, [N, 3], on the wall behind one person."""
  f = people.decode(person)
  base = tinted(
    0.30 + 0.55 * people.share(f.background_value),
    f.background_warmth,
    f.background_green,
  )
  light = 1 + 0.35 * points[:, 1] + 0.15 * points[:, 0] * f.light_side
  return jnp.clip(base * light[:, None], 0, 1) * 2 - 1


def albedo(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Unlit colors, [N, 3]."""
  parts = parts_of(f, point)
  mirrored = mirror(f, point)
  hair = _hair_color(f, mirrored)
  skin = _skin_color(f, point, mirrored)
  # Hair becomes thinner towards the skin.
  result = mixed(skin, hair, ramp(parts.skin - parts.hair, -0.003, 0.003))
  nearest = jnp.minimum(parts.skin, parts.hair)
  for distances, of_part in (
    (parts.clothes, _clothes_color(f, mirrored)),
    (parts.eyes, _eye_color(f, mirrored)),
    (
      parts.glasses,
      jnp.full(3, 0.06)
      + 0.5 * f.marks.glasses[2] * jnp.array([0.75, 0.6, 0.5]),
    ),
  ):
    result = mixed(result, of_part, (distances < nearest).astype(jnp.float32))
    nearest = jnp.minimum(nearest, distances)
  return jnp.clip(result, 0, 1)


def _hair_color(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Colors of hair, with strands that fall from the crown."""
  x, y, z = point
  around = jnp.arctan2(x, z + 0.02)
  strands = wave(58 * around + 2.2 * wave(11 * y + 3 * around)) + 0.6 * wave(
    131 * around + 3 * wave(17 * y)
  )
  strands = strands + f.curls * (3.0 * curl_knobs(point) - strands)
  gloss = bump(y - 0.19, 0.06)
  light = 1 + 0.10 * strands + 0.22 * gloss * (1 + 0.4 * strands)
  return hair_tone(f) * light[:, None]


def _skin_color(
  f: types.SimpleNamespace, point: Point, mirrored: Point
) -> jax.Array:
  """Colors of skin, with lips, brows, lashes, beard, wrinkles and marks."""
  x, y, z = mirrored
  tone = skin_tone(f)
  front = ramp(z, 0.05, 0.10)
  flush = jnp.exp(-((x - 0.075) ** 2 + (y + 0.03) ** 2) / 0.0011)
  nose = jnp.exp(-(x**2 + (y - f.nose_y - 0.01) ** 2) / 0.0005)
  rosy = (0.55 * flush + 0.5 * nose) * front
  result = tone * (1 + rosy[:, None] * jnp.array([0.01, -0.11, -0.10]))
  result = result * (1 - wrinkles(f, mirrored) * front)[:, None]
  result = with_marks(f, point, result, front)

  dark = hair_tone(f)
  beard = beard_share(f, mirrored)
  grain = 0.85 + 0.15 * wave(310 * x + 3 * wave(170 * y)) * wave(
    250 * y + 2 * wave(210 * x)
  )
  cover = (
    beard
    * grain
    * (0.50 * ramp(f.beard, 0.15, 0.9) + 0.42 * ramp(f.beard, 0.8, 1.4))
  )
  result = mixed(result, 0.85 * dark, cover)
  result = with_lips(f, mirrored, result, front)
  return with_brows(f, mirrored, result, front)


def _eye_color(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Colors of the eyes: white, iris, pupil and a painted highlight."""
  ex, ey, _ = moved(point, eye_center(f))
  radius = EYE_RADIUS * f.eye_size
  out = jnp.hypot(ex, ey) / radius
  white = jnp.array([0.93, 0.91, 0.89])
  corner = ramp(jnp.abs(ex) / radius, 0.55, 1.0)
  result = mixed(white, jnp.array([0.80, 0.62, 0.58]), corner)
  iris = pick(_IRIS, people.share(f.iris_hue + 0.9 * f.skin_tone + 0.3))
  rays = 1 + 0.25 * ramp(out, 0.25, 0.42)
  result = mixed(
    result, jnp.clip(iris * rays[:, None], 0, 1), ramp(out, 0.50, 0.46)
  )
  ring = bump(out - 0.47, 0.08)
  result = mixed(result, iris * 0.35, 0.8 * ring)
  result = mixed(result, jnp.full(3, 0.03), ramp(out, 0.22, 0.18))
  glint = ramp(jnp.hypot(ex, ey - 0.19 * radius) / radius, 0.13, 0.08)
  return mixed(result, jnp.ones(3), glint)


def _clothes_color(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Colors of plain cloth with a seam at the collar."""
  base = tinted(0.18 + 0.62 * people.share(f.clothes_value), f.clothes_warmth)
  x, y, z = point
  ribs = bump(y + 0.272 - 0.5 * (jnp.hypot(x, z) - 0.09), 0.02)
  return base * (1 - 0.22 * ribs)[:, None]
