"""Everything that can be chosen about a generator, as frozen dataclasses.

No flags, no arrays and no JAX here: a config is plain data that travels as
`config.json` beside the weights. `preset(name)` gives the configurations of
the published EG3D checkpoints; any size may be changed with
`dataclasses.replace`, and the model code is the same.
"""

import dataclasses
import re
import types
import typing
from typing import Any, Literal, Mapping, Optional, Sequence, Tuple, Union

from my3dgen_jax.errors import UserError


# Far above any model, and low enough that a damaged or hostile config.json
# ends in an error and not in an endless loop over layers or a full memory.
MAX_SIZE = 2**16
MAX_RESOLUTION = 2**12
MAX_LAYERS = 64


class ConfigError(UserError):
  """A setting that cannot work; the message starts with the field's name."""


def _require(condition: bool, field: str, expected: str, value: Any):
  if not condition:
    raise ConfigError(f"{field}: expected {expected}, got {value!r}")


def _is_power_of_two(value: int) -> bool:
  return value > 0 and value & (value - 1) == 0


def _is_number(value: Any) -> bool:
  # JSON can hold integers that no float can.
  return (isinstance(value, (int, float)) and not isinstance(value, bool)
          and abs(value) < 1e300)


def _is_positive(value: Any) -> bool:
  return _is_number(value) and value > 0


def _is_size(value: Any, *, low: int = 1, high: int = MAX_SIZE) -> bool:
  return (isinstance(value, int) and not isinstance(value, bool)
          and low <= value <= high)


def _require_clamp(value: Optional[float], field: str):
  _require(value is None or _is_positive(value), field,
           "a positive number or null", value)


