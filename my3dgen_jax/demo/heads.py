"""A procedural head: its signed distance, colours and light.

World units, y up, the face looks along +z; the body goes on below the frame.
Everything is symmetric in x but marks, the light and the hair's parting. No
colour depends on the view, as EG3D's decoder sees none.
"""

import types
from typing import NamedTuple, Tuple

import chex
import jax
from jax import lax
import jax.numpy as jnp

from my3dgen_jax.demo import people
from my3dgen_jax.demo.shapes import (Point, bump, capsule, ellipsoid, length,
                                     moved, ramp, sphere, union, wave,
                                     without)

# Behind every person: the inside of a sphere about the point that the cameras
# look at, so that a volume can hold it. Its front half is open.
WALL_RADIUS = 0.53
EYE_HEIGHT = 0.045
_EYE_RADIUS = 0.028
# Curved shapes are not quite distances: shorter steps never pass a surface.
_SAFETY = 0.85

# sRGB, from light to dark.
_SKIN = ((0.96, 0.82, 0.74), (0.91, 0.73, 0.61), (0.80, 0.60, 0.46),
         (0.60, 0.41, 0.30), (0.42, 0.28, 0.21))
_HAIR = ((0.80, 0.66, 0.42), (0.52, 0.36, 0.22), (0.33, 0.21, 0.13),
         (0.18, 0.12, 0.09), (0.09, 0.075, 0.07))
_IRIS = ((0.36, 0.54, 0.72), (0.42, 0.55, 0.42), (0.45, 0.30, 0.16),
         (0.28, 0.17, 0.10), (0.20, 0.12, 0.08))


class _Parts(NamedTuple):
  """Distances to what has a colour of its own."""

  skin: jax.Array
  eyes: jax.Array
  hair: jax.Array
  clothes: jax.Array
  glasses: jax.Array


def sdf(person: people.Person, points: chex.Array) -> jax.Array:
  """Signed distance to one person.

  Args:
    person: without a batch axis.
    points: [N, 3], world units.

  Returns: [N], world units, at most the true distance; negative inside.
  """
  return distance(build(person), _split(points))


def colour(person: people.Person, points: chex.Array) -> jax.Array:
  """Shaded colour of points on one person's surface.

  Args:
    person: without a batch axis.
    points: [N, 3], world units; where sdf is about 0.

  Returns: [N, 3] in [-1, 1].
  """
  head = build(person)
  return shaded(head, _split(points))


def wall_sdf(points: chex.Array) -> jax.Array:
  """Signed distance of points, [..., 3], to the wall behind all people."""
  from_pivot = points - jnp.asarray(people.PIVOT)
  return jnp.maximum(WALL_RADIUS - jnp.linalg.norm(from_pivot, axis=-1),
                     from_pivot[..., 2])


def wall_colour(person: people.Person, points: chex.Array) -> jax.Array:
  """Colour in [-1, 1] of points, [N, 3], on the wall behind one person."""
  f = people.decode(person)
  base = _tinted(0.30 + 0.55 * people.share(f.background_value),
                 f.background_warmth, f.background_green)
  light = 1 + 0.35 * points[:, 1] + 0.15 * points[:, 0] * f.light_side
  return jnp.clip(base * light[:, None], 0, 1) * 2 - 1


def build(person: people.Person) -> types.SimpleNamespace:
  """What all points of one person share: its traits, and depths of the face.

  Returns: `people.decode`'s names, `marks`, and z of the bare face at
    the eyes, nose, mouth and brows.
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


def _split(points: chex.Array) -> Point:
  chex.assert_shape(points, (None, 3))
  return points[:, 0], points[:, 1], points[:, 2]


def _face_depths(f: types.SimpleNamespace, x: jax.Array,
                 y: jax.Array) -> Tuple[jax.Array, ...]:
  """z of the face without features, seen from the front at (x, y)."""
  z = lax.fori_loop(
      0, 24, lambda _, z: z - 0.9 * _face(f, (x, y, z)),
      jnp.full(x.shape, 0.45))
  return tuple(z)


def distance(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Signed distance to what `build` made."""
  parts = _parts(f, point)
  body = union(parts.skin, parts.hair, 0.008)
  others = jnp.minimum(jnp.minimum(parts.eyes, parts.clothes), parts.glasses)
  return _SAFETY * jnp.minimum(body, others)


