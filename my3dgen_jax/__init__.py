"""My3DGen in JAX/Flax: a personal 3D generative prior from 50 photos.

    from my3dgen_jax import load_generator
    generator, variables = load_generator("checkpoints/ffhq")

The names in `__all__` are the public API; everything else may change.
"""

import my3dgen_jax._startup  # noqa: F401 (before all others)
from my3dgen_jax import _renamed, cameras, latents, lora
from my3dgen_jax._version import __version__
from my3dgen_jax.config import (
  ConfigError,
  GeneratorConfig,
  LoraConfig,
  preset,
  PRESETS,
)
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.models.checkpoint import (
  load_config,
  load_generator,
  save_generator,
)
from my3dgen_jax.models.generator import (
  abstract_variables,
  Generator,
  init_variables,
)
from my3dgen_jax.types import RadianceSample, RenderOutput

_renamed.install()

__all__ = [
  "PRESETS",
  "CheckpointError",
  "ConfigError",
  "Generator",
  "GeneratorConfig",
  "LoraConfig",
  "RadianceSample",
  "RenderOutput",
  "UserError",
  "__version__",
  "abstract_variables",
  "cameras",
  "init_variables",
  "latents",
  "load_config",
  "load_generator",
  "lora",
  "preset",
  "save_generator",
]
