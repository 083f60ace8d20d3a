"""Parameters of procedural people, and how to sample them.

A person has three parts: `identity`, `photo` (how one photo shows them), and
`marks`, which no parameter of a prior describes. All samples are functions of a
key, so `jax.random.key(n)` identifies person n.
"""

import types
from collections.abc import Mapping, Sequence

import chex
import flax.struct
import jax
import jax.numpy as jnp

from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Array

RADIUS = 2.7  # radius of the cameras' sphere, world units
PIVOT = (0.0, 0.0, 0.2)  # the cameras' target

# Name -> (mean, change per standard deviation). Lengths are in world units, all
# others are shares; colors are looked up in ramps in `heads`.
IDENTITY: Mapping[str, tuple[float, float]] = {
  "skull_width": (0.152, 0.004),
  "skull_height": (0.152, 0.004),
  "face_width": (0.122, 0.0045),
  "face_length": (-0.002, 0.008),
  "jaw_width": (0.071, 0.006),
  "chin_width": (0.038, 0.006),
  "chin_forward": (0.0, 0.007),
  "cheek_fullness": (0.0, 0.004),
  "eye_distance": (0.0665, 0.0028),
  "eye_size": (1.08, 0.06),
  "eye_openness": (0.0138, 0.0014),
  "eye_tilt": (0.0, 0.07),
  "iris_hue": (0.0, 1.0),
  "nose_width": (0.0255, 0.003),
  "nose_length": (0.0, 0.006),
  "nose_height": (0.040, 0.0055),
  "nose_bridge": (0.016, 0.004),
  "nose_tip": (0.0, 0.005),
  "ear_size": (1.0, 0.10),
  "ear_out": (0.35, 0.13),
  "mouth_width": (0.050, 0.0045),
  "mouth_height": (0.0, 0.004),
  "upper_lip": (0.0110, 0.0022),
  "lower_lip": (0.0145, 0.0024),
  "lip_color": (0.45, 0.17),
  "brow_height": (0.0, 0.0032),
  "brow_thickness": (0.0062, 0.0013),
  "brow_tilt": (0.0, 0.06),
  "skin_tone": (0.0, 1.0),
  "skin_hue": (0.0, 1.0),
  "hair_length": (0.0, 1.0),
  "hair_volume": (0.0, 1.0),
  "hairline": (0.0, 1.0),
  "hair_part": (0.0, 1.0),
  "hair_curl": (0.0, 1.0),
  "hair_tone": (0.0, 1.0),
  "hair_red": (0.0, 1.0),
  "beard": (0.0, 1.0),
}
PHOTO: Mapping[str, tuple[float, float]] = {
  "smile": (0.0, 1.0),
  "age": (0.0, 1.0),
  "light_side": (0.0, 0.45),
  "light_height": (0.55, 0.16),
  "light_strength": (0.62, 0.08),
  "light_warmth": (0.0, 0.06),
  "background_warmth": (0.0, 0.09),
  "background_green": (0.0, 0.06),
  "background_value": (0.0, 1.0),
  "clothes_warmth": (0.0, 0.35),
  "clothes_value": (0.0, 1.0),
}
MARKS = ("mole", "scar", "birthmark", "freckles", "asymmetry", "glasses")


@flax.struct.dataclass
class Marks:
  """Marks that only one person has; zeros: none.

  Positions are (x, y) in front of the face, world units, x towards the image's
  right when seen from the front.

  Attributes:
    mole: [..., 4], strength in [0, 1], x, y, radius.
    scar: [..., 5], strength in [0, 1], x, y, angle in radians, length.
    birthmark: [..., 4], strength in [0, 1], x, y, radius.
    freckles: [..., 2], strength in [0, 1], phase of the pattern.
    asymmetry: [..., 2], shift of the eye and mouth on the +x side downwards,
      and of the chin towards +x, world units.
    glasses: [..., 3], strength (0 or 1), half height of a lens, world units,
      and brightness of the frame in [0, 1].
  """

  mole: Array
  scar: Array
  birthmark: Array
  freckles: Array
  asymmetry: Array
  glasses: Array


@flax.struct.dataclass
class Person:
  """A procedural person in one photo.

  Attributes:
    identity: [..., len(IDENTITY)], standard normal.
    photo: [..., len(PHOTO)], standard normal.
    marks: Marks.
  """

  identity: Array
  photo: Array
  marks: Marks


def no_marks(shape: Sequence[int] = ()) -> Marks:
  """Marks of people without any; `shape` is the batch's shape."""
  sizes = dict(mole=4, scar=5, birthmark=4, freckles=2, asymmetry=2, glasses=3)
  return Marks(
    **{name: jnp.zeros((*shape, size)) for name, size in sizes.items()}
  )


def share(normal: Array) -> jax.Array:
  """Maps a standard normal number to a uniform one in (0, 1)."""
  return jax.scipy.stats.norm.cdf(normal)


