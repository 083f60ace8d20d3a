"""StyleGAN2's layers: fully connected, modulated convolution, to-RGB.

Parameters live in `params`, constants that training never touches (noise
maps, the mean of w) in `buffers`. Both are float32; `dtype` is what
activations are computed in.
"""

from typing import Any, Literal, Optional

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from my3dgen_jax.ops.bias_act import bias_act
from my3dgen_jax.ops.modulated_conv import modulated_conv2d

NoiseMode = Literal["const", "random", "none"]
NOISE_MODES = ("const", "random", "none")


class FullyConnected(nn.Module):
  """y = x (kernel lr / sqrt(inputs)) + bias lr, then the activation.

  Attributes:
    features: outputs.
    activation: see `ops.bias_act`.
    lr_multiplier: the learning rate relative to the other layers', which
      the stored weights are divided by.
    bias_init: of the stored bias.
    precision: of the products.
  """

  features: int
  activation: Literal["linear", "lrelu"] = "linear"
  lr_multiplier: float = 1.0
  bias_init: float = 0.0
  precision: Any = None

  @nn.compact
  def scaled_weights(self, inputs: int):
    """The kernel [inputs, features] and bias [features] that multiply."""
    kernel = self.param("kernel",
                        nn.initializers.normal(1 / self.lr_multiplier),
                        (inputs, self.features))
    bias = self.param("bias", nn.initializers.constant(self.bias_init),
                      (self.features,))
    return (kernel * (self.lr_multiplier / inputs**0.5),
            bias * self.lr_multiplier)

  def __call__(self, x: chex.Array) -> jax.Array:
    kernel, bias = self.scaled_weights(x.shape[-1])
    return bias_act(jnp.matmul(x, kernel, precision=self.precision), bias,
                    activation=self.activation)


class SynthesisLayer(nn.Module):
  """Modulated 3x3 convolution, noise, bias, leaky ReLU, clamp.

  Attributes:
    features: output channels.
    resolution: side of the output.
    up: 1 or 2.
    clamp: bound on the output, or None.
    dtype: of activations.
    precision: of the products.
  """

  features: int
  resolution: int
  up: int = 1
  clamp: Optional[float] = None
  dtype: Any = jnp.float32
  precision: Any = None

  @nn.compact
  def __call__(self, x: chex.Array, w: chex.Array, *,
               noise_mode: NoiseMode) -> jax.Array:
    """[N, H, W, I] and [N, w_dim] -> [N, up H, up W, features]."""
    inputs = x.shape[-1]
    kernel = self.param("kernel", nn.initializers.normal(1.0),
                        (3, 3, inputs, self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    strength = self.param("noise_strength", nn.initializers.zeros, ())
    shape = (self.resolution, self.resolution)
    noise_const = self.variable(
        "buffers", "noise_const",
        lambda: jax.random.normal(self.make_rng("params"), shape))
    styles = FullyConnected(inputs, bias_init=1.0, precision=self.precision,
                            name="affine")(w)
    x = modulated_conv2d(x.astype(self.dtype), kernel, styles, up=self.up,
                         precision=self.precision)
    if noise_mode != "none":
      noise = (noise_const.value if noise_mode == "const" else
               jax.random.normal(self.make_rng("noise"),
                                 (x.shape[0],) + shape))
      x = x + (strength * noise)[..., None].astype(x.dtype)
    return bias_act(x, bias, activation="lrelu", clamp=self.clamp)


class ToRGB(nn.Module):
  """Modulated 1x1 convolution to an image, without demodulation.

  Attributes:
    features: channels of the image.
    clamp: bound on the output, or None.
    dtype: of activations; the image itself is float32.
    precision: of the products.
  """

  features: int
  clamp: Optional[float] = None
  dtype: Any = jnp.float32
  precision: Any = None

  @nn.compact
  def __call__(self, x: chex.Array, w: chex.Array) -> jax.Array:
    """[N, H, W, I] and [N, w_dim] -> [N, H, W, features]."""
    inputs = x.shape[-1]
    kernel = self.param("kernel", nn.initializers.normal(1.0),
                        (1, 1, inputs, self.features))
    bias = self.param("bias", nn.initializers.zeros, (self.features,))
    styles = FullyConnected(inputs, bias_init=1.0, precision=self.precision,
                            name="affine")(w) / inputs**0.5
    x = modulated_conv2d(x.astype(self.dtype), kernel, styles,
                         demodulate=False, precision=self.precision)
    return bias_act(x.astype(jnp.float32), bias, clamp=self.clamp)
