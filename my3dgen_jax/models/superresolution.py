"""EG3D's super-resolution: maps rendered features to the final image."""

from typing import Any

import jax
import jax.numpy as jnp

from my3dgen_jax.models.synthesis import Blocks, run_blocks
from my3dgen_jax.ops.resize import resize_bilinear
from my3dgen_jax.types import Array


class Superresolution(Blocks):
  """Two synthesis blocks that read the last row of ws."""

  def layout(self) -> dict[str, dict[str, Any]]:
    """The blocks `block0` and `block1`."""
    config = self.config.superresolution
    blocks, inputs = {}, self.config.decoder.color_features
    size = config.input_resolution
    for i, (channels, up) in enumerate(zip(config.channels, config.up)):
      size = size * 2 if up else size
      blocks[f"block{i}"] = dict(
        features=channels,
        resolution=size,
        img_channels=self.config.img_channels,
        inputs=inputs,
        up=up,
        clamp=config.clamp,
      )
      inputs = channels
    return blocks

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
