"""A generator's settings, read from its checkpoint.

Nothing is guessed: if a setting that affects the images is missing in the file,
this is an error, and `--config` or `--preset` supplies it.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from converters.errors import bare, describe, some_of
from converters.torch_reader import ObjectRecord
from my3dgen_jax.config import (
  BackboneConfig,
  ConfigError,
  DecoderConfig,
  GeneratorConfig,
  MappingConfig,
  MAX_SIZE,
  RenderConfig,
  SUPERRESOLUTION_MODULES,
  SuperresolutionConfig,
)
from my3dgen_jax.errors import CheckpointError

_ARCHITECTURE = "TriPlaneGenerator"
_POSITIONAL = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
# Where the backbone's first convolution is, plain and in My3DGen's wrappers.
_FIRST_LAYER = (
  ("backbone", "synthesis", "b4", "conv1"),
  (
    "backbone",
    "synthesis",
    "synthesis",
    "b4",
    "synthesis_block",
    "conv1",
    "synthesis_layer",
  ),
)
_SR_CLAMP = 256.0  # the clamp of float16 layers
_ADVICE = "give the settings with --config or --preset"

# Settings that affect only training, or the original's speed.
_IGNORED_ARGUMENTS = frozenset(
  {"num_fp16_res", "fused_modconv_default", "fp16_channels_last", "sr_kwargs"}
)
_IGNORED_MAPPING = frozenset({"w_avg_beta", "embed_features", "layer_features"})
_IGNORED_RENDERING = frozenset(
  {
    "density_reg",
    "density_reg_p_dist",
    "reg_type",
    "gpc_reg_prob",
    "gpc_reg_fade_kimg",
    "image_resolution",
  }
)

_Warn = Callable[[str], None]


class _Settings:
  """A table of settings from a file; records which ones were read."""

  def __init__(self, table: Any, what: str):
    if not isinstance(table, dict):
      raise CheckpointError(f"{what} is {describe(table)}, not a table")
    self._table = table
    self._what = what
    self._known: set = set()

  def __contains__(self, key: str) -> bool:
    self._known.add(key)
    return key in self._table

  def _get(self, key: str, default: Any) -> Any:
    self._known.add(key)
    value = self._table.get(key, default)
    if value is _REQUIRED:
      raise CheckpointError(f"{self._what} has no {key} ({_ADVICE})")
    return value

  def _refuse(self, key: str, expected: str, value: Any):
    raise CheckpointError(
      f"{self._what}[{key}]: expected {expected}, got {describe(value)}"
    )

  def table(self, key: str) -> Any:
    return self._get(key, {})

  def whole(self, key: str, default: Any = None) -> int:
    value = self._get(key, _REQUIRED if default is None else default)
    if type(value) is not int or not 0 <= value <= MAX_SIZE:
      self._refuse(key, f"a whole number up to {MAX_SIZE}", value)
    return value

  def number(self, key: str, default: Any = None) -> float:
    value = self._get(key, _REQUIRED if default is None else default)
    if not _is_number(value):
      self._refuse(key, "a finite number", value)
    return float(value)

  def truth(self, key: str, default: Any = None) -> bool:
    value = self._get(key, _REQUIRED if default is None else default)
    if type(value) is not bool:
      self._refuse(key, "true or false", value)
    return value

  def text(self, key: str, default: Any = None) -> str:
    value = self._get(key, _REQUIRED if default is None else default)
    if not isinstance(value, str):
      self._refuse(key, "a string", value)
    return value

  def clamp(self, key: str, default: Any) -> float | None:
    value = self._get(key, default)
    return None if value is None else self.number(key, default)

  def ray_bound(self, key: str):
    value = self._get(key, _REQUIRED)
    return "auto" if value == "auto" else self.number(key)

  def point(self, key: str, default: Any) -> tuple[float, ...]:
    value = self._get(key, default)
    if (
      not isinstance(value, (list, tuple))
      or len(value) != 3
      or not all(map(_is_number, value))
    ):
      self._refuse(key, "three numbers", value)
    return tuple(map(float, value))

  def require(self, key: str, default: Any, reason: str):
    """Refuses any value other than the only one that the model supports."""
    value = self._get(key, default)
    if type(value) is not type(default) or value != default:
      raise CheckpointError(
        f"{self._what}[{key}] = {describe(value)} is not supported: {reason}"
      )

  def warn_of_rest(self, ignored: frozenset, warn: _Warn):
    rest = [
      key
      for key in self._table
      if key not in self._known and key not in ignored
    ]
    if rest:
      warn(
        f"{self._what}: ignoring unknown settings: {some_of(map(bare, rest))}"
      )


class _Required:
  """Marks a setting without a default."""


_REQUIRED = _Required()


def _is_number(value: Any) -> bool:
  return type(value) in (int, float) and math.isfinite(value)


def read(generator: ObjectRecord, warn: _Warn) -> GeneratorConfig:
  """The settings of a pickled generator.

  Args:
    generator: the module's record.
    warn: called with a line for each setting that is ignored.

  Returns: a valid config.
  Raises:
    CheckpointError: the module is not an EG3D generator, or a setting is
      missing, invalid or not supported; the message names it.
  """
  check_architecture(generator)
  arguments = _Settings(_arguments(generator.state), "_init_kwargs")
  rendering = _Settings(
    _rendering_kwargs(arguments, generator, warn), "rendering_kwargs"
  )
  mapping = _Settings(arguments.table("mapping_kwargs"), "mapping_kwargs")
  state = _Settings(generator.state, "the generator's state")
  _check_fixed_choices(arguments, mapping, rendering)
  config = GeneratorConfig(
    z_dim=arguments.whole("z_dim"),
    c_dim=arguments.whole("c_dim"),
    w_dim=arguments.whole("w_dim"),
    img_channels=arguments.whole("img_channels"),
    neural_rendering_resolution=state.whole("neural_rendering_resolution"),
    mapping=MappingConfig(
      num_layers=mapping.whole("num_layers", 8),
      lr_multiplier=mapping.number("lr_multiplier", 0.01),
      c_scale=rendering.number("c_scale"),
      zero_label=rendering.truth("c_gen_conditioning_zero"),
    ),
    backbone=BackboneConfig(
      channel_base=arguments.whole("channel_base", 32768),
      channel_max=arguments.whole("channel_max", 512),
      conv_clamp=(
        arguments.clamp("conv_clamp", None)
        if "conv_clamp" in arguments
        else _clamp_of_layers(generator, warn)
      ),
    ),
    decoder=DecoderConfig(lr_multiplier=rendering.number("decoder_lr_mul", 1)),
    rendering=_read_rendering(rendering, warn),
    superresolution=_read_superresolution(arguments, rendering),
  )
  try:
    config.validate()
  except ConfigError as error:
    raise CheckpointError(f"settings: {error}") from None
  stated = arguments.whole("img_resolution", config.img_resolution)
  if stated != config.img_resolution:
    raise CheckpointError(
      f"_init_kwargs[img_resolution] is {stated}, but "
      f"{config.superresolution.module} makes {config.img_resolution}"
    )
  arguments.warn_of_rest(_IGNORED_ARGUMENTS, warn)
  mapping.warn_of_rest(_IGNORED_MAPPING, warn)
  rendering.warn_of_rest(_IGNORED_RENDERING, warn)
  return config


def check_architecture(generator: ObjectRecord):
  """Refuses networks other than EG3D's generator."""
  if generator.class_name.rpartition(".")[2] != _ARCHITECTURE:
    raise CheckpointError(
      f"the network is a {describe(generator.class_name)}, not EG3D's "
      f"{_ARCHITECTURE}; other architectures are not supported"
    )