def _mirrored(f: types.SimpleNamespace, point: Point) -> Point:
  """Both halves of the body as the +x one, less what marks displace."""
  x, y, z = point
  drop, shift = f.marks.asymmetry
  x = x - shift * ramp(y, 0.0, -0.17)
  y = y + drop * jnp.clip(x / 0.05, -1, 1) / 2 * bump(y + 0.02, 0.2)
  return jnp.abs(x), y, z


def _parts(f: types.SimpleNamespace, point: Point) -> _Parts:
  side = point[0]
  point = _mirrored(f, point)
  hair = _hair(f, point, side)
  return _Parts(skin=_skin(f, point, side), eyes=_eyes(f, point), hair=hair,
                clothes=_clothes(point), glasses=_glasses(f, point))


# Shapes ---------------------------------------------------------------------


def _face(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Skull, jaw and chin: the face before its features."""
  chin_y = -0.166 - f.face_length
  skull = ellipsoid(point, (0, 0.095, -0.01),
                    (f.skull_width, f.skull_height, 0.178))
  x, y, z = point
  # Narrower towards the chin; an ellipsoid alone looks boxy there.
  taper = 0.86 + 0.14 * ramp(y, -0.20, 0.0)
  face = ellipsoid((x / taper, y, z), (0, -0.03 - f.face_length / 2, 0.062),
                   (f.face_width, 0.158 + f.face_length / 2, 0.127))
  jaw = capsule(point, (f.jaw_width, -0.098 - f.face_length, 0.02),
                (f.chin_width * 0.6, chin_y + 0.010, 0.115 + f.chin_forward),
                0.032, 0.028)
  chin = ellipsoid(point, (0, chin_y, 0.136 + f.chin_forward),
                   (f.chin_width, 0.032, 0.035))
  cheeks = ellipsoid(point, (0.068, -0.012 + 0.010 * f.smile, 0.118),
                     (0.044, 0.038,
                      0.047 + f.cheek_fullness + 0.006 * f.smile))
  mass = union(union(skull, face, 0.06), union(jaw, chin, 0.05), 0.06)
  return union(mass, cheeks, 0.045)


def _skin(f: types.SimpleNamespace, point: Point,
          side: jax.Array) -> jax.Array:
  """Everything with the skin's colour; `side` is x before mirroring."""
  x, y, z = point
  body = _face(f, point)
  brow = capsule(point, (0.02, f.brow_y - 0.004, f.eye_z - 0.002),
                 (0.095, f.brow_y - 0.008, f.eye_z - 0.038), 0.014, 0.012)
  body = union(body, brow, 0.035)
  socket = ellipsoid(point, (f.eye_distance, EYE_HEIGHT, f.eye_z + 0.026),
                     (0.040, 0.025, 0.032))
  body = without(body, socket, 0.03)
  body = union(body, _nose(f, point), 0.016)
  body = _with_lids(f, point, body)
  body = _with_mouth(f, point, body)
  neck = capsule(point, (0, -0.10, -0.035), (0, -0.36, -0.055),
                 0.078, 0.086)
  body = union(body, neck, 0.035)
  body = union(body, _ear(f, point), 0.012)
  # Age deepens the fold from the nose to the corner of the mouth.
  fold = _fold(f, point)
  body = body + (0.0015 + 0.0028 * f.age + 0.0015 * f.smile) * fold
  beard = _beard(f, point)
  body = body - 0.010 * ramp(f.beard, 0.9, 2.0) * beard
  mole = f.marks.mole
  spot = bump(jnp.hypot(side - mole[1], y - mole[2]), mole[3])
  return body - 0.003 * mole[0] * spot * (z > 0.05)


def _nose(f: types.SimpleNamespace, point: Point) -> jax.Array:
  tip_z = f.nose_z + f.nose_height
  tip = (0, f.nose_y + 0.009 + f.nose_tip, tip_z - 0.013)
  bridge = capsule(point, (0, EYE_HEIGHT + 0.012,
                           f.nose_z - 0.022 + f.nose_bridge),
                   tip, 0.0115, 0.0140)
  ball = sphere(point, tip, 0.0165 + 0.12 * (f.nose_width - 0.0255))
  wing = ellipsoid(point, (f.nose_width * 0.78, f.nose_y + 0.003,
                           f.nose_z + 0.010),
                   (0.0125, 0.0125, 0.018))
  nose = union(union(bridge, ball, 0.012), wing, 0.012)
  nostril = ellipsoid(point, (f.nose_width * 0.42, f.nose_y - 0.009,
                              f.nose_z + 0.017),
                      (0.0055, 0.0065, 0.009))
  return without(nose, nostril, 0.004)


def _eye_centre(f: types.SimpleNamespace) -> Point:
  return f.eye_distance, EYE_HEIGHT, f.eye_z - 0.031


def _almond(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """How far a point lies outside the opening of the lids, seen from front."""
  ex = point[0] - f.eye_distance
  ey = point[1] - EYE_HEIGHT - f.eye_tilt * ex
  width = 0.0298 * f.eye_size
  bow = 1 - (ex / width) ** 2
  squint = 1 - 0.28 * f.smile
  top = f.eye_openness * f.eye_size * (1 - 0.18 * f.age)
  bottom = 0.78 * f.eye_openness * f.eye_size * squint
  height = jnp.where(ey > 0, top, bottom)
  slope = 2 * height * ex / width ** 2
  return (jnp.abs(ey) - height * bow) / jnp.sqrt(1 + slope * slope)


def _with_lids(f: types.SimpleNamespace, point: Point,
               body: jax.Array) -> jax.Array:
  """Adds lids about the eyes and opens them."""
  centre = _eye_centre(f)
  lids = sphere(point, centre, _EYE_RADIUS * f.eye_size * 1.14)
  body = union(body, lids, 0.012)
  opening = jnp.maximum(_almond(f, point), centre[2] - point[2])
  return without(body, opening, 0.004)


def _eyes(f: types.SimpleNamespace, point: Point) -> jax.Array:
  return sphere(point, _eye_centre(f), _EYE_RADIUS * f.eye_size)


def _mouth_place(f: types.SimpleNamespace,
                 point: Point) -> Tuple[jax.Array, jax.Array, jax.Array]:
  """Place along the lips, 1 at a corner; height above them; thickness."""
  along = jnp.clip(point[0] / f.smile_width, 0, 1.15)
  line = f.mouth_y + (0.019 * f.smile - 0.003) * along * along
  return along, point[1] - line, jnp.maximum(1 - along * along, 0)


def _lip_z(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Depth of the lips, which curve around the teeth."""
  return f.mouth_z - 4.0 * point[0] * point[0]


def _with_mouth(f: types.SimpleNamespace, point: Point,
                body: jax.Array) -> jax.Array:
  """Adds lips, and opens them over the teeth in a broad smile."""
  _, height, thick = _mouth_place(f, point)
  z = _lip_z(f, point)
  gap = f.opening * thick
  x = point[0]
  upper = ellipsoid((x, height - gap, point[2] - z),
                    (0, f.upper_lip * 0.42, 0.0),
                    (f.smile_width, f.upper_lip * 0.75, 0.0085))
  lower = ellipsoid((x, height + gap, point[2] - z),
                    (0, -f.lower_lip * 0.45, -0.0015),
                    (f.smile_width * 0.9, f.lower_lip * 0.70, 0.0105))
  body = union(union(body, upper, 0.009), lower, 0.009)
  hole = jnp.maximum(jnp.abs(height) - gap, z - 0.008 - point[2])
  return without(body, hole + 0.002 * (1 - ramp(gap, 0.0, 0.003)), 0.003)


def _ear(f: types.SimpleNamespace, point: Point) -> jax.Array:
  x, y, z = moved(point, (f.skull_width * 0.985, 0.012, -0.012))
  # Turned out of the side of the head by the share `ear_out`.
  x = x + f.ear_out * (z + 0.01)
  size = f.ear_size
  shell = ellipsoid((x, y, z), (0.0, 0.0, 0.0),
                    (0.013, 0.046 * size, 0.029 * size))
  bowl = ellipsoid((x, y, z), (0.013, 0.004, 0.004),
                   (0.010, 0.030 * size, 0.017 * size))
  return without(shell, bowl, 0.008)


def _fold(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """1 in the fold beside nose and mouth, 0 elsewhere."""
  top, bottom = f.nose_y + 0.010, f.mouth_y - 0.004
  share = jnp.clip((top - point[1]) / (top - bottom), 0, 1)
  line = f.nose_width + 0.010 + share * (
      f.smile_width + 0.006 - f.nose_width)
  along = bump(point[1] - (top + bottom) / 2, 0.055)
  return bump(point[0] - line, 0.011) * along * (point[2] > 0.05)


def _beard(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """1 where a beard grows, 0 elsewhere."""
  x, y, z = point
  cheek_line = -0.070 + 0.62 * jnp.maximum(x - 0.05, 0)
  area = ramp(y, cheek_line + 0.012, cheek_line - 0.018)
  moustache_top = ramp(y, f.nose_y - 0.008, f.nose_y - 0.018)
  beside = ramp(x, f.smile_width * 0.65, f.smile_width * 1.1)
  area = area * (moustache_top + beside * (1 - moustache_top))
  along, height, _ = _mouth_place(f, point)
  lips = ramp(jnp.hypot(along, height / 0.022), 1.08, 0.88)
  behind = ramp(z, -0.02, 0.02)
  under = ramp(y, -0.245, -0.215)
  return area * (1 - lips) * behind * under


def _hair(f: types.SimpleNamespace, point: Point,
          side: jax.Array) -> jax.Array:
  """A cap that leaves the face free, and long hair at the sides.

  Args:
    f: of `build`.
    point: mirrored.
    side: x before mirroring; a parting lets one side hang lower.
  """
  x, y, z = point
  volume = 0.015 + 0.005 * f.hair_volume + 0.008 * f.curls
  thick = volume * f.scalp - 0.012 * (1 - f.scalp)
  # Locks: shallow, so that distances stay distances.
  straight = 0.0018 * wave(75 * x + 5 * wave(13 * y)) * ramp(y, 0.20, 0.08)
  locks = f.scalp * (straight + f.curls * (0.0040 * _curl(point) - straight))
  # Fullest at the crown, thinner towards the neck.
  crown = 0.5 + 0.5 * ramp(y, -0.04, 0.07) + 0.5 * ramp(y, 0.08, 0.2)
  cap = _face(f, point) - thick * crown - locks
  fringe = 0.20 * f.hair_part * side * ramp(y, 0.06, 0.14)
  free = ellipsoid((x, y + fringe, z), (0, 0.023 - 0.020 * f.hairline, 0.20),
                   (0.128, 0.150, 0.155))
  cap = without(cap, free + 0.002 * wave(190 * x + 40 * y), 0.016)
  # The neck is free of a cap's lower half.
  cap = without(cap, y + 0.045 - 0.35 * (z + 0.05), 0.03)
  bottom = 0.05 - 0.33 * f.curtain - 0.02 * f.hair_length
  radius = length((x / (0.150 + thick * 1.3),
                   jnp.maximum(y - 0.10, 0) / 0.15,
                   (z + 0.035) / (0.150 + thick * 1.2)))
  curtain = without((radius - 1) * 0.13 - locks, y - bottom, 0.04)
  side = ellipsoid(point, (0, -0.08, 0.14), (0.124, 0.30, 0.165))
  curtain = without(curtain, side, 0.02) + 0.2 * (1 - ramp(
      f.curtain, 0.0, 0.1)) + 0.2 * (1 - ramp(f.scalp, 0.3, 0.8))
  return union(cap, curtain, 0.03)


def _curl(point: Point) -> jax.Array:
  """Knobs in [-1, 1] all over."""
  x, y, z = point
  return wave(95 * x + 2 * wave(50 * z)) * wave(100 * y + 2 * wave(
      60 * x)) * wave(95 * z + 2 * wave(55 * y))


def _clothes(point: Point) -> jax.Array:
  """Shoulders, and a collar about the neck."""
  torso = ellipsoid(point, (0, -0.46, -0.06), (0.36, 0.19, 0.15))
  collar = capsule(point, (0, -0.272, -0.045), (0, -0.40, -0.055),
                   0.087, 0.115)
  return union(torso, collar, 0.07)


def _glasses(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Rims, bridge and temples; far away where there are none."""
  strength, half_height, _ = f.marks.glasses
  x, y, z = point
  plane = f.eye_z + 0.019 - 1.6 * x * x
  half_width = 0.041
  ex, ey = (x - f.eye_distance - 0.001) / half_width, (
      y - EYE_HEIGHT + 0.004) / (half_height + 0.004)
  # A rounded rectangle: the fourth-power norm.
  norm = jnp.sqrt(jnp.sqrt(ex ** 4 + ey ** 4) + 1e-9)
  rim = length(((norm - 1) * half_height, z - plane, 0.0)) - 0.0036
  nose = capsule(point, (0, EYE_HEIGHT + 0.008, f.eye_z + 0.020),
                 (f.eye_distance - half_width, EYE_HEIGHT + 0.004,
                  f.eye_z + 0.017), 0.0032, 0.0032)
  start_x = f.eye_distance + half_width
  temple = capsule(point, (start_x, EYE_HEIGHT + 0.010,
                           f.eye_z + 0.019 - 1.6 * start_x ** 2),
                   (f.skull_width + 0.002, EYE_HEIGHT, -0.01),
                   0.0034, 0.0034)
  return jnp.minimum(jnp.minimum(rim, nose), temple) + (1 - strength)


# Colours, sRGB in [0, 1] ----------------------------------------------------


def _pick(ramp_colours: Tuple[Tuple[float, ...], ...],
          share: chex.Numeric) -> jax.Array:
  """A colour at `share` in [0, 1] along a row of colours, [3]."""
  table = jnp.asarray(ramp_colours)
  places = jnp.linspace(0, 1, len(ramp_colours))
  return jnp.stack([jnp.interp(share, places, table[:, i])
                    for i in range(3)])


def _tinted(value: jax.Array, warmth: jax.Array,
            green: chex.Numeric = 0.0) -> jax.Array:
  """A colour, [3], of a brightness in (0, 1); tints are shares of it.

  Linear in its tints: a circle of hues would be harder to learn for a prior,
  and nobody is known by it.
  """
  tint = (warmth * jnp.array([1.0, -0.1, -0.9])
          + green * jnp.array([-0.6, 1.0, -0.4]))
  return jnp.clip(value * (1 + tint), 0, 1)


def _mixed(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
  """Colours [N, 3] or [3] between a and b by share [N]."""
  return a + (b - a) * share[:, None]


def _albedo(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Colour without light, [N, 3]."""
  parts = _parts(f, point)
  mirrored = _mirrored(f, point)
  hair = _hair_colour(f, mirrored)
  skin = _skin_colour(f, point, mirrored)
  # Hair thins out towards the skin.
  result = _mixed(skin, hair, ramp(parts.skin - parts.hair, -0.003, 0.003))
  nearest = jnp.minimum(parts.skin, parts.hair)
  for distances, of_part in (
      (parts.clothes, _clothes_colour(f, mirrored)),
      (parts.eyes, _eye_colour(f, mirrored)),
      (parts.glasses, jnp.full(3, 0.06) + 0.5 * f.marks.glasses[2]
       * jnp.array([0.75, 0.6, 0.5]))):
    result = _mixed(result, of_part,
                    (distances < nearest).astype(jnp.float32))
    nearest = jnp.minimum(nearest, distances)
  return jnp.clip(result, 0, 1)


def _skin_tone(f: types.SimpleNamespace) -> jax.Array:
  tone = _pick(_SKIN, people.share(f.skin_tone))
  return tone * (1 + 0.025 * f.skin_hue * jnp.array([0.6, 0.0, -1.0]))


def _hair_tone(f: types.SimpleNamespace) -> jax.Array:
  # Dark skin and dark hair mostly go together.
  share = people.share(0.8 * f.hair_tone + 0.6 * f.skin_tone + 0.1)
  tone = _pick(_HAIR, share)
  red = ramp(f.hair_red - jnp.maximum(f.skin_tone, 0), 0.7, 2.0)
  tone = tone * (1 + red * jnp.array([0.45, -0.05, -0.35]))
  grey = ramp(f.age, 0.55, 0.92)
  return tone + grey * (0.68 - 0.12 * share - tone)


def _hair_colour(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Hair with strands that fall from the crown."""
  x, y, z = point
  around = jnp.arctan2(x, z + 0.02)
  strands = (wave(58 * around + 2.2 * wave(11 * y + 3 * around))
             + 0.6 * wave(131 * around + 3 * wave(17 * y)))
  strands = strands + f.curls * (3.0 * _curl(point) - strands)
  gloss = bump(y - 0.19, 0.06)
  light = 1 + 0.10 * strands + 0.22 * gloss * (1 + 0.4 * strands)
  return _hair_tone(f) * light[:, None]


def _skin_colour(f: types.SimpleNamespace, point: Point,
                 mirrored: Point) -> jax.Array:
  """Skin with lips, brows, lashes, beard, wrinkles and painted marks."""
  x, y, z = mirrored
  tone = _skin_tone(f)
  front = ramp(z, 0.05, 0.10)
  flush = jnp.exp(-((x - 0.075) ** 2 + (y + 0.03) ** 2) / 0.0011)
  nose = jnp.exp(-(x ** 2 + (y - f.nose_y - 0.01) ** 2) / 0.0005)
  rosy = (0.55 * flush + 0.5 * nose) * front
  result = tone * (1 + rosy[:, None] * jnp.array([0.01, -0.11, -0.10]))
  result = result * (1 - _wrinkles(f, mirrored) * front)[:, None]
  result = _painted_marks(f, point, result, front)

  dark = _hair_tone(f)
  beard = _beard(f, mirrored)
  grain = 0.85 + 0.15 * wave(310 * x + 3 * wave(170 * y)) * wave(
      250 * y + 2 * wave(210 * x))
  cover = beard * grain * (0.50 * ramp(f.beard, 0.15, 0.9)
                           + 0.42 * ramp(f.beard, 0.8, 1.4))
  result = _mixed(result, 0.85 * dark, cover)
  result = _with_lips(f, mirrored, result, front)
  return _with_brows(f, mirrored, result, front)


def _wrinkles(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Share of light lost in wrinkles: forehead, corners of the eyes, folds."""
  x, y, _ = point
  waves = 0.5 + 0.5 * wave(300 * (y + 0.6 * x * x) + wave(40 * x))
  forehead = waves ** 3 * bump(y - 0.135, 0.032) * bump(x, 0.085)
  ex, ey = x - f.eye_distance - 0.036, y - EYE_HEIGHT + 0.002
  rays = 0.5 + 0.5 * wave(11 * jnp.arctan2(ey, ex + 0.016))
  corners = rays ** 2 * bump(jnp.hypot(ex, ey), 0.022)
  under = bump(y - EYE_HEIGHT + 0.026 - 6 * (x - f.eye_distance) ** 2,
               0.008) * bump(x - f.eye_distance, 0.034)
  old = ramp(f.age, 0.3, 1.0)
  return (old * (0.16 * forehead + 0.20 * corners + 0.16 * under)
          + (0.06 + 0.14 * old) * _fold(f, point))


def _with_lips(f: types.SimpleNamespace, point: Point, result: jax.Array,
               front: jax.Array) -> jax.Array:
  """Paints lips, the line between them, and teeth where they are open."""
  along, height, thick = _mouth_place(f, point)
  gap = f.opening * thick
  bow = 1 - 0.16 * bump(along, 0.22)  # the dip in the middle
  top = gap + f.upper_lip * jnp.sqrt(thick) * bow
  bottom = gap + f.lower_lip * jnp.sqrt(thick)
  edge = jnp.where(height > 0, top, bottom) - jnp.abs(height)
  lips = ramp(edge, -0.0006, 0.0022) * front
  tone = _skin_tone(f)
  red = tone * jnp.array([0.88, 0.60, 0.60])
  red = red + 0.5 * jnp.clip(f.lip_colour, 0, 1) * (
      jnp.array([0.66, 0.22, 0.25]) - red)
  result = _mixed(result, red, 0.92 * lips)
  inside = ramp(gap - jnp.abs(height), 0.0, 0.0012) * front
  teeth = ramp(height, -0.55 * gap - 0.002, -0.55 * gap + 0.001) * ramp(
      along, 0.93, 0.80)
  mouth = _mixed(jnp.array([0.28, 0.09, 0.09]),
                 jnp.array([0.93, 0.91, 0.86]), teeth)
  result = _mixed(result, mouth, inside)
  line = bump(height, 0.0036) * ramp(gap, 0.0025, 0.0) * (along < 1.02)
  return _mixed(result, red * 0.38, 0.85 * line * front)


def _with_brows(f: types.SimpleNamespace, point: Point, result: jax.Array,
                front: jax.Array) -> jax.Array:
  """Paints brows and lashes."""
  x, y, _ = point
  along = (x - 0.024) / 0.082
  arch = f.brow_y + 0.010 - 0.020 * (along - 0.55) ** 2 + (
      f.brow_tilt * 0.1 * (along - 0.5)) - 0.010 * ramp(along, 0.6, 1.2)
  half = f.brow_thickness * ramp(along, -0.12, 0.2) * ramp(
      along, 1.08, 0.3) + 0.0006
  hairs = 0.94 + 0.06 * wave(420 * x + 260 * y)
  brow = ramp(jnp.abs(y - arch), half + 0.0025, half - 0.0015) * ramp(
      along, -0.12, 0.05) * ramp(along, 1.1, 1.0)
  dark = _hair_tone(f) * 0.72
  result = _mixed(result, dark, 0.88 * brow * hairs * front)
  outside = _almond(f, point)
  ex, ey = x - f.eye_distance, y - EYE_HEIGHT
  near = bump(ex, 0.045 * f.eye_size) * front
  width = jnp.where(ey > f.eye_tilt * ex, 0.0042, 0.0016)
  lashes = ramp(outside, width, 0.0) * near
  result = _mixed(result, jnp.array([0.10, 0.07, 0.06]),
                  jnp.where(ey > f.eye_tilt * ex, 0.85, 0.45) * lashes)
  crease = bump(outside - 0.0075, 0.0022) * (ey > 0) * bump(
      ex, 0.032 * f.eye_size)
  return result * (1 - (0.22 + 0.1 * f.age) * crease * front)[:, None]


def _painted_marks(f: types.SimpleNamespace, point: Point, result: jax.Array,
                   front: jax.Array) -> jax.Array:
  """Freckles, birthmark, scar and mole, in this order."""
  x, y, _ = point
  marks = f.marks
  tone = _skin_tone(f)

  strength, phase = marks.freckles
  dots = _dots(x, y, 0.0135, phase)
  area = bump(y + 0.005, 0.06) * bump(x, 0.125)
  result = _mixed(result, tone * jnp.array([0.66, 0.48, 0.38]),
                  strength * front * jnp.minimum(2 * area, 1) * dots)

  strength, cx, cy, radius = marks.birthmark
  angle = jnp.arctan2(y - cy, x - cx)
  ragged = radius * (1 + 0.16 * wave(3 * angle + 1)
                     + 0.10 * wave(5 * angle))
  stain = ramp(jnp.hypot(x - cx, y - cy), ragged, ragged - 0.006)
  result = _mixed(result, tone * jnp.array([0.72, 0.40, 0.42]),
                  0.85 * strength * front * stain)

  strength, cx, cy, angle, long = marks.scar
  c, s = jnp.cos(angle), jnp.sin(angle)
  along, across = (x - cx) * c + (y - cy) * s, (y - cy) * c - (x - cx) * s
  across = across - 0.004 * wave(55 * along)
  wide = 0.0085 * ramp(jnp.abs(along), long / 2, long / 2 - 0.02)
  cut = ramp(jnp.abs(across), wide, wide - 0.004) * (wide > 0)
  edge = tone * jnp.array([0.80, 0.42, 0.40])
  result = _mixed(result, edge, 0.9 * strength * front * cut)

  strength, cx, cy, radius = marks.mole
  spot = ramp(jnp.hypot(x - cx, y - cy), radius, radius - 0.004)
  return _mixed(result, tone * jnp.array([0.30, 0.20, 0.16]),
                strength * front * spot)


def _dots(x: jax.Array, y: jax.Array, cell: float,
          phase: jax.Array) -> jax.Array:
  """Round dots in [0, 1], one at a random place of each square of a grid."""
  u, v = x / cell, y / cell
  column, row = jnp.floor(u), jnp.floor(v)

  def noise(seed):
    value = jnp.sin(column * 12.99 + row * 78.23 + seed + phase) * 437.58
    return value - jnp.floor(value)

  radius = 0.14 + 0.14 * noise(0.7)
  off = jnp.hypot(u - column - 0.3 - 0.4 * noise(0.0),
                  v - row - 0.3 - 0.4 * noise(1.9))
  return ramp(off, radius + 0.08, radius - 0.08)


def _eye_colour(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """White, iris, pupil and a painted glint."""
  ex, ey, _ = moved(point, _eye_centre(f))
  radius = _EYE_RADIUS * f.eye_size
  out = jnp.hypot(ex, ey) / radius
  white = jnp.array([0.93, 0.91, 0.89])
  corner = ramp(jnp.abs(ex) / radius, 0.55, 1.0)
  result = _mixed(white, jnp.array([0.80, 0.62, 0.58]), corner)
  iris = _pick(_IRIS, people.share(f.iris_hue + 0.9 * f.skin_tone + 0.3))
  rays = 1 + 0.25 * ramp(out, 0.25, 0.42)
  result = _mixed(result, jnp.clip(iris * rays[:, None], 0, 1),
                  ramp(out, 0.50, 0.46))
  ring = bump(out - 0.47, 0.08)
  result = _mixed(result, iris * 0.35, 0.8 * ring)
  result = _mixed(result, jnp.full(3, 0.03), ramp(out, 0.22, 0.18))
  glint = ramp(jnp.hypot(ex, ey - 0.19 * radius) / radius, 0.13, 0.08)
  return _mixed(result, jnp.ones(3), glint)


def _clothes_colour(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Plain cloth with a seam at the collar."""
  base = _tinted(0.18 + 0.62 * people.share(f.clothes_value),
                 f.clothes_warmth)
  x, y, z = point
  ribs = bump(y + 0.272 - 0.5 * (jnp.hypot(x, z) - 0.09), 0.02)
  return base * (1 - 0.22 * ribs)[:, None]


# Light ----------------------------------------------------------------------


def _light(f: types.SimpleNamespace) -> jax.Array:
  """Direction towards the key light, [3]."""
  side, height = f.light_side, jnp.clip(f.light_height, 0.1, 1.0)
  direction = jnp.stack([jnp.sin(side), height, jnp.cos(side)])
  return direction / jnp.linalg.norm(direction)


def _look_around(f: types.SimpleNamespace, point: Point, light: jax.Array
                 ) -> Tuple[Point, jax.Array, jax.Array]:
  """What the distance says about surface points.

  One loop for all its taps keeps compilation short: four for the direction
  in which it grows, three along that for ambient occlusion, five towards the
  light for a soft shadow.

  Returns: the normal; how much sky and how much of the light a point sees,
    both [N] in [0, 1].
  """
  corners = jnp.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]],
                      jnp.float32)
  reach = jnp.array([0.014, 0.035, 0.080, 0.018, 0.040, 0.075, 0.125, 0.190])

  def seen(i, d, looks):
    """What tap i adds, whose distance is d."""
    gradient, sky, sun = looks
    gradient = tuple(g + jnp.where(i < 4, corners[jnp.clip(i, 0, 3), k] * d, 0)
                     for k, g in enumerate(gradient))
    step, d = reach[jnp.maximum(i - 4, 0)], d / _SAFETY
    closed = jnp.clip(1 - (d - 0.004) / step, 0, 1)
    sky = sky - jnp.where((i >= 4) & (i < 7), 0.34 * closed, 0)
    sun = jnp.where(i < 7, sun, jnp.minimum(sun, 6 * (d + 0.006) / step))
    return gradient, sky, sun

  def tap(i, state):
    # Adding the tap before lets XLA compute the body once for all results.
    looks = seen(i - 1, *state)
    step, corner = reach[jnp.maximum(i - 4, 0)], corners[jnp.minimum(i, 3)]
    d = distance(f, tuple(
        p + jnp.where(i < 4, 1e-3 * corner[k], 0.004 * n + step * jnp.where(
            i < 7, n, light[k]))
        for k, (p, n) in enumerate(zip(point, _normalized(looks[0])))))
    return d, looks

  zeros, ones = jnp.zeros_like(point[0]), jnp.ones_like(point[0])
  taps = 4 + reach.size
  looks = seen(taps - 1, *lax.fori_loop(
      0, taps, tap, (zeros, ((zeros, zeros, zeros), ones, ones))))
  gradient, sky, sun = looks
  return _normalized(gradient), jnp.clip(sky, 0.15, 1), ramp(sun, 0, 1)


def _normalized(point: Point) -> Point:
  size = length(point)
  return tuple(p / size for p in point)


def shaded(f: types.SimpleNamespace, point: Point) -> jax.Array:
  """Colour in [-1, 1], [N, 3], of surface points of what `build` made."""
  return with_normals(f, point)[0]


def with_normals(f: types.SimpleNamespace,
                 point: Point) -> Tuple[jax.Array, jax.Array]:
  """Colour and outward normals, both [N, 3], of surface points."""
  light = _light(f)
  normal, sky, sun = _look_around(f, point, light)
  facing = sum(n * light[k] for k, n in enumerate(normal))
  # Light wraps around skin, red the farthest: a cheap look of its depth.
  wrap = jnp.array([0.42, 0.30, 0.25])
  key = jnp.clip((facing[:, None] + wrap) / (1 + wrap), 0, 1)
  key = key * (0.25 + 0.75 * sun[:, None])
  warm = 1 + f.light_warmth * jnp.array([1.0, 0.0, -1.0])
  fill = sky * (0.72 + 0.28 * normal[1])
  # A half vector to a viewer in front, wherever the camera is.
  half = light + jnp.array([0.0, 0.0, 1.0])
  half = half / jnp.linalg.norm(half)
  gloss = jnp.clip(sum(n * half[k] for k, n in enumerate(normal)), 0, 1)
  strength = f.light_strength
  # Display gamma as 2: a square and a root, which are cheap.
  lit = (1.45 * strength * warm * key
         + 1.25 * (1 - strength) * fill[:, None])
  linear = _albedo(f, point) ** 2 * lit
  linear = linear + (0.05 * strength * gloss ** 24 * sun)[:, None]
  return (jnp.sqrt(jnp.clip(linear, 0, 1)) * 2 - 1,
          jnp.stack(normal, axis=-1))
