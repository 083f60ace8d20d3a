"""StyleGAN2's layers: fully connected, modulated convolution, to-RGB.

Parameters live in `params`, constants that training never touches (noise
maps, the mean of w) in `buffers`. Both are float32; `dtype` is what
activations are computed in.
"""

from typing import Any, Dict, Literal, Optional, Tuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from my3dgen_jax.config import LoraConfig
from my3dgen_jax.models.adapter import adapted
from my3dgen_jax.ops import low_rank, products
from my3dgen_jax.ops.bias_act import bias_act, scale_noise_bias_act
from my3dgen_jax.ops.modulated_conv import demodulation, modulated_conv2d
from my3dgen_jax.types import LayerDelta

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

  def parameter_shapes(self, inputs: int) -> Dict[str, Tuple[int, ...]]:
    """Name to shape, for `inputs` features."""
    return {"kernel": (inputs, self.features), "bias": (self.features,)}

  @nn.compact
  def scaled_weights(self, inputs: int, delta: LayerDelta = LayerDelta()
                     ) -> Tuple[jax.Array, jax.Array]:
    """The kernel [inputs, features] and bias [features] that multiply.

    A low-rank change joins after the gain of the kernel (My3DGen's choice);
    all other changes are to the stored parameters.
    """
    shapes = self.parameter_shapes(inputs)
    kernel = self.param("kernel",
                        nn.initializers.normal(1 / self.lr_multiplier),
                        shapes["kernel"])
    bias = self.param("bias", nn.initializers.constant(self.bias_init),
                      shapes["bias"])
    changed = low_rank.changed({"kernel": kernel, "bias": bias},
                               delta.replace(low_rank=None))
    kernel = changed["kernel"] * (self.lr_multiplier / inputs**0.5)
    if delta.low_rank is not None:
      kernel = low_rank.added(kernel, delta.low_rank)
    return kernel, changed["bias"] * self.lr_multiplier

  def __call__(self, x: chex.Array, delta: LayerDelta = LayerDelta()
               ) -> jax.Array:
    """[N, inputs] -> [N, features]."""
    kernel, bias = self.scaled_weights(x.shape[-1], delta)
    return bias_act(products.few_rows(x, kernel, precision=self.precision),
                    bias, activation=self.activation)


class SynthesisLayer(nn.Module):
  """Modulated 3x3 convolution, noise, bias, leaky ReLU, clamp.

  Attributes:
    features: output channels.
    resolution: side of the output.
    up: 1 or 2.
    clamp: bound on the output, or None.
    dtype: of activations.
    precision: of the products.
    lora: how the layer's affine map is adapted, if it is.
  """

  features: int
  resolution: int
  up: int = 1
  clamp: Optional[float] = None
  dtype: Any = jnp.float32
  precision: Any = None
  lora: Optional[LoraConfig] = None

  def parameter_shapes(self, inputs: int) -> Dict[str, Tuple[int, ...]]:
    """Name to shape, for `inputs` channels; the affine map's not included."""
    return {"kernel": (3, 3, inputs, self.features),
            "bias": (self.features,), "noise_strength": ()}

  @nn.compact
  def __call__(self, x: chex.Array, w: chex.Array, *, noise_mode: NoiseMode,
               delta: LayerDelta = LayerDelta()) -> jax.Array:
    """[N, H, W, I] and [N, w_dim] -> [N, up H, up W, features]."""
    shapes = self.parameter_shapes(x.shape[-1])
    stored = {
        "kernel": self.param("kernel", nn.initializers.normal(1.0),
                             shapes["kernel"]),
        "bias": self.param("bias", nn.initializers.zeros, shapes["bias"]),
        "noise_strength": self.param("noise_strength", nn.initializers.zeros,
                                     ())}
    changed = low_rank.changed(stored, delta)
    shape = (self.resolution, self.resolution)
    noise_const = self.variable(
        "buffers", "noise_const",
        lambda: jax.random.normal(self.make_rng("params"), shape))
    styles = adapted(self.lora, "affine", FullyConnected, x.shape[-1],
                     bias_init=1.0, precision=self.precision)(w)
    x = modulated_conv2d(x.astype(self.dtype), changed["kernel"], styles,
                         up=self.up, demodulate=False, base=stored["kernel"],
                         low_rank=delta.low_rank, precision=self.precision)
    noise = None
    if noise_mode != "none":
      noise = (noise_const.value if noise_mode == "const" else
               jax.random.normal(self.make_rng("noise"),
                                 (x.shape[0],) + shape))
    return scale_noise_bias_act(
        x, demodulation(changed["kernel"], styles), noise,
        changed["noise_strength"], changed["bias"], self.clamp)


class ToRGB(nn.Module):
  """Modulated 1x1 convolution to an image, without demodulation.

  Attributes:
    features: channels of the image.
    clamp: bound on the output, or None.
    dtype: of activations; the image itself is float32.
    precision: of the products.
    lora: how the layer's affine map is adapted, if it is.
  """

  features: int
  clamp: Optional[float] = None
  dtype: Any = jnp.float32
  precision: Any = None
  lora: Optional[LoraConfig] = None

  def parameter_shapes(self, inputs: int) -> Dict[str, Tuple[int, ...]]:
    """Name to shape, for `inputs` channels; the affine map's not included."""
    return {"kernel": (1, 1, inputs, self.features),
            "bias": (self.features,)}

  @nn.compact
  def __call__(self, x: chex.Array, w: chex.Array,
               delta: LayerDelta = LayerDelta()) -> jax.Array:
    """[N, H, W, I] and [N, w_dim] -> [N, H, W, features]."""
    inputs = x.shape[-1]
    shapes = self.parameter_shapes(inputs)
    changed = low_rank.changed({
        "kernel": self.param("kernel", nn.initializers.normal(1.0),
                             shapes["kernel"]),
        "bias": self.param("bias", nn.initializers.zeros, shapes["bias"])},
                               delta)
    styles = adapted(self.lora, "affine", FullyConnected, inputs,
                     bias_init=1.0,
                     precision=self.precision)(w) / inputs**0.5
    x = modulated_conv2d(x.astype(self.dtype), changed["kernel"], styles,
                         demodulate=False, precision=self.precision)
    return bias_act(x.astype(jnp.float32), changed["bias"], clamp=self.clamp)
