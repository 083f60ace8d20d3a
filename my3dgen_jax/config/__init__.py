"""All settings, as frozen dataclasses.

A config is plain data, without flags, arrays or JAX; it is stored as
`config.json` beside the weights. A field's `setting` gives its flag's help and
bounds.
"""

from my3dgen_jax.config.adapter import LoraConfig
from my3dgen_jax.config.checks import (
  check_numbers,
  ConfigError,
  MAX_LAYERS,
  MAX_RESOLUTION,
  MAX_SIZE,
  part,
  REQUIRED,
  setting,
)
from my3dgen_jax.config.generator import (
  BackboneConfig,
  DecoderConfig,
  GeneratorConfig,
  MappingConfig,
  preset,
  PRESETS,
  RenderConfig,
  SUPERRESOLUTION_MODULES,
  SuperresolutionConfig,
)
from my3dgen_jax.config.training import (
  HullFitConfig,
  LossConfig,
  PivotConfig,
  ProjectionConfig,
  TuningConfig,
)

__all__ = [
  "MAX_LAYERS",
  "MAX_RESOLUTION",
  "MAX_SIZE",
  "PRESETS",
  "REQUIRED",
  "SUPERRESOLUTION_MODULES",
  "BackboneConfig",
  "ConfigError",
  "DecoderConfig",
  "GeneratorConfig",
  "HullFitConfig",
  "LoraConfig",
  "LossConfig",
  "MappingConfig",
  "PivotConfig",
  "ProjectionConfig",
  "RenderConfig",
  "SuperresolutionConfig",
  "TuningConfig",
  "check_numbers",
  "part",
  "preset",
  "setting",
]
