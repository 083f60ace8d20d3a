"""EG3D's super-resolution: maps rendered features to the final image."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from my3dgen_jax.config import GeneratorConfig, LoraConfig
from my3dgen_jax.models.synthesis import run_blocks, SynthesisBlock
from my3dgen_jax.ops.resize import resize_bilinear
from my3dgen_jax.types import Array


class Superresolution(nn.Module):
  """Two synthesis blocks that read the last row of ws.

  Attributes:
    config: the generator's config.
    lora: how the layers are adapted, or None.
  """

  config: GeneratorConfig
  lora: LoraConfig | None = None

  def setup(self):
    config = self.config.superresolution
    size, inputs = config.input_resolution, self.config.decoder.color_features
    for i, (channels, up) in enumerate(zip(config.channels, config.up)):
      size = size * 2 if up else size
      block = SynthesisBlock(
        channels,
        size,
        self.config.img_channels,
        self.config.w_dim,
        inputs,
        up=up,
        clamp=config.clamp,
        dtype=jnp.dtype(self.config.dtype),
        precision=self.config.precision,
        lora=self.lora,
      )
      setattr(self, f"block{i}", block)
      inputs = channels

  @property
  def blocks(self) -> list[SynthesisBlock]:
    """The blocks, in the order in which they run."""
    count = len(self.config.superresolution.channels)
    return [getattr(self, f"block{i}") for i in range(count)]

  def declare(self):
    """Creates the variables, without running the layers."""
    for block in self.blocks:
      block.weights()

  def __call__(
    self, image_raw: Array, features: Array, ws: Array
  ) -> tuple[jax.Array, jax.Array]:
    """The final image, and the raw image as the generator returns it.

    Args:
      image_raw: [N, S, S, img_channels], the image to refine.
      features: [N, S, S, C], the rendered features, image included.
      ws: [N, num_ws, w_dim].

    Returns: [N, H, W, img_channels], float32; and `image_raw`, or its
      replacement if `config.raw_in_place` is set.
    """
    config = self.config.superresolution
    size = config.input_resolution
    differs = (
      features.shape[1] < size
      if config.resize == "enlarge"
      else features.shape[1] != size
    )
    x, img = features, image_raw
    if differs:
      x, img = (
        resize_bilinear(array, size, size, antialias=config.antialias)
        for array in (x, img)
      )
    first, image = run_blocks(
      self.blocks,
      [ws[:, -1]] * (3 * len(self.blocks)),
      x,
      jnp.asarray(img),
      noise_mode=config.noise_mode,
    )
    # A resized or upsampled image is a different tensor than the returned one.
    overwritten = config.raw_in_place and not differs and not config.up[0]
    return image, first if overwritten else jnp.asarray(image_raw)
