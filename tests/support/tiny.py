"""A generator of a few thousand numbers, with all of the real one's parts."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from my3dgen_jax.config import (
  BackboneConfig,
  DecoderConfig,
  GeneratorConfig,
  LoraConfig,
  MappingConfig,
  RenderConfig,
  SuperresolutionConfig,
)
from my3dgen_jax.models.generator import abstract_variables, Generator

TINY = GeneratorConfig(
  z_dim=4,
  w_dim=4,
  neural_rendering_resolution=4,
  mapping=MappingConfig(num_layers=2),
  backbone=BackboneConfig(
    resolution=8, plane_channels=4, channel_base=32, channel_max=4
  ),
  decoder=DecoderConfig(hidden_features=4, color_features=4),
  rendering=RenderConfig(depth_resolution=4, depth_resolution_importance=4),
  superresolution=SuperresolutionConfig(
    module="SuperresolutionHybrid8X", input_resolution=4, channels=(4, 4)
  ),
)


@functools.cache
def program(
  method: str,
  config: GeneratorConfig = TINY,
  lora: LoraConfig | None = None,
  **options: Any,
) -> Callable[..., Any]:
  """A generator's method, compiled once for all tests of a process."""
  return jax.jit(
    functools.partial(Generator(config, lora).apply, method=method, **options)
  )


def random_variables(seed: int = 0, config: GeneratorConfig = TINY) -> Any:
  """Weights for a small model; compiling `init_variables` takes far longer."""
  rng = np.random.default_rng(seed)

  def fill(path, leaf):
    name = path[-1].key
    if name in ("kernel", "const", "noise_const"):
      return rng.standard_normal(leaf.shape).astype(np.float32)
    is_affine = name == "bias" and path[-2].key == "affine"
    return np.full(leaf.shape, float(is_affine), np.float32)

  # By NumPy, as JAX would compile a program for each shape.
  return jax.device_put(
    jax.tree_util.tree_map_with_path(fill, abstract_variables(config))
  )
