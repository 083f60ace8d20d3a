"""Encoder: a photo and its camera to a latent, in one or more passes.

    encoder = load_encoder("checkpoints/ffhq/encoder")
    seen = encoder.module.seen(photos, masks)
    found = encoder(seen, c, method="look")            # found.ws, found.doubt
    again = encoder(seen, c, render, found.ws, method="look")

The first pass sees only the photo; each further one also sees the generator's
rendering of the latent so far, and corrects the latent.

On disk: `encoder.safetensors`, whose metadata holds the config and the digest
of the generator that it was trained for.

Sources: ReStyle (Alaluf et al. 2021) for iterative refinement; Brock et al.
2021 for convolutions without activation normalization; Perez et al. 2018
(FiLM) for conditioning on the camera.
"""

import functools
import math
from typing import Any

import chex
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from my3dgen_jax.config.encoder import EncoderConfig
from my3dgen_jax.ops import cameras, convolution
from my3dgen_jax.ops.resize import resize_bilinear
from my3dgen_jax.tracing.parameters import stored
from my3dgen_jax.types import Array

_SLOPE = 0.2  # of the leaky ReLU below 0
# Standard deviation of a leaky ReLU's output for standard normal input.
_GAIN = 1 / math.sqrt((1 + _SLOPE**2) / 2 - (1 - _SLOPE) ** 2 / (2 * math.pi))
_EPSILON = 1e-6  # added to the variances of kernels
_DISTANCE = 2.7  # about that of EG3D's cameras, world units


@flax.struct.dataclass
class Found:
  """The result of a pass.

  Attributes:
    ws: [N, num_ws or 1, w_dim].
    doubt: [N], the expected error of ws, in standard deviations of W, weighted
      by its visible effect; 1: as far from the truth as the mean latent.
  """

  ws: Array
  doubt: Array


class Encoder(nn.Module):
  """The network; its weights are `params`, and W's statistics `buffers`.

  Attributes:
    config: layer sizes.
    precision: matrix-product precision, see `jax.lax.Precision`.
  """

  config: EncoderConfig
  precision: Any = None

  def seen(self, image: Array, mask: Array | None = None) -> jax.Array:
    """Prepares photos as the network's input.

    Args:
      image: [N, H, H, 3] in [-1, 1], or [N, H, H, 1], gray; of any size.
      mask: [N, H, H, 1] in [0, 1], 0: ignore; None: use everything.

    Returns: [N, resolution, resolution, 4]: colors multiplied by the mask, and
      the mask.
    """
    side = self.config.resolution
    if mask is None:
      mask = jnp.ones(image.shape[:3] + (1,), image.dtype)
    image = resized(jnp.broadcast_to(image, mask.shape[:3] + (3,)), side)
    mask = resized(mask, side)
    return jnp.concatenate([image * mask, mask], axis=-1)

  @nn.compact
  def look(
    self,
    seen: Array,
    c: Array,
    render: Array | None = None,
    ws: Array | None = None,
  ) -> Found:
    """Finds latents, or corrects them.

    Args:
      seen: [N, resolution, resolution, 4], see `seen`.
      c: [N, 25], the photos' camera labels.
      render: [N, H, H, 3], the generator's images of `ws`; None: this is the
        first pass.
      ws: [N, rows, w_dim], the latents so far; required with `render`.

    Returns: Found; the number of rows of its ws is set by the config.
    """
    config = self.config
    count, side = seen.shape[0], config.resolution
    chex.assert_shape(seen, (None, side, side, 4))
    chex.assert_shape(c, (count, cameras.LABEL_SIZE))
    shape = (config.rows, config.w_dim)
    mean = self.variable(
      "buffers", "mean", jnp.zeros, (config.w_dim,), jnp.float32
    ).value
    scale = self.variable("buffers", "scale", jnp.ones, (), jnp.float32).value
    if render is None or ws is None:
      start = jnp.zeros((count, *shape), jnp.float32)
      render = jnp.zeros((count, side, side, 3), jnp.float32)
    else:
      start = (ws[:, : config.rows] - mean) / scale
      chex.assert_shape(start, (count, *shape))
      render = resized(render, side) * seen[..., 3:]
    dense = functools.partial(_Dense, precision=self.precision)
    about = jnp.concatenate([_camera_numbers(c), start.mean(axis=1)], axis=-1)
    about = _rectified(dense(config.features, name="about")(about))

    x = jnp.concatenate([seen, render], axis=-1)
    for i, channels in enumerate(config.channels):
      block = functools.partial(_Conv, channels, precision=self.precision)
      x = block(stride=2, name=f"down{i}")(x)
      moved = dense(2 * channels, zero=True, name=f"told{i}")(about)
      factor, offset = jnp.split(moved[:, None, None], 2, axis=-1)
      x = x * (1 + factor) + offset
      if i:  # the largest images cost most and carry little meaning yet
        y = block(name=f"inner{i}_0")(_rectified(x))
        y = block(name=f"inner{i}_1")(_rectified(y))
        gain = stored(self, f"gain{i}", nn.initializers.zeros, ())
        x = x + gain * y
      x = _rectified(x)
    x = x.reshape(count, -1)
    x = _rectified(dense(config.features, name="gathered")(x) + about)
    change = dense(math.prod(shape), zero=True, name="change")(x)
    doubt = dense(1, zero=True, name="doubt")(jax.lax.stop_gradient(x))
    start = start + change.reshape(count, *shape)
    return Found(mean + scale * start, jnp.exp(doubt[:, 0]))