def _arguments(state: Mapping[str, Any]) -> dict[str, Any]:
  """The generator's constructor arguments, positional ones by name."""
  keywords = state.get("_init_kwargs")
  if not isinstance(keywords, dict):
    raise CheckpointError(f"the network has no _init_kwargs ({_ADVICE})")
  positional = state.get("_init_args", ())
  if not isinstance(positional, (list, tuple)) or len(positional) > len(
    _POSITIONAL
  ):
    raise CheckpointError(
      f"_init_args does not fit EG3D's generator ({_ADVICE})"
    )
  return {**dict(zip(_POSITIONAL, positional)), **keywords}


# Options that are read when layers are built; the others are read at each call.
_BUILT_IN = ("superresolution_module", "sr_antialias", "decoder_lr_mul")


def _rendering_kwargs(
  arguments: _Settings, generator: ObjectRecord, warn: _Warn
) -> Any:
  """The rendering options in effect.

  The generator reads them from an attribute, which training may have changed
  after construction. Options of the layers keep the constructor's values.
  """
  given = arguments.table("rendering_kwargs")
  live = generator.state.get("rendering_kwargs")
  if not isinstance(live, dict) or not isinstance(given, dict) or not given:
    return given or live or {}
  changed = [
    key
    for key in live
    if key not in _BUILT_IN
    and key in given
    and describe(live[key]) != describe(given[key])
  ]
  if changed:
    warn(
      "rendering_kwargs changed after construction, using the later values of: "
      f"{some_of(map(bare, changed))}"
    )
  return {
    **given,
    **live,
    **{key: given[key] for key in _BUILT_IN if key in given},
  }