@dataclasses.dataclass(frozen=True)
class MappingConfig:
  """The mapping network, (z, c) -> w (EG3D sec. 4.4)."""

  num_layers: int = 2  # hidden layers after z and the label are joined
  lr_multiplier: float = 0.01  # of those layers; the label's embedding has 1
  c_scale: float = 1.0  # the label is multiplied by this
  zero_label: bool = False  # the label is replaced by zeros (ShapeNet)

  def validate(self, prefix: str = "mapping"):
    _require(_is_size(self.num_layers, high=MAX_LAYERS),
             f"{prefix}.num_layers",
             f"a whole number >= 1 and <= {MAX_LAYERS}", self.num_layers)
    _require(_is_positive(self.lr_multiplier), f"{prefix}.lr_multiplier",
             "a positive number", self.lr_multiplier)
    _require(_is_number(self.c_scale), f"{prefix}.c_scale", "a finite number",
             self.c_scale)


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
  """The StyleGAN2 synthesis network whose image is the three planes."""

  resolution: int = 256  # pixels along a plane's side
  plane_channels: int = 32  # features per plane; the image has three times it
  channel_base: int = 32768  # channels(res) = min(channel_base // res, max)
  channel_max: int = 512
  conv_clamp: Optional[float] = None  # bound on every layer's output

  def channels(self, resolution: int) -> int:
    """Feature channels of the block at `resolution`."""
    return min(self.channel_base // resolution, self.channel_max)

  @property
  def block_resolutions(self) -> Tuple[int, ...]:
    """(4, 8, …, resolution)."""
    return tuple(2**i for i in range(2, self.resolution.bit_length()))

  @property
  def num_ws(self) -> int:
    """Rows of ws the network reads: two a block, torgb sharing the next one."""
    return 2 * len(self.block_resolutions)

  def validate(self, prefix: str = "backbone"):
    _require(_is_size(self.resolution, low=4, high=MAX_RESOLUTION)
             and _is_power_of_two(self.resolution), f"{prefix}.resolution",
             f"a power of two >= 4 and <= {MAX_RESOLUTION}", self.resolution)
    _require(_is_size(self.plane_channels), f"{prefix}.plane_channels",
             "a whole number >= 1", self.plane_channels)
    _require(_is_size(self.channel_base, low=self.resolution, high=2**24),
             f"{prefix}.channel_base",
             f"a whole number >= the resolution {self.resolution}",
             self.channel_base)
    _require(_is_size(self.channel_max), f"{prefix}.channel_max",
             "a whole number >= 1", self.channel_max)
    _require_clamp(self.conv_clamp, f"{prefix}.conv_clamp")


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """The small network from plane features to density and colour features."""

  hidden_features: int = 64
  color_features: int = 32  # the first img_channels of them are image_raw
  lr_multiplier: float = 1.0

  def validate(self, prefix: str = "decoder"):
    for name in ("hidden_features", "color_features"):
      _require(_is_size(getattr(self, name)), f"{prefix}.{name}",
               "a whole number >= 1", getattr(self, name))
    _require(_is_positive(self.lr_multiplier), f"{prefix}.lr_multiplier",
             "a positive number", self.lr_multiplier)


@dataclasses.dataclass(frozen=True)
class RenderConfig:
  """The two-pass volume renderer. Lengths are in world units."""

  depth_resolution: int = 48  # coarse samples a ray
  depth_resolution_importance: int = 48  # fine samples a ray; 0: none
  ray_start: Union[float, Literal["auto"]] = 2.25  # "auto": the ray enters …
  ray_end: Union[float, Literal["auto"]] = 3.3  # … and leaves the box
  box_warp: float = 1.0  # side of the cube that the planes span
  white_back: bool = False  # what no sample covers is white, else black
  avg_camera_radius: float = 2.7  # distance of the average camera …
  avg_camera_pivot: Tuple[float, float, float] = (0.0, 0.0, 0.2)  # … from here
  ray_chunk: int = 0  # rays rendered at a time; 0: what suits the backend

  def validate(self, prefix: str = "rendering"):
    for name, low in (("depth_resolution", 4),
                      ("depth_resolution_importance", 0)):
      _require(_is_size(getattr(self, name), low=low, high=MAX_RESOLUTION),
               f"{prefix}.{name}",
               f"a whole number >= {low} and <= {MAX_RESOLUTION}",
               getattr(self, name))
    auto = [v == "auto" for v in (self.ray_start, self.ray_end)]
    _require(auto[0] == auto[1], f"{prefix}.ray_start",
             "'auto' for both ray_start and ray_end or for neither",
             (self.ray_start, self.ray_end))
    if not auto[0]:
      _require(_is_number(self.ray_start) and self.ray_start >= 0,
               f"{prefix}.ray_start", "a number >= 0 or 'auto'",
               self.ray_start)
      _require(_is_number(self.ray_end) and self.ray_end > self.ray_start,
               f"{prefix}.ray_end", f"a number > ray_start {self.ray_start}",
               self.ray_end)
    for name in ("box_warp", "avg_camera_radius"):
      _require(_is_positive(getattr(self, name)), f"{prefix}.{name}",
               "a positive number", getattr(self, name))
    pivot = self.avg_camera_pivot
    _require(len(pivot) == 3 and all(map(_is_number, pivot)),
             f"{prefix}.avg_camera_pivot", "three numbers", pivot)
    _require(_is_size(self.ray_chunk, low=0, high=2**24), f"{prefix}.ray_chunk",
             "a whole number >= 0", self.ray_chunk)


@dataclasses.dataclass(frozen=True)
class SuperresolutionConfig:
  """Two synthesis blocks from the rendered features to the final image."""

  module: str = "SuperresolutionHybrid8XDC"  # the checkpoints' name for it
  input_resolution: int = 128  # features are resized to this first
  channels: Tuple[int, int] = (256, 128)  # of block0, block1
  up: Tuple[bool, bool] = (True, True)  # does the block double the size
  resize: Literal["always", "enlarge"] = "always"  # "enlarge": only if smaller
  antialias: bool = True  # of that resize
  clamp: Optional[float] = 256.0  # bound on every layer's output
  noise_mode: Literal["none", "const", "random"] = "none"

  @property
  def output_resolution(self) -> int:
    return self.input_resolution * 2 ** sum(self.up)

  def validate(self, prefix: str = "superresolution"):
    _require(_is_size(self.input_resolution, low=4, high=MAX_RESOLUTION),
             f"{prefix}.input_resolution",
             f"a whole number >= 4 and <= {MAX_RESOLUTION}",
             self.input_resolution)
    _require(len(self.channels) == 2 and all(map(_is_size, self.channels)),
             f"{prefix}.channels", "two whole numbers >= 1", self.channels)
    _require(len(self.up) == 2, f"{prefix}.up", "two booleans", self.up)
    _require_clamp(self.clamp, f"{prefix}.clamp")


SUPERRESOLUTION_MODULES: Mapping[str, SuperresolutionConfig] = (
    types.MappingProxyType({
        config.module: config for config in (
            SuperresolutionConfig("SuperresolutionHybrid8XDC", 128,
                                  (256, 128), (True, True)),
            SuperresolutionConfig("SuperresolutionHybrid8X", 128,
                                  (128, 64), (True, True)),
            SuperresolutionConfig("SuperresolutionHybrid4X", 128,
                                  (128, 64), (False, True), "enlarge"),
            SuperresolutionConfig("SuperresolutionHybrid2X", 64,
                                  (128, 64), (False, True)),
        )
    }))


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
  """A whole EG3D generator. The defaults are the FFHQ checkpoints' sizes."""

  z_dim: int = 512
  c_dim: int = 25  # 16 of cam2world and 9 of the intrinsics
  w_dim: int = 512
  img_channels: int = 3
  neural_rendering_resolution: int = 64  # side of image_raw, unless told
  mapping: MappingConfig = MappingConfig()
  backbone: BackboneConfig = BackboneConfig()
  decoder: DecoderConfig = DecoderConfig()
  rendering: RenderConfig = RenderConfig()
  superresolution: SuperresolutionConfig = SuperresolutionConfig()
  dtype: Literal["float32", "bfloat16"] = "float32"  # of activations
  precision: Literal["highest", "high", "default"] = "highest"  # of products

  @property
  def num_ws(self) -> int:
    return self.backbone.num_ws

  @property
  def img_resolution(self) -> int:
    """Side of the final image, in pixels."""
    return self.superresolution.output_resolution

  def validate(self) -> "GeneratorConfig":
    """Checks every field and returns the config itself.

    Raises:
      ConfigError: the first line names the field and what it should hold.
    """
    _check_types(self, "")
    for name in ("z_dim", "w_dim", "img_channels"):
      _require(_is_size(getattr(self, name)), name, "a whole number >= 1",
               getattr(self, name))
    _require(self.c_dim == 25, "c_dim",
             "25 (16 of cam2world, 9 of the intrinsics)", self.c_dim)
    _require(_is_size(self.neural_rendering_resolution, high=MAX_RESOLUTION),
             "neural_rendering_resolution",
             f"a whole number >= 1 and <= {MAX_RESOLUTION}",
             self.neural_rendering_resolution)
    self.mapping.validate()
    self.backbone.validate()
    self.decoder.validate()
    self.rendering.validate()
    self.superresolution.validate()
    _require(self.decoder.color_features >= self.img_channels,
             "decoder.color_features",
             f"at least img_channels = {self.img_channels}",
             self.decoder.color_features)
    return self

  def to_dict(self) -> dict:
    """Plain data, as `config.json` holds it."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> "GeneratorConfig":
    """The inverse of `to_dict`, through JSON or not.

    Raises:
      ConfigError: an unknown field, or a value that does not fit; named.
    """
    return _from_dict(cls, data, "").validate()


def setting(default: Any, text: str) -> Any:
  """A field with the text that its flag shows."""
  return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class LoraConfig:
  """What is personal: low-rank pairs on the layers' weights, and offsets.

  W = W0 + alpha / rank * B A. A convolution's weight [O, I, k, k] is seen as
  the matrix [O, I k k], with pairs A [rho, I k k] and B [O, rho].
  """

  rank: int = setting(1, "Rank of the change of each layer's weight.")
  alpha: float = setting(1.0, "The change is scaled by alpha / rank.")
  # rho: "kernel" is rank * k, the setting whose sizes My3DGen reports;
  # "rank" is rank, as its equation 4 is written; "original" is LoRA's own
  # layout for convolutions, A [rank k, I k] and B [O k, rank k], an ablation.
  conv_rank: Literal["kernel", "rank", "original"] = setting(
      "kernel", "Rank of a k x k convolution: rank * k, rank, or LoRA's "
      "original layout.")
  targets: Tuple[str, ...] = setting(
      ("backbone/synthesis/.*", "superresolution/.*", "decoder/.*"),
      "Modules that are adapted: regular expressions for their whole path.")

  @property
  def scale(self) -> float:
    return self.alpha / self.rank

  def validate(self, prefix: str = "lora.") -> "LoraConfig":
    """Checks every field and returns the config itself.

    Args:
      prefix: of the fields in messages.

    Raises:
      ConfigError: names the field and what it should hold.
    """
    _check_types(self, prefix)
    _require(_is_size(self.rank), f"{prefix}rank", "a whole number >= 1",
             self.rank)
    _require(_is_positive(self.alpha), f"{prefix}alpha", "a positive number",
             self.alpha)
    for pattern in self.targets:
      try:
        re.compile(pattern)
      except re.error as error:
        raise ConfigError(f"{prefix}targets: {pattern!r} is no regular "
                          f"expression: {error}") from None
    return self

  def to_dict(self) -> dict:
    """Plain data, as an adapter's file holds it."""
    return dataclasses.asdict(self)

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> "LoraConfig":
    """The inverse of `to_dict`; raises ConfigError on what does not fit."""
    return _from_dict(cls, data, "lora.").validate()


def _require_fields(config: Any, prefix: str, condition: Any, expected: str,
                    *names: str):
  for name in names:
    _require(condition(getattr(config, name)), prefix + name, expected,
             getattr(config, name))


def _is_not_negative(value: Any) -> bool:
  return _is_number(value) and value >= 0


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
  """How a photo's latent is found, generator and camera frozen.

  Source: Karras et al. 2020 (StyleGAN2), appendix D; My3DGen's settings.
  """

  space: Literal["w", "w+"] = setting(
      "w", "One w for all layers of a photo, or one for each: w or w+.")
  steps: int = setting(500, "Steps for each photo.")
  batch_size: int = setting(
      0, "Photos at a time, over all devices; 0: as many as fit an "
      "accelerator's memory, 4 on a CPU. Anchors do not depend on it.")
  learning_rate: float = setting(0.01, "Peak rate of Adam.")
  ramp_up: float = setting(0.05, "Share of the steps that the rate rises in.")
  ramp_down: float = setting(0.25, "Share of the steps that it falls in.")
  w_samples: int = setting(10_000, "Samples for the mean and spread of W.")
  w_noise: float = setting(0.05, "Noise on w at the start, in spreads of W.")
  w_noise_ramp: float = setting(0.75, "Share of the steps that has noise.")
  optimize_noise: bool = setting(True, "Fit the noise maps, too; they are "
                                 "dropped afterwards.")
  noise_weight: float = setting(1e5, "Of the noise maps' autocorrelation.")
  mse_weight: float = setting(0.0, "Of the mean squared difference.")
  resolution: int = setting(256, "Images are averaged down to this side "
                            "before they are compared.")
  seed: int = setting(0, "Of the samples of W and the noise.")

  def validate(self, prefix: str = "anchor_") -> "ProjectionConfig":
    """Checks every field and returns the config itself.

    Args:
      prefix: of the fields in messages, as of their flags.

    Raises:
      ConfigError: names the field and what it should hold.
    """
    _check_types(self, prefix)
    _require_fields(self, prefix, lambda v: _is_size(v, high=2**24),
                    "a whole number >= 1", "steps", "w_samples",
                    "resolution")
    _require_fields(self, prefix, lambda v: _is_size(v, low=0, high=2**24),
                    "a whole number >= 0", "batch_size")
    _require_fields(self, prefix, lambda v: 0 < v <= 1,
                    "a number > 0 and <= 1", "ramp_up", "ramp_down",
                    "w_noise_ramp")
    _require_fields(self, prefix, _is_positive, "a positive number",
                    "learning_rate")
    _require_fields(self, prefix, _is_not_negative, "a number >= 0",
                    "w_noise", "noise_weight", "mse_weight")
    _require_fields(self, prefix, lambda v: 0 <= v < 2**32,
                    "a whole number >= 0", "seed")
    return self


@dataclasses.dataclass(frozen=True)
class LossConfig:
  """Weights of what tuning minimises (My3DGen, equation 1, and extras)."""

  lpips_weight: float = setting(1.0, "Of LPIPS, of image and image_raw.")
  mse_weight: float = setting(1.0, "Of the mean squared difference.")
  raw_weight: float = setting(1.0, "Of both on image_raw, against image.")
  identity_weight: float = setting(
      0.0, "Of 1 - cos of the faces' identities; needs --identity.")
  symmetry_weight: float = setting(
      0.0, "Of the same from the mirrored camera; needs --identity.")
  density_weight: float = setting(
      0.0, "Of the change of density at points close by.")
  density_points: int = setting(1000, "Points that density is compared at.")
  density_distance: float = setting(
      0.004, "Standard deviation of how close by, world units.")

  @property
  def needs_lpips(self) -> bool:
    return self.lpips_weight > 0

  @property
  def needs_identity(self) -> bool:
    return self.identity_weight > 0 or self.symmetry_weight > 0

  def validate(self, prefix: str = "") -> "LossConfig":
    """As `ProjectionConfig.validate`."""
    _check_types(self, prefix)
    _require_fields(self, prefix, _is_not_negative, "a number >= 0",
                    "lpips_weight", "mse_weight", "raw_weight",
                    "identity_weight", "symmetry_weight", "density_weight",
                    "density_distance")
    _require_fields(self, prefix, _is_size, "a whole number >= 1",
                    "density_points")
    _require(self.lpips_weight + self.mse_weight > 0,
             f"{prefix}mse_weight", "lpips_weight or mse_weight to be > 0",
             self.mse_weight)
    return self


@dataclasses.dataclass(frozen=True)
class TuningConfig:
  """How the personal numbers are optimised.

  The rates are those of the original's code: Adam, corrected as StyleGAN2
  does for the regularisation steps between its own.
  """

  mode: Literal["lora", "full", "none"] = setting(
      "lora", "What is tuned: the adapter, all weights but the mapping "
      "network's, or nothing (the baselines of the paper).")
  steps: int = setting(5000, "Optimiser steps.")
  batch_size: int = setting(4, "Photos a step, over all devices.")
  accumulation: int = setting(
      1, "Parts that each device works through a step, to save memory.")
  learning_rate: float = setting(0.0025, "Of Adam, before the correction.")
  beta1: float = setting(0.0, "Of Adam.")
  beta2: float = setting(0.99, "Of Adam, before the correction.")
  lazy_interval: int = setting(
      4, "StyleGAN2's correction for lazy regularisation every so many steps; "
      "0: none.")
  stratified: bool = setting(
      True, "Random depths along the rays, new in each step.")
  seed: int = setting(0, "Of the order of photos, depths, and A.")

  def validate(self, prefix: str = "") -> "TuningConfig":
    """As `ProjectionConfig.validate`."""
    _check_types(self, prefix)
    _require_fields(self, prefix, lambda v: _is_size(v, low=0, high=2**31),
                    "a whole number >= 0", "steps", "lazy_interval", "seed")
    _require_fields(self, prefix, _is_size, "a whole number >= 1",
                    "batch_size", "accumulation")
    _require_fields(self, prefix, _is_positive, "a positive number",
                    "learning_rate")
    _require_fields(self, prefix, lambda v: 0 <= v < 1,
                    "a number >= 0 and < 1", "beta1", "beta2")
    _require(self.batch_size % self.accumulation == 0,
             f"{prefix}batch_size",
             f"a multiple of accumulation = {self.accumulation}",
             self.batch_size)
    return self


@dataclasses.dataclass(frozen=True)
class HullFitConfig:
  """How a photo's weights of the anchors are found (MyStyle, My3DGen)."""

  space: Literal["w", "w+"] = setting(
      "w+", "One set of weights for all layers, or offsets for each: w or w+.")
  beta: float = setting(0.02, "How far below 0 weights may be.")
  steps: int = setting(1000, "Steps for each photo.")
  batch_size: int = setting(4, "Photos at a time, over all devices.")
  learning_rate: float = setting(0.005, "Of Adam.")
  lpips_weight: float = setting(1.0, "Of LPIPS.")
  mse_weight: float = setting(1.0, "Of the mean squared difference.")
  offset_weight: float = setting(
      10.0, "Of what keeps the layers' weights together.")

  def validate(self, prefix: str = "hull_") -> "HullFitConfig":
    """As `ProjectionConfig.validate`."""
    _check_types(self, prefix)
    _require_fields(self, prefix, lambda v: _is_size(v, high=2**24),
                    "a whole number >= 1", "steps", "batch_size")
    _require_fields(self, prefix, _is_positive, "a positive number",
                    "learning_rate")
    _require_fields(self, prefix, _is_not_negative, "a number >= 0",
                    "lpips_weight", "mse_weight", "offset_weight")
    _require_fields(self, prefix, lambda v: 0 <= v <= 1,
                    "a number >= 0 and <= 1", "beta")
    _require(self.lpips_weight + self.mse_weight > 0, f"{prefix}mse_weight",
             "lpips_weight or mse_weight to be > 0", self.mse_weight)
    return self


@dataclasses.dataclass(frozen=True)
class PivotConfig:
  """Pivotal tuning: the generator is bent to one photo (Roich et al. 2021)."""

  mode: Literal["lora", "full"] = setting(
      "lora", "A small adapter on top of the person's, or all weights.")
  rank: int = setting(1, "Of that adapter.")
  steps: int = setting(350, "Steps at most.")
  learning_rate: float = setting(3e-4, "Of Adam.")
  lpips_weight: float = setting(1.0, "Of LPIPS.")
  mse_weight: float = setting(1.0, "Of the mean squared difference.")
  stop_lpips: float = setting(
      0.06, "LPIPS at which a photo is left alone; 0: never.")
  seed: int = setting(0, "Of the adapter's A.")

  def validate(self, prefix: str = "tuning_") -> "PivotConfig":
    """As `ProjectionConfig.validate`."""
    _check_types(self, prefix)
    _require_fields(self, prefix, lambda v: _is_size(v, high=2**24),
                    "a whole number >= 1", "steps", "rank")
    _require_fields(self, prefix, _is_positive, "a positive number",
                    "learning_rate")
    _require_fields(self, prefix, _is_not_negative, "a number >= 0",
                    "lpips_weight", "mse_weight", "stop_lpips")
    _require_fields(self, prefix, lambda v: 0 <= v < 2**32,
                    "a whole number >= 0", "seed")
    _require(self.lpips_weight + self.mse_weight > 0, f"{prefix}mse_weight",
             "lpips_weight or mse_weight to be > 0", self.mse_weight)
    _require(self.lpips_weight > 0 or not self.stop_lpips,
             f"{prefix}stop_lpips", "0 where LPIPS has no weight",
             self.stop_lpips)
    return self


def check_numbers(config: Any, may_be_zero: Sequence[str]):
  """Names the first field of a config of numbers that cannot be meant.

  Args:
    config: a dataclass.
    may_be_zero: fields that are >= 0; the others are > 0.

  Raises: ConfigError.
  """
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    low = 0 if field.name in may_be_zero else 1e-9
    if not low <= value < MAX_SIZE * 100:
      raise ConfigError(f"{field.name}: expected a number "
                        f"{'>= 0' if low == 0 else '> 0'}, got {value}")


def _from_dict(cls, data: Any, prefix: str):
  """Builds the dataclass `cls` from plain data, naming what does not fit."""
  where = prefix.rstrip(".") or "generator"
  _require(isinstance(data, Mapping), where, "a table of settings", data)
  hints = typing.get_type_hints(cls)
  unknown = sorted(set(data) - set(hints))
  if unknown:
    raise ConfigError(f"{prefix}{unknown[0]}: unknown setting; known here are "
                      + ", ".join(sorted(hints)))
  values = {}
  for name, value in data.items():
    if dataclasses.is_dataclass(hints[name]):
      values[name] = _from_dict(hints[name], value, f"{prefix}{name}.")
    else:
      values[name] = tuple(value) if isinstance(value, list) else value
  return cls(**values)


def _check_types(config: Any, prefix: str):
  """Names the first field whose value is not of its annotated type."""
  for name, hint in typing.get_type_hints(type(config)).items():
    value = getattr(config, name)
    if dataclasses.is_dataclass(hint):
      _require(isinstance(value, hint), prefix + name, hint.__name__, value)
      _check_types(value, f"{prefix}{name}.")
    else:
      _require(_has_type(value, hint), prefix + name, _describe(hint), value)


def _has_type(value: Any, hint: Any) -> bool:
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin is Union:
    return any(_has_type(value, arg) for arg in args)
  if origin is Literal:
    return isinstance(value, str) and value in args
  if origin is tuple:
    if args[-1] is ...:
      args = args[:1] * len(value) if isinstance(value, tuple) else ()
    return (isinstance(value, tuple) and len(value) == len(args)
            and all(map(_has_type, value, args)))
  if hint is float:
    return _is_number(value)
  if hint is int:
    return isinstance(value, int) and not isinstance(value, bool)
  return isinstance(value, hint)


def _describe(hint: Any) -> str:
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if origin is Union:
    return " or ".join(map(_describe, args))
  if origin is Literal:
    return "one of " + ", ".join(map(repr, args))
  if origin is tuple:
    count = "some" if args[-1] is ... else len(args)
    return f"{count} values of type {_describe(args[0])}"
  return {float: "a finite number", int: "a whole number", bool: "a boolean",
          str: "a text", type(None): "null"}.get(hint, str(hint))


def _presets() -> Mapping[str, GeneratorConfig]:
  faces64 = GeneratorConfig(neural_rendering_resolution=64)
  faces128 = GeneratorConfig(neural_rendering_resolution=128)
  cats = GeneratorConfig(
      neural_rendering_resolution=128,
      rendering=RenderConfig(avg_camera_pivot=(0.0, 0.0, -0.06)),
      superresolution=SUPERRESOLUTION_MODULES["SuperresolutionHybrid8X"])
  cars = GeneratorConfig(
      neural_rendering_resolution=64,
      mapping=MappingConfig(zero_label=True),
      rendering=RenderConfig(
          depth_resolution=64, depth_resolution_importance=64, ray_start=0.1,
          ray_end=2.6, box_warp=1.6, white_back=True, avg_camera_radius=1.7,
          avg_camera_pivot=(0.0, 0.0, 0.0)),
      superresolution=SUPERRESOLUTION_MODULES["SuperresolutionHybrid2X"])
  return types.MappingProxyType({
      "ffhq512-64": faces64,
      "ffhq512-128": faces128,
      "ffhqrebalanced512-64": faces64,
      "ffhqrebalanced512-128": faces128,
      "afhqcats512-128": cats,
      "shapenetcars128-64": cars,
  })


PRESETS: Mapping[str, GeneratorConfig] = _presets()


def preset(name: str) -> GeneratorConfig:
  """The configuration of a published EG3D checkpoint.

  Args:
    name: the checkpoint's file name without `.pkl`; see `PRESETS`.

  Raises:
    ConfigError: no such preset; the message lists those there are.
  """
  if name not in PRESETS:
    raise ConfigError(f"preset: unknown name {name!r}; known are "
                      + ", ".join(PRESETS))
  return PRESETS[name]
