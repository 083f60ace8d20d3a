"""Augmentation of photos, so that networks do not memorize them."""

import chex
import jax
import jax.numpy as jnp

from my3dgen_jax.types import Array

_SHIFT = 4  # largest shift, pixels


def augmented(key: chex.PRNGKey, images: Array) -> jax.Array:
  """Shifts, blurs, brightens or darkens photos slightly; never mirrors them.

  Args:
    key: the PRNG key.
    images: [N, S, S, 3] uint8.

  Returns: [N, S, S, 3] in [-1, 1].
  """
  keys = jax.random.split(key, 4)
  count, side = images.shape[:2]
  padded = jnp.pad(
    images, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="edge"
  )
  corners = jax.random.randint(keys[0], (count, 2), 0, 2 * _SHIFT + 1)
  x = jax.vmap(
    lambda image, corner: jax.lax.dynamic_slice(
      image, (*corner, 0), (side, side, 3)
    )
  )(padded, corners)
  x = x.astype(jnp.float32) / 127.5 - 1
  uniform = lambda key, low, high: jax.random.uniform(
    key, (count, 1, 1, 1), minval=low, maxval=high
  )
  x += uniform(keys[1], 0.0, 1.0) * (_blurred(x) - x)
  x = x * uniform(keys[2], 0.85, 1.15) + uniform(keys[3], -0.1, 0.1)
  return jnp.clip(x, -1, 1)


def _blurred(x: jax.Array) -> jax.Array:
  """Blurs with binomial weights over three pixels along each axis."""
  for axis in (1, 2):
    width = [(0, 0)] * x.ndim
    width[axis] = (1, 1)
    padded = jnp.pad(x, width, mode="edge")
    part = lambda n, padded=padded, axis=axis: jax.lax.slice_in_dim(
      padded, n, n + x.shape[axis], axis=axis
    )
    x = (part(0) + 2 * part(1) + part(2)) / 4
  return x