def _clamp_of_layers(generator: ObjectRecord, warn: _Warn) -> float | None:
  """The clamp of the backbone's first layer.

  Layers keep their own, whatever the generator's arguments say. If the layer
  has none recorded, there is no clamp, as in all published generators.
  """
  for path in _FIRST_LAYER:
    layer = _member(generator, path)
    if layer is not None:
      if "conv_clamp" not in layer.state:
        warn("the backbone has no conv_clamp; assuming no clamp")
      return _Settings(layer.state, "b4.conv1").clamp("conv_clamp", None)
  return None  # the tensors will not fit either, with a better message


def _member(module: Any, path: Sequence[str]) -> ObjectRecord | None:
  for name in path:
    children = module.state.get("_modules")
    module = children.get(name) if isinstance(children, dict) else None
    if not isinstance(module, ObjectRecord):
      return None
  return module


def _check_fixed_choices(
  arguments: _Settings, mapping: _Settings, rendering: _Settings
):
  """Refuses choices of other StyleGAN2 and EG3D variants."""
  arguments.require("architecture", "skip", "only the skip architecture is")
  arguments.require("activation", "lrelu", "only leaky ReLU is")
  arguments.require("use_noise", True, "only generators with noise layers are")
  mapping.require("activation", "lrelu", "only leaky ReLU is")
  rendering.require(
    "disparity_space_sampling", False, "only even spacing in depth is"
  )
  if rendering.number("density_noise", 0):
    raise CheckpointError(
      "rendering_kwargs[density_noise] other than 0 is not supported"
    )
  if rendering.text("clamp_mode") != "softplus":
    raise CheckpointError(
      "rendering_kwargs[clamp_mode]: only 'softplus' is supported"
    )


def _read_rendering(settings: _Settings, warn: _Warn) -> RenderConfig:
  defaults = {"avg_camera_radius": 2.7, "avg_camera_pivot": (0.0, 0.0, 0.0)}
  for key, value in defaults.items():
    if key not in settings:
      # It affects only the cameras offered to users; EG3D's own scripts use the
      # same value.
      warn(f"rendering_kwargs has no {key}; using {value}")
  return RenderConfig(
    depth_resolution=settings.whole("depth_resolution"),
    depth_resolution_importance=settings.whole("depth_resolution_importance"),
    ray_start=settings.ray_bound("ray_start"),
    ray_end=settings.ray_bound("ray_end"),
    box_warp=settings.number("box_warp"),
    white_back=settings.truth("white_back", False),
    avg_camera_radius=settings.number(
      "avg_camera_radius", defaults["avg_camera_radius"]
    ),
    avg_camera_pivot=settings.point(
      "avg_camera_pivot", defaults["avg_camera_pivot"]
    ),
  )


def _read_superresolution(
  arguments: _Settings, rendering: _Settings
) -> SuperresolutionConfig:
  module = rendering.text("superresolution_module").rpartition(".")[2]
  if module not in SUPERRESOLUTION_MODULES:
    raise CheckpointError(
      f"unknown super-resolution module {describe(module)}; known are "
      + ", ".join(SUPERRESOLUTION_MODULES)
    )
  return dataclasses.replace(
    SUPERRESOLUTION_MODULES[module],
    antialias=rendering.truth("sr_antialias"),
    clamp=_SR_CLAMP if arguments.whole("sr_num_fp16_res", 0) else None,
    noise_mode=rendering.text("superresolution_noise_mode"),
  )
