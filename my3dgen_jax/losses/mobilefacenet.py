"""MobileFaceNet: a face to 128 numbers that tell whose it is, at little cost.

    conv 3x3 3 -> 64, stride 2, norm; conv 3x3 of each channel, norm;
    conv 1x1, norm
    15 bottlenecks: conv 1x1 to more channels, norm; conv 3x3 of each channel
    with the stride, norm; conv 1x1 to fewer channels, norm; added to the
    input where it has the same shape
    conv 1x1 -> 512, norm; conv 7x7 of each channel over all that is left,
    norm; linear, norm, unit length

The paper rectifies with PReLU. The weights that are published with PyTorch
code, and so this module, have min(max(x, 0), 6), after the second and the
third convolution max(x, 0); what is added and what is linear is not rectified.

Batch normalisation uses its stored statistics: this network judges.

Sources: Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time
Face Verification on Mobile Devices", CCBR 2018, section 3.2 and table 1;
Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
CVPR 2018.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from my3dgen_jax.ops import convolution
from my3dgen_jax.tracing.parameters import stored
from my3dgen_jax.types import Array

SIDE = 112  # of the images, pixels

_LAST = SIDE // 16  # side of what the bottlenecks leave, pixels
_EPSILON = 1e-5  # added to variances, as the weights were trained with
_SHORTEST = 1e-24  # squared length below which an embedding has no direction


class MobileFaceNet(nn.Module):
  """The network; its weights are `params` and `batch_stats`, float32.

  Attributes:
    stages: of bottlenecks: factor of the channels inside, channels of the
      output, how many, and the stride of the first.
    channels: of the convolutions before the bottlenecks.
    last_channels: of the convolutions after them.
    features: numbers in an embedding.
    dtype: activations are computed in it.
    precision: of the products.
  """

  stages: tuple[tuple[int, int, int, int], ...] = (
    (2, 64, 5, 2),
    (4, 128, 1, 2),
    (2, 128, 6, 1),
    (4, 128, 1, 2),
    (2, 128, 2, 1),
  )
  channels: int = 64
  last_channels: int = 512
  features: int = 128
  dtype: Any = jnp.float32
  precision: Any = None

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    """Faces to embeddings.

    Args:
      x: [N, 112, 112, 3], RGB, standardised as the network was trained.

    Returns: [N, features] float32, of unit length.
    Raises: AssertionError on another shape.
    """
    chex.assert_shape(x, (None, SIDE, SIDE, 3))

    def conv(
      name: str, x: jax.Array, channels: int, size: int = 1, **options: Any
    ) -> jax.Array:
      return _ConvNorm(
        channels, size, precision=self.precision, name=name, **options
      )(x)

    x = x.astype(self.dtype)
    x = nn.relu6(conv("input", x, self.channels, 3, stride=2))
    x = nn.relu(conv("input_depthwise", x, self.channels, 3, depthwise=True))
    x = nn.relu(conv("input_pointwise", x, self.channels))
    index = 0
    for factor, channels, count, stride in self.stages:
      for position in range(count):
        step = 1 if position else stride
        wide = factor * x.shape[-1]
        y = nn.relu6(conv(f"block{index}_expand", x, wide))
        y = nn.relu6(
          conv(
            f"block{index}_depthwise", y, wide, 3, stride=step, depthwise=True
          )
        )
        y = conv(f"block{index}_project", y, channels)
        x = x + y if x.shape == y.shape else y
        index += 1
    x = nn.relu6(conv("output", x, self.last_channels))
    # A kernel as large as the image: it weighs the middle of the face more.
    x = conv(
      "output_depthwise",
      x,
      self.last_channels,
      _LAST,
      depthwise=True,
      padding=0,
    )
    x = conv("embedding", x, self.features, bias=True)
    x = x[:, 0, 0].astype(jnp.float32)
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, _SHORTEST))


class _ConvNorm(nn.Module):
  """A square convolution and batch normalisation.

  Attributes:
    channels: of the output.
    size: of the kernel.
    stride: of the output.
    padding: zeros on every side; None: as many as keep the image's size.
    depthwise: every channel has a kernel of its own and sees no other.
    bias: the convolution adds one.
    precision: of the products.
  """

  channels: int
  size: int
  stride: int = 1
  padding: int | None = None
  depthwise: bool = False
  bias: bool = False
  precision: Any = None

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    padding = self.size // 2 if self.padding is None else self.padding
    kernel = stored(
      self,
      "kernel",
      nn.initializers.he_normal(),
      (
        self.size,
        self.size,
        1 if self.depthwise else x.shape[-1],
        self.channels,
      ),
    )
    if self.depthwise:
      x = _depthwise(x, kernel, self.stride, padding)
    else:
      x = convolution.conv2d(
        x,
        kernel,
        stride=self.stride,
        padding=((padding,) * 2,) * 2,
        precision=self.precision,
      )
    if self.bias:
      bias = stored(self, "bias", nn.initializers.zeros, (self.channels,))
      x = x + bias.astype(x.dtype)
    return nn.BatchNorm(
      use_running_average=True, epsilon=_EPSILON, dtype=x.dtype, name="norm"
    )(x)


def _depthwise(x: Array, kernel: Array, stride: int, padding: int) -> jax.Array:
  """A kernel for each channel, [N, H, W, C] with [k, k, 1, C].

  A sum of shifted images, which takes a CPU a tenth of the time that XLA's
  grouped convolution takes.
  """
  x, dtype = x.astype(jnp.float32), x.dtype
  rows, columns = (
    (side + 2 * padding - kernel.shape[0]) // stride for side in x.shape[1:3]
  )  # the last that a window is of
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

  def shifted(i: int, j: int) -> jax.Array:
    return jax.lax.slice(
      x,
      (0, i, j, 0),
      (x.shape[0], i + rows * stride + 1, j + columns * stride + 1, x.shape[3]),
      (1, stride, stride, 1),
    )

  return sum(
    shifted(i, j) * kernel[i, j, 0]
    for i in range(kernel.shape[0])
    for j in range(kernel.shape[1])
  ).astype(dtype)
