"""StyleGAN2's synthesis network, and EG3D's backbone around it."""

from typing import Any, Optional, Tuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from my3dgen_jax.config import GeneratorConfig, LoraConfig
from my3dgen_jax.models.adapter import adapted
from my3dgen_jax.models.layers import NoiseMode, SynthesisLayer, ToRGB
from my3dgen_jax.models.mapping import MappingNetwork
from my3dgen_jax.ops.upfirdn2d import upsample2


class SynthesisBlock(nn.Module):
  """One resolution: convolutions, and an image added to the one so far.

  Attributes:
    features: output channels.
    resolution: side of the output.
    img_channels: of the skip image.
    up: does the first convolution (and the image) double the size.
    clamp: bound on every layer's output, or None.
    dtype: of activations; the image is float32.
    precision: of the products.
    lora: how the layers are adapted, if they are.
  """

  features: int
  resolution: int
  img_channels: int
  up: bool = True
  clamp: Optional[float] = None
  dtype: Any = jnp.float32
  precision: Any = None
  lora: Optional[LoraConfig] = None

  @nn.compact
  def __call__(self, x: Optional[chex.Array], img: Optional[chex.Array],
               ws: chex.Array, *, noise_mode: NoiseMode
               ) -> Tuple[jax.Array, jax.Array]:
    """One step of the network.

    Args:
      x: [N, H, W, I]; None in the first block, which starts from a learned
        constant and has one convolution instead of two.
      img: [N, H, W, img_channels], the image so far, or None.
      ws: [N, 3, w_dim] for conv0, conv1, torgb (first block: [N, 2, w_dim]).
      noise_mode: of the convolutions.

    Returns: x and img after the block.
    """
    shared = dict(clamp=self.clamp, dtype=self.dtype,
                  precision=self.precision, lora=self.lora)

    def layer(name, up):
      return adapted(self.lora, name, SynthesisLayer, self.features,
                     self.resolution, up=up, **shared)

    if x is None:
      const = self.param("const", nn.initializers.normal(1.0),
                         (self.resolution, self.resolution, self.features))
      x = jnp.broadcast_to(const, (ws.shape[0],) + const.shape)
    else:
      x = layer("conv0", 2 if self.up else 1)(x, ws[:, 0],
                                              noise_mode=noise_mode)
    x = layer("conv1", 1)(x, ws[:, -2], noise_mode=noise_mode)
    rgb = adapted(self.lora, "torgb", ToRGB, self.img_channels, **shared)(
        x, ws[:, -1])
    if img is None:
      return x, rgb
    return x, (upsample2(img) if self.up else img) + rgb


class SynthesisNetwork(nn.Module):
  """ws -> an image with the channels of three planes.

  Attributes:
    config: of the generator.
    lora: how the layers are adapted, if they are.
  """

  config: GeneratorConfig
  lora: Optional[LoraConfig] = None

  @nn.compact
  def __call__(self, ws: chex.Array, *, noise_mode: NoiseMode) -> jax.Array:
    """[N, num_ws, w_dim] -> [N, S, S, 3 plane_channels], float32."""
    backbone = self.config.backbone
    x = img = None
    first = 0  # the block's first row; its torgb shares the next block's
    for resolution in backbone.block_resolutions:
      rows = 2 if x is None else 3
      block = SynthesisBlock(
          backbone.channels(resolution), resolution,
          3 * backbone.plane_channels, clamp=backbone.conv_clamp,
          dtype=jnp.dtype(self.config.dtype), precision=self.config.precision,
          lora=self.lora, name=f"b{resolution}")
      x, img = block(x, img, ws[:, first:first + rows], noise_mode=noise_mode)
      first += rows - 1
    return img


class Backbone(nn.Module):
  """The mapping network and the network that paints the planes.

  Attributes:
    config: of the generator.
    lora: how the synthesis layers are adapted, if they are.
  """

  config: GeneratorConfig
  lora: Optional[LoraConfig] = None

  def setup(self):
    self.mapping = MappingNetwork(
        self.config.mapping, w_dim=self.config.w_dim,
        num_ws=self.config.num_ws, precision=self.config.precision)
    self.synthesis = SynthesisNetwork(self.config, self.lora)

  def planes(self, ws: chex.Array, *, noise_mode: NoiseMode) -> jax.Array:
    """[N, num_ws, w_dim] -> [N, 3, S, S, plane_channels]."""
    return rearrange(self.synthesis(ws, noise_mode=noise_mode),
                     "n h w (p c) -> n p h w c", p=3)
