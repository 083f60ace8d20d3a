"""Pixel and window errors between an image and a photo."""

import chex
import jax
import jax.numpy as jnp

from my3dgen_jax.errors import UserError, without_package
from my3dgen_jax.tracing.derivatives import entry
from my3dgen_jax.types import Array

SSIM_WINDOW = 11  # side of the window and of the smallest image, pixels

_LEAST_WEIGHT = 1e-12  # a mask that sums to less counts as empty


@entry
def mean_squared_error(
  x: Array, y: Array, mask: Array | None = None
) -> jax.Array:
  """The mean of (x - y)^2 over an image, or over its unmasked part.

  Args:
    x: [N, H, W, C].
    y: [N, H, W, C].
    mask: [N, H, W, 1] in [0, 1], 1: compare; None: everywhere.

  Returns: [N]; 0 where the mask is empty.
  """
  chex.assert_equal_shape([x, y])
  squared = jnp.square(x - y)
  if mask is None:
    return jnp.mean(squared, axis=(1, 2, 3))
  total = jnp.sum(mask, axis=(1, 2, 3)) * x.shape[-1]
  return jnp.sum(squared * mask, axis=(1, 2, 3)) / jnp.maximum(
    total, _LEAST_WEIGHT
  )


@entry
def psnr(x: Array, y: Array, mask: Array | None = None) -> jax.Array:
  """Peak signal-to-noise ratio of images, clipped to [-1, 1].

  Args:
    x: [N, H, W, C].
    y: [N, H, W, C].
    mask: see `mean_squared_error`.

  Returns: [N], dB; infinity for equal images.
  """
  x, y = (jnp.clip(image, -1, 1) for image in (x, y))
  # The range of values is 2, so the squared peak is 4.
  return 10 * jnp.log10(4 / mean_squared_error(x, y, mask))


@entry
def ssim(x: Array, y: Array) -> jax.Array:
  """Structural similarity of images, clipped to [-1, 1].

  The mean over channels and over Gaussian windows of 11 x 11 pixels, with a
  standard deviation of 1.5, that lie inside the image; with population, not
  sample, variances.

  Args:
    x: [N, H, W, C], H and W at least 11.
    y: [N, H, W, C].

  Returns: [N] in [-1, 1]; 1 for equal images.
  Raises: UserError: DM PIX is missing, or the images are too small.
  Source: Wang et al., "Image Quality Assessment: From Error Visibility to
    Structural Similarity", 2004.
  """
  chex.assert_rank([x, y], 4)
  chex.assert_equal_shape([x, y])
  if min(x.shape[1:3]) < SSIM_WINDOW:
    raise UserError(
      f"x: SSIM needs images of at least {SSIM_WINDOW} x "
      f"{SSIM_WINDOW} pixels, got {x.shape[1]} x {x.shape[2]}"
    )
  try:
    import dm_pix  # pylint: disable=import-outside-toplevel
  except ImportError as error:
    raise without_package(
      error, "DM PIX", 'SSIM needs DM PIX: pip install "my3dgen-jax[evaluate]"'
    ) from error
  x, y = ((jnp.clip(image, -1, 1) + 1) / 2 for image in (x, y))
  found = dm_pix.ssim(
    x, y, max_val=1.0, filter_size=SSIM_WINDOW, filter_sigma=1.5
  )
  return jnp.asarray(found, jnp.float32)


@entry
def block_means(x: Array, side: int) -> jax.Array:
  """Averages blocks of pixels until the image is at most twice `side`.

  Args:
    x: [N, H, H, C].
    side: target side, pixels; the block is H // side, at least 1, and must
      divide H.

  Returns: [N, h, h, C].
  """
  block = max(1, x.shape[1] // side)
  if block == 1:
    return x
  size = x.shape[1] // block
  return jnp.mean(
    x.reshape(x.shape[0], size, block, size, block, -1), axis=(2, 4)
  )
