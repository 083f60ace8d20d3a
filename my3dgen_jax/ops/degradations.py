"""Models of how a photo may have been degraded before it was received.

    seen = shrunk(images, side=64)

Every function takes images [N, H, W, 3] in [-1, 1] and is differentiable, so
the original can be searched for (`training.hull_fit.Degradation`,
`agreeing`). A new one is just as short:

    def dimmed(images):
      return 0.5 * images - 0.5
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.errors import UserError
from my3dgen_jax.tracing.derivatives import entry
from my3dgen_jax.types import Array

# ITU-R BT.601, as JPEG and Pillow's "L".
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_TO_YCBCR = np.stack(
  [
    _LUMA,
    (np.array([0, 0, 1], np.float32) - _LUMA) / 1.772,
    (np.array([1, 0, 0], np.float32) - _LUMA) / 1.402,
  ]
)
_BLOCK = 8  # pixels, of JPEG
_HIGHEST = jax.lax.Precision.HIGHEST


@entry
def shrunk(images: Array, *, side: int) -> jax.Array:
  """Shrinks images with a Lanczos filter, as most programs do.

  Args:
    images: [N, H, H, C].
    side: side of the result, pixels, in [1, H].

  Returns: [N, side, side, C]; slightly beyond [-1, 1] next to sharp edges.
  Raises: UserError: side is not in [1, H].
  """
  if not 1 <= side <= images.shape[1]:
    raise UserError(f"side: expected 1 to {images.shape[1]} pixels, got {side}")
  return jax.image.resize(
    images,
    (images.shape[0], side, side, images.shape[-1]),
    "lanczos3",
    precision=_HIGHEST,
  )


@entry
def blurred(images: Array, *, sigma: float) -> jax.Array:
  """Blurs images with a Gaussian.

  Args:
    images: [N, H, W, C].
    sigma: standard deviation, pixels, > 0. At the border only pixels inside
      the image are averaged.

  Returns: [N, H, W, C].
  Raises: UserError: sigma is not > 0.
  """
  if not 0 < sigma < float("inf"):
    raise UserError(f"sigma: expected a number of pixels > 0, got {sigma}")
  rows, columns = (_gaussian_means(size, sigma) for size in images.shape[1:3])
  return jnp.einsum(
    "ih,nhwc,jw->nijc", rows, images, columns, precision=_HIGHEST
  )


@entry
def grey(images: Array) -> jax.Array:
  """Converts images to gray: [N, H, W, 3] to [N, H, W, 1]."""
  return jnp.sum(images * _LUMA, axis=-1, keepdims=True)


@entry
def jpeg_like(images: Array, *, quality: float = 30) -> jax.Array:
  """Approximates JPEG compression, with its rounding made smooth.

  Args:
    images: [N, H, W, 3].
    quality: JPEG quality, about libjpeg's scale, in [1, 100]. Colors keep
      their resolution; quantization steps grow linearly with frequency.

  Returns: [N, H, W, 3].
  Raises: UserError: quality is out of range.
  """
  if not 1 <= quality <= 100:
    raise UserError(f"quality: expected a number in [1, 100], got {quality}")
  count, height, width, _ = images.shape
  rest = [-size % _BLOCK for size in (height, width)]
  blocks = jnp.pad(
    images, ((0, 0), (0, rest[0]), (0, rest[1]), (0, 0)), mode="edge"
  )
  blocks = (127.5 * blocks).reshape(
    count,
    (height + rest[0]) // _BLOCK,
    _BLOCK,
    (width + rest[1]) // _BLOCK,
    _BLOCK,
    3,
  )
  waves = _cosines()
  steps = _quantisation(quality)[:, None]  # [8, 1, 8, 3]
  found = jnp.einsum(
    "ui,nyixjc,vj,dc->nyuxvd",
    waves,
    blocks,
    waves,
    _TO_YCBCR,
    precision=_HIGHEST,
  )
  found = _smoothly_rounded(found / steps) * steps
  blocks = jnp.einsum(
    "ui,nyuxvd,vj,cd->nyixjc",
    waves,
    found,
    waves,
    np.linalg.inv(_TO_YCBCR),
    precision=_HIGHEST,
  )
  result = blocks.reshape(count, height + rest[0], width + rest[1], 3) / 127.5
  return result[:, :height, :width]


@entry
def agreeing(
  images: Array,
  seen: Array,
  degrade: Callable[[Array], jax.Array],
  *,
  steps: int = 40,
) -> jax.Array:
  """Changes images slightly, so that they degrade to the given photo.

  Steepest descent on |degrade(images) - seen|^2 with the step size that is
  optimal for a linear degradation; what the degradation removes is left
  unchanged. Gray carries no hue, so with it all channels change alike.

  Args:
    images: [N, H, W, 3] in [-1, 1].
    seen: [N, h, w, C], the degraded photo.
    degrade: images to images, differentiable.
    steps: number of descent steps, >= 0.

  Returns: [N, H, W, 3] in [-1, 1].
  Source: Irani and Peleg 1991, back-projection, generalized to any degradation.
  """
  images = jnp.clip(jnp.asarray(images, jnp.float32), -1, 1)
  inner = lambda x, y: jnp.sum(x * y, axis=(1, 2, 3), keepdims=True)

  def step(_, images):
    again, back = jax.vjp(degrade, images)
    missing = seen - again
    (way,) = back(missing)
    if seen.shape[-1] == 1:
      way = jnp.broadcast_to(jnp.mean(way, axis=-1, keepdims=True), way.shape)
    _, effect = jax.jvp(degrade, (images,), (way,))
    length = inner(missing, effect) / jnp.maximum(inner(effect, effect), 1e-12)
    return jnp.clip(images + length * way, -1, 1)

  return jax.lax.fori_loop(0, steps, step, images)


def _gaussian_means(size: int, sigma: float) -> np.ndarray:
  """[size, size] float32: each row holds the weights of one pixel's mean."""
  place = np.arange(size)
  weights = np.exp(-(((place - place[:, None]) / sigma) ** 2) / 2)
  return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _cosines() -> np.ndarray:
  """The orthonormal cosine transform, [8, 8] float32, a frequency per row."""
  frequency, place = np.arange(_BLOCK)[:, None], np.arange(_BLOCK)
  waves = np.cos(np.pi * frequency * (2 * place + 1) / (2 * _BLOCK))
  waves *= np.sqrt(np.where(frequency, 2, 1) / _BLOCK)
  return waves.astype(np.float32)


def _quantisation(quality: float) -> np.ndarray:
  """Quantization steps in gray levels, [8, 8, 3] float32.

  Source: close to table K.1 of ITU-T T.81, with libjpeg's quality scaling.
  """
  scale = 50 / quality if quality < 50 else 2 - quality / 50
  frequency = np.arange(_BLOCK)[:, None] + np.arange(_BLOCK)
  steps = (10 + 6 * frequency)[..., None] * np.array([1, 2, 2])
  return np.maximum(scale * steps, 1).astype(np.float32)


def _smoothly_rounded(x: jax.Array) -> jax.Array:
  """Pulls numbers towards integers, with slope 0 there and never below 0."""
  return x - jnp.sin(2 * jnp.pi * x) / (2 * jnp.pi)
