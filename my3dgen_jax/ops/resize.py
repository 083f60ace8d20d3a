"""Bilinear resizing of images, antialiased when shrinking."""

import chex
import jax
from jax import lax

from my3dgen_jax.types import Array


def resize_bilinear(
  x: Array, height: int, width: int, *, antialias: bool = True
) -> jax.Array:
  """Resizes with a triangle filter of half-width max(1, in / out) pixels.

  Args:
    x: [N, H, W, C].
    height: height of the result, pixels.
    width: width of the result, pixels.
    antialias: widen the filter when shrinking; otherwise plain interpolation.

  Returns: [N, height, width, C].
  """
  chex.assert_rank(x, 4)
  # These are products with filter weights, which should not be rounded.
  return jax.image.resize(
    x,
    (x.shape[0], height, width, x.shape[-1]),
    "bilinear",
    antialias=antialias,
    precision=lax.Precision.HIGHEST,
  )
