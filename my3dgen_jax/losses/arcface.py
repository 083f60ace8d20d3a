"""ArcFace's IR-SE-50: maps a face to a 512-number identity embedding.

    conv 3x3 3 -> 64, norm, PReLU
    24 units in four stages; the first of each halves the image
    norm, linear over all remaining pixels, norm, unit length

A unit adds to its input (subsampled, with a 1x1 convolution and norm where the
channels change): norm, conv 3x3, PReLU, conv 3x3 with the stride, norm,
squeeze-and-excitation.

Batch normalization uses the stored statistics, except during training, when it
normalizes with the batch's statistics and updates the stored ones.

Sources: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face
Recognition", CVPR 2019, section 2 (the units and the head); Hu et al.,
"Squeeze-and-Excitation Networks", CVPR 2018.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from my3dgen_jax.ops import convolution
from my3dgen_jax.tracing.parameters import stored
from my3dgen_jax.types import Array

SIDE = 112  # side of the input images, pixels

_EPSILON = 1e-5  # added to variances, as when the weights were trained
_MOMENTUM = 0.9  # decay of the stored statistics per training step
_REDUCTION = 16  # channel reduction in squeeze-and-excitation
_SHORTEST = 1e-24  # squared length below which an embedding has no direction


class IrSe(nn.Module):
  """The network; its weights are `params` and `batch_stats`, float32.

  Attributes:
    channels: output channels of each stage; the first convolution has as many
      as the first stage.
    units: number of units in each stage.
    features: numbers in an embedding.
    dtype: dtype of the activations.
    precision: matrix-product precision, see `jax.lax.Precision`.
    train: normalize with the batch's statistics and update `batch_stats`,
      which must be mutable.
  """

  channels: tuple[int, ...] = (64, 128, 256, 512)
  units: tuple[int, ...] = (3, 4, 14, 3)
  features: int = 512
  dtype: Any = jnp.float32
  precision: Any = None
  train: bool = False

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    """Faces to embeddings.

    Args:
      x: [N, 112, 112, 3], RGB in [-1, 1].

    Returns: [N, features] float32, of unit length.
    Raises: AssertionError on any other shape.
    """
    chex.assert_shape(x, (None, SIDE, SIDE, 3))
    x = x.astype(self.dtype)
    x = _Conv(self.channels[0], 3, precision=self.precision, name="input_conv")(
      x
    )
    x = _Norm(self.train, name="input_norm")(x)
    x = _Prelu(name="input_prelu")(x)
    index = 0
    for channels, units in zip(self.channels, self.units):
      for position in range(units):
        x = _Unit(
          channels,
          stride=1 if position else 2,
          precision=self.precision,
          train=self.train,
          name=f"unit{index}",
        )(x)
        index += 1
    x = _Norm(self.train, name="output_norm")(x)
    # All pixels at once: a kernel as large as the image.
    x = _Linear(self.features, precision=self.precision, name="linear")(x)
    x = _Norm(self.train, name="features_norm")(x).astype(jnp.float32)
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, _SHORTEST))


class _Conv(nn.Module):
  """A square convolution without bias, padded to keep the image's size."""

  channels: int
  size: int
  stride: int = 1
  precision: Any = None

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    kernel = stored(
      self,
      "kernel",
      nn.initializers.he_normal(),
      (self.size, self.size, x.shape[-1], self.channels),
    )
    return convolution.conv2d(
      x,
      kernel,
      stride=self.stride,
      padding=((self.size // 2,) * 2,) * 2,
      precision=self.precision,
    )


class _Linear(nn.Module):
  """A linear layer over the whole image: [N, H, W, C] -> [N, features]."""

  features: int
  precision: Any = None

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    kernel = stored(
      self, "kernel", nn.initializers.he_normal(), (*x.shape[1:], self.features)
    )
    bias = stored(self, "bias", nn.initializers.zeros, (self.features,))
    x = jnp.einsum(
      "nhwc,hwcf->nf", x, kernel.astype(x.dtype), precision=self.precision
    )
    return x + bias.astype(x.dtype)


class _Norm(nn.Module):
  """Batch normalization: one factor and one offset per channel."""

  train: bool = False

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    shape = x.shape[-1:]
    scale = stored(self, "scale", nn.initializers.ones, shape)
    bias = stored(self, "bias", nn.initializers.zeros, shape)
    mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
    var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
    used = tuple(kept.value.astype(jnp.float32) for kept in (mean, var))
    if self.train:
      seen = x.astype(jnp.float32)
      axes = tuple(range(x.ndim - 1))
      used = jnp.mean(seen, axes), jnp.var(seen, axes)
      if not self.is_initializing():
        for kept, value in zip((mean, var), used):
          kept.value += (1 - _MOMENTUM) * (value - kept.value)
    scale = scale * jax.lax.rsqrt(used[1] + _EPSILON)
    offset = bias - used[0] * scale
    return x * scale.astype(x.dtype) + offset.astype(x.dtype)


class _Prelu(nn.Module):
  """x where it is positive, otherwise x times its channel's slope."""

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    slope = stored(self, "slope", nn.initializers.constant(0.25), x.shape[-1:])
    return jnp.where(x > 0, x, x * slope.astype(x.dtype))


class _Unit(nn.Module):
  """A residual unit; see the module's docstring."""

  channels: int
  stride: int
  precision: Any = None
  train: bool = False

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    def norm(name: str, x: Array) -> jax.Array:
      return _Norm(self.train, name=name)(x)

    def conv(
      name: str,
      x: Array,
      size: int,
      stride: int = 1,
      channels: int = self.channels,
    ) -> jax.Array:
      return _Conv(channels, size, stride, self.precision, name=name)(x)

    # One-pixel windows: max-pooling and a strided 1x1 product both subsample.
    shortcut = x[:, :: self.stride, :: self.stride]
    if x.shape[-1] != self.channels:
      shortcut = norm("shortcut_norm", conv("shortcut_conv", shortcut, 1))
    x = conv("conv1", norm("norm1", x), 3)
    x = conv("conv2", _Prelu(name="prelu")(x), 3, self.stride)
    x = norm("norm2", x)
    gate = jnp.mean(x, axis=(1, 2), keepdims=True)
    gate = nn.relu(
      conv("squeeze", gate, 1, channels=max(self.channels // _REDUCTION, 1))
    )
    return x * nn.sigmoid(conv("excite", gate, 1)) + shortcut
