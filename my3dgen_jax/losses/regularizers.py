"""Regularizers for noise maps and density."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from my3dgen_jax.tracing.derivatives import entry
from my3dgen_jax.types import Array

_SMALLEST = 8  # side of a noise map that is not halved further, pixels


@entry
def noise_autocorrelation(noise: Array) -> jax.Array:
  """How much noise maps look like a signal, at every scale.

  Args:
    noise: [N, S, S], S a power of two.

  Returns: [N]; the squared mean product of each map with itself rolled by a
    pixel along either axis, summed over a pyramid down to 8 x 8.
  Source: Karras et al. 2020 (StyleGAN2), appendix D.
  """
  chex.assert_rank(noise, 3)
  total = jnp.zeros(noise.shape[:1], jnp.float32)
  while True:
    for axis in (1, 2):
      total += jnp.square(
        jnp.mean(noise * jnp.roll(noise, 1, axis), axis=(1, 2))
      )
    rows, side, _ = noise.shape
    if side <= _SMALLEST:
      return total
    noise = noise.reshape(rows, side // 2, 2, side // 2, 2).mean((2, 4))


@entry
def normalized_noise(noise: Array) -> jax.Array:
  """Normalizes maps, [N, S, S], to mean 0 and variance 1."""
  noise = noise - jnp.mean(noise, axis=(1, 2), keepdims=True)
  return noise * jax.lax.rsqrt(
    jnp.mean(jnp.square(noise), axis=(1, 2), keepdims=True)
  )


@entry
def density_roughness(
  key: chex.PRNGKey,
  sigma: Callable[[jax.Array], jax.Array],
  *,
  points: int,
  distance: float,
  box_warp: float,
) -> jax.Array:
  """The mean change of density between random points and points nearby.

  Args:
    key: the PRNG key.
    sigma: density at points, [1, M, 3] -> [1, M, 1].
    points: number of points.
    distance: standard deviation of the offset, world units.
    box_warp: side of the box, world units.

  Returns: a scalar.
  Source: EG3D, section 4.4 of its supplement.
  """
  place_key, step_key = jax.random.split(key)
  places = jax.random.uniform(
    place_key, (1, points, 3), minval=-box_warp / 2, maxval=box_warp / 2
  )
  moved = places + distance * jax.random.normal(step_key, places.shape)
  density = sigma(jnp.concatenate([places, moved], axis=1))
  return jnp.mean(jnp.abs(density[:, :points] - density[:, points:]))
