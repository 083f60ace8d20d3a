"""StyleGAN2's synthesis network, and EG3D's backbone around it."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from my3dgen_jax.config import GeneratorConfig, LoraConfig
from my3dgen_jax.models.adapter import adapted
from my3dgen_jax.models.layers import NoiseMode, SynthesisLayer, ToRGB
from my3dgen_jax.models.mapping import MappingNetwork
from my3dgen_jax.ops import modulation
from my3dgen_jax.ops.modulation import Modulated
from my3dgen_jax.ops.upfirdn2d import upsample2
from my3dgen_jax.tracing.parameters import stored
from my3dgen_jax.types import Array, LayerWeights


class SynthesisBlock(nn.Module):
  """One resolution: convolutions, and an image added to the one so far.

  Attributes:
    features: output channels.
    resolution: side of the output, pixels.
    img_channels: channels of the skip image.
    w_dim: size of w.
    inputs: channels of x; None: the first block, which starts from a learned
      constant and has one convolution instead of two.
    up: whether the first convolution (and the image) doubles the size.
    clamp: bound on every layer's absolute output, or None.
    dtype: dtype of the activations; the image is float32.
    precision: matrix-product precision, see `jax.lax.Precision`.
    lora: how the layers are adapted, or None.
  """

  features: int
  resolution: int
  img_channels: int
  w_dim: int
  inputs: int | None = None
  up: bool = True
  clamp: float | None = None
  dtype: Any = jnp.float32
  precision: Any = None
  lora: LoraConfig | None = None

  def setup(self):
    shared: dict[str, Any] = dict(
      w_dim=self.w_dim,
      clamp=self.clamp,
      dtype=self.dtype,
      precision=self.precision,
      lora=self.lora,
    )
    layer = functools.partial(adapted, self.lora)
    if self.inputs is None:
      self.const = stored(
        self,
        "const",
        nn.initializers.normal(1.0),
        (self.resolution, self.resolution, self.features),
      )
    else:
      self.conv0 = layer(
        "conv0",
        SynthesisLayer,
        self.features,
        self.resolution,
        up=2 if self.up else 1,
        **shared,
      )
    self.conv1 = layer(
      "conv1", SynthesisLayer, self.features, self.resolution, **shared
    )
    self.torgb = layer("torgb", ToRGB, self.img_channels, **shared)

  def weights(self) -> list[LayerWeights]:
    """Weights of conv0 (not in the first block), conv1 and torgb."""
    first = [] if self.inputs is None else [self.conv0.weights(self.inputs)]
    return [
      *first,
      self.conv1.weights(self.features),
      self.torgb.weights(self.features),
    ]

  def __call__(
    self,
    x: Array | None,
    img: Array | None,
    layers: Sequence[Modulated],
    *,
    noise_mode: NoiseMode,
  ) -> tuple[jax.Array, jax.Array]:
    """Runs the block.

    Args:
      x: [N, H, W, inputs]; None in the first block.
      img: [N, H, W, img_channels], the image so far, or None.
      layers: the layers of `weights`, modulated by w.
      noise_mode: noise in the convolutions.

    Returns: x and img after the block.
    """
    *conv0, conv1, torgb = layers
    if self.inputs is None:
      x = jnp.broadcast_to(
        self.const, (torgb.bias.shape[0],) + self.const.shape
      )
    else:
      x = self.conv0.run(x, *conv0, noise_mode=noise_mode)
    x = self.conv1.run(x, conv1, noise_mode=noise_mode)
    rgb = self.torgb.run(x, torgb)
    if img is None:
      return x, rgb
    return x, (upsample2(img) if self.up else img) + rgb


def run_blocks(
  blocks: Sequence[SynthesisBlock],
  ws: Sequence[Array],
  x: Array | None,
  img: jax.Array | None,
  *,
  noise_mode: NoiseMode,
) -> list[jax.Array]:
  """Runs blocks in order, after modulating all their layers at once.

  Args:
    blocks: the blocks of one network.
    ws: [N, w_dim] for each layer of all blocks.
    x: see `SynthesisBlock`.
    img: see `SynthesisBlock`.
    noise_mode: noise in the convolutions.

  Returns: the image after each block.
  """
  weights = [block.weights() for block in blocks]
  layers = iter(
    modulation.modulate(
      [layer for own in weights for layer in own],
      ws,
      precision=blocks[0].precision,
    )
  )
  images = []
  for block, own in zip(blocks, weights):
    x, img = block(x, img, [next(layers) for _ in own], noise_mode=noise_mode)
    images.append(img)
  return images


class Blocks(nn.Module):
  """Synthesis blocks in the order in which they run; a subclass says which.

  Attributes:
    config: the generator's config.
    lora: how the layers are adapted, or None.
  """

  config: GeneratorConfig
  lora: LoraConfig | None = None

  def layout(self) -> dict[str, dict[str, Any]]:
    """Each block's name and attributes, without those that all share."""
    raise NotImplementedError

  def setup(self):
    for name, attributes in self.layout().items():
      block = SynthesisBlock(
        **attributes,
        w_dim=self.config.w_dim,
        dtype=jnp.dtype(self.config.dtype),
        precision=self.config.precision,
        lora=self.lora,
      )
      setattr(self, name, block)

  @property
  def blocks(self) -> list[SynthesisBlock]:
    """The blocks, in the order in which they run."""
    return [getattr(self, name) for name in self.layout()]

  def declare(self):
    """Creates the variables, without running the layers."""
    for block in self.blocks:
      block.weights()


class SynthesisNetwork(Blocks):
  """Maps ws to an image with the channels of three planes."""

  def layout(self) -> dict[str, dict[str, Any]]:
    """The backbone's blocks: `b4`, `b8` and so on."""
    backbone = self.config.backbone
    blocks, inputs = {}, None
    for resolution in backbone.block_resolutions:
      features = backbone.channels(resolution)
      blocks[f"b{resolution}"] = dict(
        features=features,
        resolution=resolution,
        img_channels=3 * backbone.plane_channels,
        inputs=inputs,
        clamp=backbone.conv_clamp,
      )
      inputs = features
    return blocks

  def __call__(self, ws: Array, *, noise_mode: NoiseMode) -> jax.Array:
    """Maps [N, num_ws, w_dim] to [N, S, S, 3 plane_channels], float32."""
    rows: list[int] = []
    first = 0  # the block's first row; its torgb shares the next block's
    for _ in self.blocks:
      count = 3 if rows else 2
      rows += range(first, first + count)
      first += count - 1
    return run_blocks(
      self.blocks,
      [ws[:, row] for row in rows],
      None,
      None,
      noise_mode=noise_mode,
    )[-1]


class Backbone(nn.Module):
  """The mapping network and the synthesis network for the planes.

  Attributes:
    config: the generator's config.
    lora: how the synthesis layers are adapted, or None.
  """

  config: GeneratorConfig
  lora: LoraConfig | None = None

  def setup(self):
    self.mapping = MappingNetwork(
      self.config.mapping,
      w_dim=self.config.w_dim,
      num_ws=self.config.num_ws,
      precision=self.config.precision,
    )
    self.synthesis = SynthesisNetwork(self.config, self.lora)

  def planes(self, ws: Array, *, noise_mode: NoiseMode) -> jax.Array:
    """Maps [N, num_ws, w_dim] to [N, 3, S, S, plane_channels]."""
    return rearrange(
      self.synthesis(ws, noise_mode=noise_mode), "n h w (p c) -> n p h w c", p=3
    )
