"""Bilinear resizing of images, antialiased when it makes them smaller."""

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
    height: of the result, pixels.
    width: of the result, pixels.
    antialias: widen the filter when shrinking; else plain interpolation.

  Returns: [N, height, width, C].
  """
  chex.assert_rank(x, 4)
  # The products are with filter weights that should not be rounded.
  return jax.image.resize(
    x,
    (x.shape[0], height, width, x.shape[-1]),
    "bilinear",
    antialias=antialias,
    precision=lax.Precision.HIGHEST,
  )
