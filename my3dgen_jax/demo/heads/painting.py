"""Paints the skin: lips, brows, lashes, wrinkles and marks."""

import types

import jax
import jax.numpy as jnp

from my3dgen_jax.demo.heads.face import (
  almond,
  EYE_HEIGHT,
  fold_share,
  mouth_place,
)
from my3dgen_jax.demo.heads.tones import hair_tone, mixed, skin_tone
from my3dgen_jax.demo.shapes import bump, Point, ramp, wave


def wrinkles(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Share of light lost in wrinkles of the forehead, eye corners and folds."""
  x, y, _ = point
  waves = 0.5 + 0.5 * wave(300 * (y + 0.6 * x * x) + wave(40 * x))
  forehead = waves**3 * bump(y - 0.135, 0.032) * bump(x, 0.085)
  ex, ey = x - f.eye_distance - 0.036, y - EYE_HEIGHT + 0.002
  rays = 0.5 + 0.5 * wave(11 * jnp.arctan2(ey, ex + 0.016))
  corners = rays**2 * bump(jnp.hypot(ex, ey), 0.022)
  under = bump(
    y - EYE_HEIGHT + 0.026 - 6 * (x - f.eye_distance) ** 2, 0.008
  ) * bump(x - f.eye_distance, 0.034)
  old = ramp(f.age, 0.3, 1.0)
  return old * (0.16 * forehead + 0.20 * corners + 0.16 * under) + (
    0.06 + 0.14 * old
  ) * fold_share(f, point)


def with_lips(
  f: types.SimpleNamespace, point: Point, result: jax.Array, front: jax.Array
) -> jax.Array:
  """Paints lips, the line between them, and teeth where they are open."""
  along, height, thick = mouth_place(f, point)
  gap = f.opening * thick
  bow = 1 - 0.16 * bump(along, 0.22)  # the dip in the middle
  top = gap + f.upper_lip * jnp.sqrt(thick) * bow
  bottom = gap + f.lower_lip * jnp.sqrt(thick)
  edge = jnp.where(height > 0, top, bottom) - jnp.abs(height)
  lips = ramp(edge, -0.0006, 0.0022) * front
  tone = skin_tone(f)
  red = tone * jnp.array([0.88, 0.60, 0.60])
  red = red + 0.5 * jnp.clip(f.lip_color, 0, 1) * (
    jnp.array([0.66, 0.22, 0.25]) - red
  )
  result = mixed(result, red, 0.92 * lips)
  inside = ramp(gap - jnp.abs(height), 0.0, 0.0012) * front
  teeth = ramp(height, -0.55 * gap - 0.002, -0.55 * gap + 0.001) * ramp(
    along, 0.93, 0.80
  )
  mouth = mixed(
    jnp.array([0.28, 0.09, 0.09]), jnp.array([0.93, 0.91, 0.86]), teeth
  )
  result = mixed(result, mouth, inside)
  line = bump(height, 0.0036) * ramp(gap, 0.0025, 0.0) * (along < 1.02)
  return mixed(result, red * 0.38, 0.85 * line * front)


def with_brows(
  f: types.SimpleNamespace, point: Point, result: jax.Array, front: jax.Array
) -> jax.Array:
  """Paints brows and lashes."""
  x, y, _ = point
  along = (x - 0.024) / 0.082
  arch = (
    f.brow_y
    + 0.010
    - 0.020 * (along - 0.55) ** 2
    + (f.brow_tilt * 0.1 * (along - 0.5))
    - 0.010 * ramp(along, 0.6, 1.2)
  )
  half = (
    f.brow_thickness * ramp(along, -0.12, 0.2) * ramp(along, 1.08, 0.3) + 0.0006
  )
  hairs = 0.94 + 0.06 * wave(420 * x + 260 * y)
  brow = (
    ramp(jnp.abs(y - arch), half + 0.0025, half - 0.0015)
    * ramp(along, -0.12, 0.05)
    * ramp(along, 1.1, 1.0)
  )
  dark = hair_tone(f) * 0.72
  result = mixed(result, dark, 0.88 * brow * hairs * front)
  outside = almond(f, point)
  ex, ey = x - f.eye_distance, y - EYE_HEIGHT
  near = bump(ex, 0.045 * f.eye_size) * front
  width = jnp.where(ey > f.eye_tilt * ex, 0.0042, 0.0016)
  lashes = ramp(outside, width, 0.0) * near
  result = mixed(
    result,
    jnp.array([0.10, 0.07, 0.06]),
    jnp.where(ey > f.eye_tilt * ex, 0.85, 0.45) * lashes,
  )
  crease = (
    bump(outside - 0.0075, 0.0022) * (ey > 0) * bump(ex, 0.032 * f.eye_size)
  )
  return result * (1 - (0.22 + 0.1 * f.age) * crease * front)[:, None]


def with_marks(
  f: types.SimpleNamespace, point: Point, result: jax.Array, front: jax.Array
) -> jax.Array:
  """Paints freckles, birthmark, scar and mole, in this order."""
  x, y, _ = point
  marks = f.marks
  tone = skin_tone(f)

  strength, phase = marks.freckles
  dots = _dots(x, y, 0.0135, phase)
  area = bump(y + 0.005, 0.06) * bump(x, 0.125)
  result = mixed(
    result,
    tone * jnp.array([0.66, 0.48, 0.38]),
    strength * front * jnp.minimum(2 * area, 1) * dots,
  )

  strength, cx, cy, radius = marks.birthmark
  angle = jnp.arctan2(y - cy, x - cx)
  ragged = radius * (1 + 0.16 * wave(3 * angle + 1) + 0.10 * wave(5 * angle))
  stain = ramp(jnp.hypot(x - cx, y - cy), ragged, ragged - 0.006)
  result = mixed(
    result,
    tone * jnp.array([0.72, 0.40, 0.42]),
    0.85 * strength * front * stain,
  )

  strength, cx, cy, angle, long = marks.scar
  c, s = jnp.cos(angle), jnp.sin(angle)
  along, across = (x - cx) * c + (y - cy) * s, (y - cy) * c - (x - cx) * s
  across = across - 0.004 * wave(55 * along)
  wide = 0.0085 * ramp(jnp.abs(along), long / 2, long / 2 - 0.02)
  cut = ramp(jnp.abs(across), wide, wide - 0.004) * (wide > 0)
  edge = tone * jnp.array([0.80, 0.42, 0.40])
  result = mixed(result, edge, 0.9 * strength * front * cut)

  strength, cx, cy, radius = marks.mole
  spot = ramp(jnp.hypot(x - cx, y - cy), radius, radius - 0.004)
  return mixed(
    result, tone * jnp.array([0.30, 0.20, 0.16]), strength * front * spot
  )


def _dots(
  x: jax.Array, y: jax.Array, cell: float, phase: jax.Array
) -> jax.Array:
  """Round dots in [0, 1], one at a random position in each square of a grid."""
  u, v = x / cell, y / cell
  column, row = jnp.floor(u), jnp.floor(v)

  def noise(seed):
    value = jnp.sin(column * 12.99 + row * 78.23 + seed + phase) * 437.58
    return value - jnp.floor(value)

  radius = 0.14 + 0.14 * noise(0.7)
  off = jnp.hypot(
    u - column - 0.3 - 0.4 * noise(0.0), v - row - 0.3 - 0.4 * noise(1.9)
  )
  return ramp(off, radius + 0.08, radius - 0.08)