def smile(person: Person) -> jax.Array:
  """How much people smile, [...] in (0, 1), from a neutral mouth to a laugh."""
  return share(person.photo[..., list(PHOTO).index("smile")])


def age(person: Person) -> jax.Array:
  """People's age, [...] in (0, 1), from about 20 to about 80 years."""
  return share(person.photo[..., list(PHOTO).index("age")])


def with_photo(person: Person, **shares: chex.Numeric) -> Person:
  """Sets photo parameters, given as quantiles in (0, 1).

  Args:
    person: a person, of any batch shape.
    **shares: quantiles by names of `PHOTO`, such as smile=0.9.
  """
  photo = jnp.asarray(person.photo)
  for name, value in shares.items():
    normal = jax.scipy.stats.norm.ppf(jnp.clip(value, 1e-3, 1 - 1e-3))
    photo = photo.at[..., list(PHOTO).index(name)].set(normal)
  return person.replace(photo=photo)


def decode(person: Person) -> types.SimpleNamespace:
  """One person's scaled parameters by name, with squashed extremes."""
  values = {}
  for table, numbers in ((IDENTITY, person.identity), (PHOTO, person.photo)):
    chex.assert_shape(numbers, (len(table),))
    squashed = 2.2 * jnp.tanh(numbers / 2.2)
    for i, (name, (middle, spread)) in enumerate(table.items()):
      values[name] = middle + spread * squashed[i]
  values["smile"], values["age"] = smile(person), age(person)
  return types.SimpleNamespace(**values)


def sample_identity(key: chex.PRNGKey) -> jax.Array:
  """A random identity, [len(IDENTITY)] standard normal."""
  return jax.random.normal(key, (len(IDENTITY),))


def sample_photo(key: chex.PRNGKey) -> jax.Array:
  """Random photo parameters, [len(PHOTO)] standard normal."""
  return jax.random.normal(key, (len(PHOTO),))


def sample_marks(key: chex.PRNGKey, kinds: Sequence[str] = MARKS) -> Marks:
  """Random marks of one person.

  Args:
    key: the PRNG key.
    kinds: the kinds of `MARKS` to sample; kinds are independent of each other.
  """
  marks = no_marks()
  for kind in kinds:
    draw = jax.random.uniform(jax.random.fold_in(key, MARKS.index(kind)), (4,))
    marks = marks.replace(**{kind: _mark(kind, draw)})
  return marks


def _mark(kind: str, draw: jax.Array) -> jax.Array:
  """One kind of mark from four uniform numbers."""
  u0, u1, u2, u3 = draw
  side = jnp.where(u0 < 0.5, -1.0, 1.0)
  return jnp.stack(
    {
      "mole": [
        1.0,
        side * (0.045 + 0.04 * u1),
        -0.10 + 0.09 * u2,
        0.011 + 0.003 * u3,
      ],
      "scar": [
        1.0,
        side * (0.055 + 0.03 * u1),
        -0.06 + 0.06 * u2,
        side * (0.7 + 0.6 * u3),
        0.065,
      ],
      "birthmark": [
        1.0,
        side * (0.05 + 0.03 * u1),
        jnp.where(u2 < 0.5, 0.125, -0.045),
        0.026 + 0.01 * u3,
      ],
      "freckles": [0.7 + 0.3 * u0, 6 * u1],
      "asymmetry": [side * (0.007 + 0.005 * u1), -side * (0.006 + 0.008 * u2)],
      "glasses": [1.0, 0.026 + 0.008 * u1, u2],
    }[kind]
  )


def sample_person(key: chex.PRNGKey, kinds: Sequence[str] = MARKS) -> Person:
  """A random person in one photo; `album` takes further photos."""
  keys = jax.random.split(key, 3)
  return Person(
    identity=sample_identity(keys[0]),
    photo=sample_photo(keys[1]),
    marks=sample_marks(keys[2], kinds),
  )


def face_camera(yaw: chex.Numeric, pitch: chex.Numeric) -> jax.Array:
  """The label c, [..., 25], of a camera on EG3D's sphere, as `look_at`."""
  cam2world = cameras.look_at(yaw, pitch, PIVOT, RADIUS)
  return cameras.pack_label(
    cam2world, cameras.intrinsics_from_focal(cameras.FACE_FOCAL)
  )


def sample_camera(key: chex.PRNGKey) -> jax.Array:
  """A random label c, [25], mostly frontal: |yaw| < 0.5, |pitch| < 0.25 rad."""
  yaw, pitch = jax.random.truncated_normal(key, -2.0, 2.0, (2,)) / 2
  return face_camera(0.5 * yaw, 0.25 * pitch)


def disturbed_camera(key: chex.PRNGKey, c: Array, error: float) -> jax.Array:
  """A label with an error, as from pose estimation.

  Args:
    key: the PRNG key.
    c: [25], label of the camera that took the photo.
    error: standard deviation of the direction's error, radians; target and
      distance do not change.

  Returns: [25].
  """
  turn = error * jax.random.normal(key, (2,))
  return cameras.turned(c, turn, jnp.asarray(PIVOT))
