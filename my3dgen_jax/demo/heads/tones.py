"""Tones of skin and hair, and mixing of colors; sRGB in [0, 1]."""

import types

import chex
import jax
import jax.numpy as jnp

from my3dgen_jax.demo import people
from my3dgen_jax.demo.shapes import ramp

# sRGB, from light to dark.
_SKIN = (
  (0.96, 0.82, 0.74),
  (0.91, 0.73, 0.61),
  (0.80, 0.60, 0.46),
  (0.60, 0.41, 0.30),
  (0.42, 0.28, 0.21),
)
_HAIR = (
  (0.80, 0.66, 0.42),
  (0.52, 0.36, 0.22),
  (0.33, 0.21, 0.13),
  (0.18, 0.12, 0.09),
  (0.09, 0.075, 0.07),
)


def pick(
  ramp_colors: tuple[tuple[float, ...], ...], share: chex.Numeric
) -> jax.Array:
  """The interpolated color, [3], at `share` in [0, 1] along a row of colors."""
  table = jnp.asarray(ramp_colors)
  places = jnp.linspace(0, 1, len(ramp_colors))
  return jnp.stack([jnp.interp(share, places, table[:, i]) for i in range(3)])


def tinted(
  value: jax.Array, warmth: jax.Array, green: chex.Numeric = 0.0
) -> jax.Array:
  """A color, [3], of a brightness in (0, 1), with tints as shares of it.

  It is linear in the tints: a circle of hues would be harder to learn for a
  prior, and does not identify anyone.
  """
  tint = warmth * jnp.array([1.0, -0.1, -0.9]) + green * jnp.array(
    [-0.6, 1.0, -0.4]
  )
  return jnp.clip(value * (1 + tint), 0, 1)


def mixed(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
  """Colors [N, 3] or [3] between a and b by share [N]."""
  return a + (b - a) * share[:, None]


def skin_tone(f: types.SimpleNamespace) -> jax.Array:
  """The skin's color, [3]."""
  tone = pick(_SKIN, people.share(f.skin_tone))
  return tone * (1 + 0.025 * f.skin_hue * jnp.array([0.6, 0.0, -1.0]))


def hair_tone(f: types.SimpleNamespace) -> jax.Array:
  """The hair's color, [3]."""
  # Dark skin mostly occurs with dark hair.
  share = people.share(0.8 * f.hair_tone + 0.6 * f.skin_tone + 0.1)
  tone = pick(_HAIR, share)
  red = ramp(f.hair_red - jnp.maximum(f.skin_tone, 0), 0.7, 2.0)
  tone = tone * (1 + red * jnp.array([0.45, -0.05, -0.35]))
  gray = ramp(f.age, 0.55, 0.92)
  return tone + gray * (0.68 - 0.12 * share - tone)
