"""StyleGAN2's layers: fully connected, modulated convolution, to-RGB.

Parameters are in `params`, constants that training never changes (noise maps,
the mean of w) in `buffers`. Both are computed with as float32, which is also
how they are stored unless a caller shrinks them; `dtype` is for activations.
"""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from my3dgen_jax.config import LoraConfig
from my3dgen_jax.models.adapter import adapted
from my3dgen_jax.ops import low_rank, products
from my3dgen_jax.ops.bias_act import bias_act, scale_noise_bias_act
from my3dgen_jax.ops.modulated_conv import modulated_conv2d, pointwise
from my3dgen_jax.tracing.parameters import stored
from my3dgen_jax.types import (
  Array,
  LayerDelta,
  LayerWeights,
  ModulatedConv,
  ModulatedRGB,
)

NoiseMode = Literal["const", "random", "none"]
NOISE_MODES = ("const", "random", "none")


class FullyConnected(nn.Module):
  """y = x (kernel lr / sqrt(inputs)) + bias lr, then the activation.

  Attributes:
    features: output features.
    activation: see `ops.bias_act`.
    lr_multiplier: the learning rate relative to other layers'; the stored
      weights are divided by it.
    bias_init: initial value of the stored bias.
    precision: matrix-product precision, see `jax.lax.Precision`.
  """

  features: int
  activation: Literal["linear", "lrelu"] = "linear"
  lr_multiplier: float = 1.0
  bias_init: float = 0.0
  precision: Any = None

  def parameter_shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters by name, for `inputs` features."""
    return {"kernel": (inputs, self.features), "bias": (self.features,)}

  @nn.compact
  def weights(
    self, inputs: int, delta: LayerDelta = LayerDelta()
  ) -> LayerWeights:
    """The stored parameters for `inputs` features, and their changes."""
    shapes = self.parameter_shapes(inputs)
    return LayerWeights(
      delta=delta,
      stored={
        "kernel": stored(
          self,
          "kernel",
          nn.initializers.normal(1 / self.lr_multiplier),
          shapes["kernel"],
        ),
        "bias": stored(
          self, "bias", nn.initializers.constant(self.bias_init), shapes["bias"]
        ),
      },
    )

  def scaled_weights(
    self, inputs: int, delta: LayerDelta = LayerDelta()
  ) -> tuple[jax.Array, jax.Array]:
    """The effective kernel [inputs, features] and bias [features].

    A low-rank change is added after the kernel's gain (My3DGen's choice); all
    other changes are to the stored parameters.
    """
    (changed,) = low_rank.changed(
      [self.weights(inputs, dataclasses.replace(delta, low_rank=None))]
    )
    kernel = changed["kernel"] * (self.lr_multiplier / inputs**0.5)
    if delta.low_rank is not None:
      kernel = low_rank.added(kernel, delta.low_rank)
    return kernel, changed["bias"] * self.lr_multiplier

  def __call__(self, x: Array, delta: LayerDelta = LayerDelta()) -> jax.Array:
    """Maps [N, inputs] to [N, features]."""
    kernel, bias = self.scaled_weights(x.shape[-1], delta)
    return bias_act(
      products.few_rows(x, kernel, precision=self.precision),
      bias,
      activation=self.activation,
    )


class SynthesisLayer(nn.Module):
  """Modulated 3x3 convolution, noise, bias, leaky ReLU, clamp.

  Attributes:
    features: output channels.
    resolution: side of the output, pixels.
    w_dim: size of w.
    up: upsampling factor, 1 or 2.
    clamp: bound on the output's absolute value, or None.
    dtype: dtype of the activations.
    precision: matrix-product precision, see `jax.lax.Precision`.
    lora: how the layer's affine map is adapted, or None.
  """

  features: int
  resolution: int
  w_dim: int
  up: int = 1
  clamp: float | None = None
  dtype: Any = jnp.float32
  precision: Any = None
  lora: LoraConfig | None = None

  def parameter_shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes by name, for `inputs` channels; without the affine map's."""
    return {
      "kernel": (3, 3, inputs, self.features),
      "bias": (self.features,),
      "noise_strength": (),
    }

  @nn.compact
  def weights(
    self, inputs: int, delta: LayerDelta = LayerDelta()
  ) -> LayerWeights:
    """The stored parameters for `inputs` channels, and their changes."""
    shapes = self.parameter_shapes(inputs)
    own = {
      "kernel": stored(
        self, "kernel", nn.initializers.normal(1.0), shapes["kernel"]
      ),
      "bias": stored(self, "bias", nn.initializers.zeros, shapes["bias"]),
      "noise_strength": stored(
        self, "noise_strength", nn.initializers.zeros, ()
      ),
    }
    noise_const = self.variable(
      "buffers",
      "noise_const",
      lambda: jax.random.normal(
        self.make_rng("params"), (self.resolution, self.resolution), jnp.float32
      ),
    )
    return LayerWeights(
      stored=own,
      delta=delta,
      affine=_affine_weights(self, inputs),
      noise_const=noise_const.value.astype(jnp.float32),
    )

  def run(
    self, x: Array, weights: ModulatedConv, *, noise_mode: NoiseMode
  ) -> jax.Array:
    """Maps [N, H, W, I] to [N, up H, up W, features]."""
    x = modulated_conv2d(
      x.astype(self.dtype),
      weights.kernel,
      weights.styles,
      up=self.up,
      demodulate=False,
      base=weights.base,
      low_rank=weights.low_rank,
      precision=self.precision,
    )
    noise = None
    if noise_mode != "none":
      noise = (
        weights.noise_const
        if noise_mode == "const"
        else jax.random.normal(
          self.make_rng("noise"), x.shape[:-1], jnp.float32
        )
      )
    return scale_noise_bias_act(
      x, weights.scale, noise, weights.noise_strength, weights.bias, self.clamp
    )


