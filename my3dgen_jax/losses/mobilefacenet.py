"""MobileFaceNet: a cheap network from a face to a 128-number embedding.

    conv 3x3 3 -> 64, stride 2, norm; depthwise conv 3x3, norm;
    conv 1x1, norm
    15 bottlenecks: conv 1x1 to more channels, norm; depthwise conv 3x3
    with the stride, norm; conv 1x1 to fewer channels, norm; added to the
    input if it has the same shape
    conv 1x1 -> 512, norm; depthwise conv 7x7 over all remaining pixels,
    norm; linear, norm, unit length

The paper uses PReLU. The weights published with PyTorch code, and so this
module, use min(max(x, 0), 6), and max(x, 0) after the second and the third
convolution; sums and linear layers have no activation.

Batch normalization uses the stored statistics: this network is not trained
here.

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

SIDE = 112  # side of the input images, pixels

_LAST = SIDE // 16  # side of the bottlenecks' output, pixels
_EPSILON = 1e-5  # added to variances, as when the weights were trained
_SHORTEST = 1e-24  # squared length below which an embedding has no direction


class MobileFaceNet(nn.Module):
  """The network; its weights are `params` and `batch_stats`, float32.

  Attributes:
    stages: groups of bottlenecks: expansion factor of the inner channels,
      output channels, number of bottlenecks, and the stride of the first.
    channels: channels of the convolutions before the bottlenecks.
    last_channels: channels of the convolutions after them.
    features: numbers in an embedding.
    dtype: dtype of the activations.
    precision: matrix-product precision, see `jax.lax.Precision`.
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
      x: [N, 112, 112, 3], RGB, standardized as for the network's training.

    Returns: [N, features] float32, of unit length.
    Raises: AssertionError on any other shape.
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
    # A kernel as large as the image: it gives the face's middle more weight.
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
  """A square convolution and batch normalization.

  Attributes:
    channels: output channels.
    size: side of the kernel, pixels.
    stride: stride of the output, pixels.
    padding: zeros on every side, pixels; None: keep the image's size.
    depthwise: a separate kernel for each channel, which sees no other.
    bias: whether the convolution adds a bias.
    precision: matrix-product precision, see `jax.lax.Precision`.
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
  """Depthwise convolution, [N, H, W, C] with [k, k, 1, C].

  A sum of shifted images, which takes a CPU a tenth of the time of XLA's
  grouped convolution.
  """
  x, dtype = x.astype(jnp.float32), x.dtype
  rows, columns = (
    (side + 2 * padding - kernel.shape[0]) // stride for side in x.shape[1:3]
  )  # end of the last window
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
