"""Feature stacks of image classifiers: AlexNet, VGG-16, SqueezeNet 1.1.

A network is a tuple of layers, in the order and numbering of torchvision's
`features`, so layer i holds what its files call `features.i`. Layers after the
last one that is compared are left out, and so is the classifier. One more
network, "small", is trained by the demo itself.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.ops import convolution
from my3dgen_jax.tracing.parameters import stored
from my3dgen_jax.tracing.platforms import by_platform
from my3dgen_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Conv:
  """A square convolution with bias.

  Attributes:
    channels: output channels.
    size: side of the kernel, pixels.
    stride: stride of the output, pixels.
    padding: zeros on every side, pixels.
  """

  channels: int
  size: int
  stride: int = 1
  padding: int = 0


@dataclasses.dataclass(frozen=True)
class Relu:
  """max(x, 0)."""


@dataclasses.dataclass(frozen=True)
class MaxPool:
  """Max-pooling with stride 2.

  Attributes:
    size: side of the window, pixels.
    ceil: whether a last window that only starts inside the image counts.
  """

  size: int
  ceil: bool = False


@dataclasses.dataclass(frozen=True)
class Fire:
  """SqueezeNet's module: a 1x1 convolution, then 1x1 and 3x3 in parallel.

  Attributes:
    squeeze: channels of the first convolution.
    expand: channels of each of the two parallel ones.
  """

  squeeze: int
  expand: int

  @property
  def channels(self) -> int:
    """Output channels."""
    return 2 * self.expand


Layer = Conv | Relu | MaxPool | Fire


@dataclasses.dataclass(frozen=True)
class Network:
  """A stack of layers and what is known of it.

  Attributes:
    title: name in messages.
    layers: the layers, from the image on.
    taps: the layers whose outputs LPIPS 0.1 compares.
    smallest: smallest input side for which every layer has an output, pixels.
  """

  title: str
  layers: tuple[Layer, ...]
  taps: tuple[int, ...]
  smallest: int

  def tap_channels(self) -> tuple[int, ...]:
    """Channels of the outputs at `taps`."""
    return tuple(
      next(
        layer.channels
        for layer in reversed(self.layers[: tap + 1])
        if isinstance(layer, (Conv, Fire))
      )
      for tap in self.taps
    )


def _rectified(*convs: Conv) -> tuple[Layer, ...]:
  return tuple(layer for conv in convs for layer in (conv, Relu()))


def _vgg_block(channels: int, convs: int) -> tuple[Layer, ...]:
  return _rectified(*[Conv(channels, 3, padding=1)] * convs)


# Sources: Krizhevsky, "One weird trick for parallelizing convolutional neural
# networks" (2014); Simonyan and Zisserman, "Very deep convolutional networks
# for large-scale image recognition" (2015), configuration D; Iandola et al.,
# "SqueezeNet" (2016), version 1.1 of its authors' repository.
NETWORKS: Mapping[str, Network] = {
  "alex": Network(
    "AlexNet",
    (
      *_rectified(Conv(64, 11, stride=4, padding=2)),
      MaxPool(3),
      *_rectified(Conv(192, 5, padding=2)),
      MaxPool(3),
      *_rectified(
        Conv(384, 3, padding=1),
        Conv(256, 3, padding=1),
        Conv(256, 3, padding=1),
      ),
    ),
    taps=(1, 4, 7, 9, 11),
    smallest=31,
  ),
  "vgg": Network(
    "VGG-16",
    (
      *_vgg_block(64, 2),
      MaxPool(2),
      *_vgg_block(128, 2),
      MaxPool(2),
      *_vgg_block(256, 3),
      MaxPool(2),
      *_vgg_block(512, 3),
      MaxPool(2),
      *_vgg_block(512, 3),
    ),
    taps=(3, 8, 15, 22, 29),
    smallest=16,
  ),
  "squeeze": Network(
    "SqueezeNet 1.1",
    (
      *_rectified(Conv(64, 3, stride=2)),
      MaxPool(3, ceil=True),
      Fire(16, 64),
      Fire(16, 64),
      MaxPool(3, ceil=True),
      Fire(32, 128),
      Fire(32, 128),
      MaxPool(3, ceil=True),
      Fire(48, 192),
      Fire(48, 192),
      Fire(64, 256),
      Fire(64, 256),
    ),
    taps=(1, 4, 7, 9, 10, 11, 12),
    smallest=17,
  ),
  # The first tap keeps every pixel: a mole is four pixels wide.
  "small": Network(
    "small stack",
    _rectified(
      Conv(16, 3, padding=1),
      Conv(32, 3, stride=2, padding=1),
      Conv(48, 3, stride=2, padding=1),
      Conv(64, 3, stride=2, padding=1),
    ),
    taps=(1, 3, 5, 7),
    smallest=1,
  ),
}
PUBLISHED = ("alex", "vgg", "squeeze")  # networks with published weights


class FeatureStack(nn.Module):
  """Runs a network and returns the outputs of the chosen layers.

  Its float32 parameters are `layerI/kernel` [k, k, in, out] and `layerI/bias`,
  or, if layer I is a `Fire`, `layerI/squeeze/…`, `layerI/expand1x1/…` and
  `layerI/expand3x3/…`.

  Attributes:
    network: a key of `NETWORKS`.
    taps: layers whose outputs are returned, ascending; None: LPIPS's layers.
    dtype: dtype of the activations.
    precision: matrix-product precision, see `jax.lax.Precision`.
    pool: replacement for `max_pool`, called with its arguments, that halves
      the image; None: `max_pool` itself.
  """

  network: str
  taps: tuple[int, ...] | None = None
  dtype: Any = jnp.float32
  precision: Any = None
  pool: Callable[[jax.Array, MaxPool], jax.Array] | None = None

  @nn.compact
  def __call__(
    self, x: Array, *, gradient_rows: int | None = None
  ) -> tuple[jax.Array, ...]:
    """Maps images to features.

    Args:
      x: [N, H, W, 3], standardized as for the network's training; H and W at
        least the network's `smallest`.
      gradient_rows: number of images, from the first on, that gradients pass
        to; None: all.

    Returns: [N, H', W', C] for each tap.
    Raises: AssertionError on any other rank or number of channels.
    """
    chex.assert_shape(x, (None, None, None, 3))
    network = NETWORKS[self.network]
    taps = network.taps if self.taps is None else self.taps
    x = x.astype(self.dtype)
    outputs: dict[int, jax.Array] = {}
    for index, layer in enumerate(network.layers[: taps[-1] + 1]):
      name = f"layer{index}"
      if isinstance(layer, Conv):
        x = _Convolution(layer, self.precision, gradient_rows, name=name)(x)
      elif isinstance(layer, Fire):
        x = _FireModule(layer, self.precision, gradient_rows, name=name)(x)
      elif isinstance(layer, MaxPool):
        pool = self.pool or max_pool
        if gradient_rows is None:
          x = pool(x, layer)
        else:
          x = convolution.first_rows_gradient(
            functools.partial(pool, layer=layer), gradient_rows
          )(x)
      else:
        x = nn.relu(x)
      outputs[index] = x
    return tuple(outputs[tap] for tap in taps)


class _Convolution(nn.Module):
  """The layer `Conv` with its weights."""

  layer: Conv
  precision: Any = None
  gradient_rows: int | None = None

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    layer = self.layer
    kernel = stored(
      self,
      "kernel",
      nn.initializers.he_normal(),
      (layer.size, layer.size, x.shape[-1], layer.channels),
    )
    bias = stored(self, "bias", nn.initializers.zeros, (layer.channels,))
    convolve = functools.partial(
      convolution.conv2d,
      stride=layer.stride,
      padding=((layer.padding, layer.padding),) * 2,
      precision=self.precision,
    )
    if self.gradient_rows is not None:
      convolve = convolution.first_rows_gradient(convolve, self.gradient_rows)
    x = convolve(x, kernel)
    return x + bias.astype(x.dtype)


class _FireModule(nn.Module):
  """The layer `Fire` with its weights."""

  layer: Fire
  precision: Any = None
  gradient_rows: int | None = None

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    def conv(name: str, x: Array, layer: Conv) -> jax.Array:
      return nn.relu(
        _Convolution(layer, self.precision, self.gradient_rows, name=name)(x)
      )

    x = conv("squeeze", x, Conv(self.layer.squeeze, 1))
    return jnp.concatenate(
      [
        conv("expand1x1", x, Conv(self.layer.expand, 1)),
        conv("expand3x3", x, Conv(self.layer.expand, 3, padding=1)),
      ],
      axis=-1,
    )


def max_pool(x: Array, layer: MaxPool) -> jax.Array:
  """Pools with stride 2.

  Args:
    x: [N, H, W, C].
    layer: the window.

  Returns: [N, H', W', C] with H' = (H - size) / 2 + 1, rounded down or, with
    `ceil`, up; windows are then cut off at the border. Equal maxima share no
    fixed rule for the gradient: it goes to some of them.
  """
  return _max_pool(layer)(x)


@functools.cache
def _max_pool(layer: MaxPool) -> Callable[[jax.Array], jax.Array]:
  def places(size):
    """Distance from the first window to the last, and beyond the border."""
    last = 2 * ((size - layer.size + layer.ceil) // 2)
    return last, max(last + layer.size - size, 0)

  def by_axis(x):
    # The gradient of XLA's own pooling takes a CPU eight times as long.
    for axis in (1, 2):
      last, beyond = places(x.shape[axis])
      if beyond:
        padding = [(0, 0)] * x.ndim
        padding[axis] = (0, beyond)
        x = jnp.pad(x, padding, constant_values=-jnp.inf)
      x = functools.reduce(
        jnp.maximum,
        [
          jax.lax.slice_in_dim(x, start, start + last + 1, 2, axis)
          for start in range(layer.size)
        ],
      )
    return x

  def windows(x):
    beyond = [(0, places(size)[1]) for size in x.shape[1:3]]
    return jax.lax.reduce_window(
      x,
      np.array(-np.inf, x.dtype),
      jax.lax.max,
      (1, layer.size, layer.size, 1),
      (1, 2, 2, 1),
      ((0, 0), *beyond, (0, 0)),
    )

  return by_platform(cpu=by_axis, default=windows)