def resized(x: Array, side: int) -> jax.Array:
  """Resizes images: block means if the side divides, otherwise bilinear."""
  if x.shape[1] == side:
    return jnp.asarray(x)
  if x.shape[1] % side == 0:
    block = x.shape[1] // side
    return x.reshape(x.shape[0], side, block, side, block, -1).mean((2, 4))
  return resize_bilinear(x, side, side)


def _camera_numbers(c: Array) -> jax.Array:
  """The parts of labels that vary, [N, 16], each of about unit scale."""
  cam2world, intrinsics = cameras.unpack_label(c)
  lens = intrinsics[:, jnp.array([0, 1, 0, 1]), jnp.array([0, 1, 2, 2])]
  return jnp.concatenate(
    [
      cam2world[:, :3, :3].reshape(-1, 9),
      cam2world[:, :3, 3] / _DISTANCE,
      # Errors of a crop amount to some percent of the focal length.
      (lens / jnp.array([cameras.FACE_FOCAL] * 2 + [0.5] * 2) - 1) * 10,
    ],
    axis=-1,
  )


def _rectified(x: jax.Array) -> jax.Array:
  return nn.leaky_relu(x, _SLOPE) * _GAIN


class _Dense(nn.Module):
  """A linear layer, x kernel + bias.

  Attributes:
    features: output features.
    zero: whether the kernel is initialized to 0.
    precision: matrix-product precision, see `jax.lax.Precision`.
  """

  features: int
  zero: bool = False
  precision: Any = None

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    kernel = stored(
      self,
      "kernel",
      nn.initializers.zeros if self.zero else nn.initializers.lecun_normal(),
      (x.shape[-1], self.features),
    )
    bias = stored(self, "bias", nn.initializers.zeros, (self.features,))
    return jnp.dot(x, kernel, precision=self.precision) + bias


class _Conv(nn.Module):
  """A 3x3 convolution whose kernel has mean 0 and variance 1 / inputs.

  Attributes:
    channels: output channels.
    stride: stride of the output, pixels.
    precision: matrix-product precision, see `jax.lax.Precision`.
  """

  channels: int
  stride: int = 1
  precision: Any = None

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    kernel = stored(
      self,
      "kernel",
      nn.initializers.lecun_normal(),
      (3, 3, x.shape[-1], self.channels),
    )
    gain = stored(self, "gain", nn.initializers.ones, (self.channels,))
    bias = stored(self, "bias", nn.initializers.zeros, (self.channels,))
    inputs = kernel.size // self.channels
    kernel = kernel - kernel.mean(axis=(0, 1, 2))
    size = jnp.sqrt(jnp.mean(jnp.square(kernel), axis=(0, 1, 2)) + _EPSILON)
    kernel = kernel * (gain / (size * math.sqrt(inputs)))
    # Padding before centers the kernel on pixels that stride 2 would skip.
    before = 1 if self.stride == 1 else 0
    padding = ((before, 1),) * 2
    return (
      convolution.conv2d(
        x, kernel, stride=self.stride, padding=padding, precision=self.precision
      )
      + bias
    )