class ToRGB(nn.Module):
  """Modulated 1x1 convolution to an image, without demodulation.

  Attributes:
    features: channels of the image.
    w_dim: size of w.
    clamp: bound on the output's absolute value, or None.
    dtype: dtype of the activations; the image itself is float32.
    precision: matrix-product precision, see `jax.lax.Precision`.
    lora: how the layer's affine map is adapted, or None.
  """

  features: int
  w_dim: int
  clamp: float | None = None
  dtype: Any = jnp.float32
  precision: Any = None
  lora: LoraConfig | None = None

  def parameter_shapes(self, inputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes by name, for `inputs` channels; without the affine map's."""
    return {"kernel": (1, 1, inputs, self.features), "bias": (self.features,)}

  @nn.compact
  def weights(
    self, inputs: int, delta: LayerDelta = LayerDelta()
  ) -> LayerWeights:
    """The stored parameters for `inputs` channels, and their changes."""
    shapes = self.parameter_shapes(inputs)
    own = {
      "kernel": stored(
        self, "kernel", nn.initializers.normal(1.0), shapes["kernel"]
      ),
      "bias": stored(self, "bias", nn.initializers.zeros, shapes["bias"]),
    }
    return LayerWeights(
      stored=own, delta=delta, affine=_affine_weights(self, inputs)
    )

  def run(self, x: Array, weights: ModulatedRGB) -> jax.Array:
    """Maps [N, H, W, I] to [N, H, W, features], float32."""
    x = pointwise(
      x.astype(self.dtype), weights.kernel, precision=self.precision
    )
    x = x.astype(jnp.float32) + weights.bias[:, None, None, :]
    return bias_act(x, clamp=self.clamp)


def _affine_weights(layer: SynthesisLayer | ToRGB, inputs: int) -> LayerWeights:
  """Weights of the affine map from w to styles, which is part of the layer."""
  return adapted(
    layer.lora, "affine", FullyConnected, inputs, bias_init=1.0
  ).weights(layer.w_dim)
