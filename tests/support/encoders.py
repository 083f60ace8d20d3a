"""An encoder that finds something else in each photo, and was never trained."""

from typing import Any

import jax
import numpy as np

from my3dgen_jax.config import GeneratorConfig
from my3dgen_jax.config.encoder import EncoderConfig
from my3dgen_jax.models.encoder import Encoder
from my3dgen_jax.models.encoder_files import abstract_variables, EncoderFile
from my3dgen_jax.types import Network


def random_encoder(model: GeneratorConfig, space: Any = "w") -> EncoderFile:
  """Of random numbers, small enough to stay about the mean of W."""
  config = EncoderConfig.for_generator(model, space)
  rng = np.random.default_rng(0)
  fill = lambda leaf: 0.2 * rng.standard_normal(leaf.shape).astype(np.float32)
  found = abstract_variables(config)
  network = Network(
    {
      "params": jax.tree.map(fill, found["params"]),
      "buffers": {
        "mean": np.zeros(model.w_dim, np.float32),
        "scale": np.ones((), np.float32),
      },
    },
    Encoder(config),
  )
  return EncoderFile(network, base_digest="", digest="a", quality={})
