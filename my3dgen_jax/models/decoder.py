"""EG3D's decoder: maps plane features to density and color."""

import functools

import flax.linen as nn

from my3dgen_jax.config import GeneratorConfig, LoraConfig
from my3dgen_jax.models.adapter import adapted
from my3dgen_jax.models.layers import FullyConnected
from my3dgen_jax.types import DecoderWeights


class Decoder(nn.Module):
  """Holds the weights; `ops.rendering.triplane.decode` is the function.

  The renderer evaluates the decoder inside its own loops over chunks, so it
  needs the weights, not a module.

  Attributes:
    config: the generator's config.
    lora: if given, all weights get offsets; the layers are too small for
      low-rank pairs to save anything.
  """

  config: GeneratorConfig
  lora: LoraConfig | None = None

  def setup(self):
    decoder = self.config.decoder
    layer = functools.partial(
      adapted, self.lora, pair=False, lr_multiplier=decoder.lr_multiplier
    )
    self.fc0 = layer("fc0", FullyConnected, decoder.hidden_features)
    self.fc1 = layer("fc1", FullyConnected, 1 + decoder.color_features)

  def __call__(self) -> DecoderWeights:
    kernel0, bias0 = self.fc0.scaled_weights(
      self.config.backbone.plane_channels
    )
    kernel1, bias1 = self.fc1.scaled_weights(
      self.config.decoder.hidden_features
    )
    return DecoderWeights(
      kernel0=kernel0, bias0=bias0, kernel1=kernel1, bias1=bias1
    )
