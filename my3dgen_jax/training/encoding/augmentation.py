"""Augmentation: makes rendered images look like photos, for the encoder.

Everything depends on one key per image, and is the same on any devices.
"""

import functools

import chex
import flax.struct
import jax
import jax.numpy as jnp

from my3dgen_jax.config.encoder import EncoderTrainingConfig
from my3dgen_jax.ops import cameras, degradations
from my3dgen_jax.types import Array

_SHARPEST = 0.3  # standard deviation of the weakest blur, pixels
_BLURS = 1.5  # and of the strongest at 128 pixels; it scales with the side
_JPEG_QUALITY = 30
_SHARE = 0.3  # fraction of images that each rare change applies to


@flax.struct.dataclass
class Photo:
  """An image augmented like a photo.

  Attributes:
    image: [N, S, S, 3] in [-1, 1].
    mask: [N, S, S, 1], 1 where the photo is used.
    c: [N, 25], the camera that its label states.
  """

  image: Array
  mask: Array
  c: Array


def augmented(
  keys: chex.PRNGKey, image: Array, c: Array, config: EncoderTrainingConfig
) -> Photo:
  """Turns images into photos of the same, of lower quality.

  Args:
    keys: [N], one PRNG key per image.
    image: [N, S, S, 3] in [-1, 1].
    c: [N, 25], the cameras that the images were rendered from.
    config: how strong the changes are.
  """
  names = (
    *("camera", "crop", "color", "blur", "noise", "jpeg", "spots"),
    *("unseen", "face"),
  )
  streams = dict(
    zip(names, jax.vmap(lambda key: jax.random.split(key, len(names)))(keys).T)
  )
  strength = config.augmentation
  draw = lambda name, *shape: jax.vmap(
    lambda key: jax.random.normal(key, shape)
  )(streams[name])
  error = jnp.deg2rad(config.camera_error)
  c = cameras.turned(c, error * draw("camera", 2), jnp.zeros(3))
  image = _resampled(streams, image, config)
  if strength:
    image = _colored(draw("color", 6), image, strength)
    noise = 0.05 * strength * jnp.abs(draw("noise"))[:, None, None, None]
    image += noise * jax.vmap(
      lambda key: jax.random.normal(jax.random.fold_in(key, 1), image.shape[1:])
    )(streams["noise"])
    image = jnp.clip(image, -1, 1)
    happens = _happens(streams["jpeg"], strength)
    image += happens * (
      degradations.jpeg_like(image, quality=_JPEG_QUALITY) - image
    )
  mask = jnp.ones(image.shape[:3] + (1,), image.dtype)
  if strength:
    spots, inside = _spot(streams["spots"], image.shape[1], 0.05, 0.2)
    inside *= _happens(streams["spots"], strength)
    image += inside * (spots - image)
    # What a mask removes: something in front of the face, or all around it.
    _, inside = _spot(streams["unseen"], image.shape[1], 0.05, 0.2)
    mask *= 1 - inside * _happens(streams["unseen"], strength)
    _, inside = _spot(streams["face"], image.shape[1], 0.35, 0.5, far=0.05)
    mask *= 1 - (1 - inside) * _happens(streams["face"], strength)
  return Photo(image, mask, c)


def _happens(keys: chex.PRNGKey, strength: float) -> jax.Array:
  """[N, 1, 1, 1]: 1 where a rare change applies, otherwise 0."""
  return jax.vmap(
    lambda key: jax.random.bernoulli(
      jax.random.fold_in(key, 2), _SHARE * strength, (1, 1, 1)
    )
  )(keys).astype(jnp.float32)


def _resampled(
  streams: dict[str, chex.PRNGKey], image: Array, config: EncoderTrainingConfig
) -> jax.Array:
  """Slightly misaligned, blurred crops; border pixels are repeated."""
  side = image.shape[1]
  place = jax.vmap(
    lambda key: jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0)
  )(streams["crop"])
  scale = 1 + config.scale_error * place[:, 0]
  shift = config.shift_error * side * place[:, 1:]
  share = jax.vmap(
    lambda key: jnp.square(jax.random.uniform(key)) * config.augmentation
  )(streams["blur"])
  sigma = _SHARPEST + share * _BLURS * side / 128
  middle = (side - 1) / 2
  seen = (jnp.arange(side) - middle) / scale[:, None] + middle  # [N, S]

  def means(shift):
    source = jnp.clip(seen + shift[:, None], 0, side - 1)
    away = (source[..., None] - jnp.arange(side)) / sigma[:, None, None]
    weights = jnp.exp(-jnp.square(away) / 2)
    return weights / jnp.sum(weights, axis=-1, keepdims=True)

  return jnp.einsum(
    "nih,nhwc,njw->nijc", means(shift[:, 0]), image, means(shift[:, 1])
  )


def _colored(numbers: Array, image: Array, strength: float) -> jax.Array:
  """Changes exposure, contrast, tint and saturation; numbers [N, 6] normal."""
  numbers = (strength * numbers)[:, None, None]
  image = (image + 1) * jnp.exp(0.08 * numbers[..., 0:1])
  image *= jnp.exp(0.04 * numbers[..., 1:4])
  grey = jnp.mean(image, axis=-1, keepdims=True)
  image = grey + (image - grey) * jnp.exp(0.15 * numbers[..., 4:5])
  middle = jnp.mean(image, axis=(1, 2, 3), keepdims=True)
  image = middle + (image - middle) * jnp.exp(0.1 * numbers[..., 5:6])
  return image - 1


@functools.partial(jax.vmap, in_axes=(0, None, None, None, None))
def _spots(key, side, low, high, far):
  keys = jax.random.split(key, 4)
  radii = jax.random.uniform(keys[0], (2,), minval=low, maxval=high)
  centre = 0.5 + far * jax.random.uniform(keys[1], (2,), minval=-1.0)
  places = (jnp.arange(side) + 0.5) / side
  y, x = ((places - centre[i]) / radii[i] for i in range(2))
  inside = jnp.square(y)[:, None] + jnp.square(x) < 1
  color = jax.random.uniform(keys[2], (1, 1, 3), minval=-1.0)
  return color, inside[..., None].astype(jnp.float32)


def _spot(
  keys: chex.PRNGKey, side: int, low: float, high: float, far: float = 0.4
) -> tuple[jax.Array, jax.Array]:
  """Ellipses of one color each: [N, 1, 1, 3] and [N, S, S, 1], 1 inside.

  Args:
    keys: [N], one PRNG key per ellipse.
    side: side of the image, pixels.
    low: smallest radius, as a fraction of the side.
    high: largest radius, as a fraction of the side.
    far: largest distance from the image's center, as a fraction of the side.
  """
  return _spots(keys, side, low, high, far)
