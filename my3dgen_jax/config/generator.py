"""Settings of a generator: sizes, renderer, super-resolution, and presets.

`preset(name)` returns the config of a published EG3D checkpoint; other sizes
are made with `dataclasses.replace`.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal

from my3dgen_jax.config.checks import (
  build,
  check_types,
  ConfigError,
  is_number,
  is_positive,
  is_power_of_two,
  is_size,
  later,
  MAX_LAYERS,
  MAX_RESOLUTION,
  plain,
  require,
)


def _require_clamp(value: float | None, field: str):
  require(
    value is None or is_positive(value),
    field,
    "a positive number or null",
    value,
  )


@dataclasses.dataclass(frozen=True)
class MappingConfig:
  """The mapping network, (z, c) -> w (EG3D sec. 4.4)."""

  num_layers: int = 2  # hidden layers after z and the label are joined
  lr_multiplier: float = 0.01  # of the hidden layers; the label embedding has 1
  c_scale: float = 1.0  # factor on the label
  zero_label: bool = False  # replace the label by zeros (ShapeNet)

  def validate(self, prefix: str = "mapping"):
    require(
      is_size(self.num_layers, high=MAX_LAYERS),
      f"{prefix}.num_layers",
      f"a whole number >= 1 and <= {MAX_LAYERS}",
      self.num_layers,
    )
    require(
      is_positive(self.lr_multiplier),
      f"{prefix}.lr_multiplier",
      "a positive number",
      self.lr_multiplier,
    )
    require(
      is_number(self.c_scale),
      f"{prefix}.c_scale",
      "a finite number",
      self.c_scale,
    )


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
  """The StyleGAN2 synthesis network that produces the three planes."""

  resolution: int = 256  # side of a plane, pixels
  plane_channels: int = (
    32  # features per plane; the output has three times as many
  )
  channel_base: int = 32768  # channels(res) = min(channel_base // res, max)
  channel_max: int = 512
  conv_clamp: float | None = None  # bound on every layer's output

  def channels(self, resolution: int) -> int:
    """Feature channels of the block at `resolution`."""
    return min(self.channel_base // resolution, self.channel_max)

  @property
  def block_resolutions(self) -> tuple[int, ...]:
    """(4, 8, …, resolution)."""
    return tuple(2**i for i in range(2, self.resolution.bit_length()))

  @property
  def num_ws(self) -> int:
    """Rows of ws that it reads: two per block; torgb shares the next one."""
    return 2 * len(self.block_resolutions)

  def validate(self, prefix: str = "backbone"):
    require(
      is_size(self.resolution, low=4, high=MAX_RESOLUTION)
      and is_power_of_two(self.resolution),
      f"{prefix}.resolution",
      f"a power of two >= 4 and <= {MAX_RESOLUTION}",
      self.resolution,
    )
    require(
      is_size(self.plane_channels),
      f"{prefix}.plane_channels",
      "a whole number >= 1",
      self.plane_channels,
    )
    require(
      is_size(self.channel_base, low=self.resolution, high=2**24),
      f"{prefix}.channel_base",
      f"a whole number >= the resolution {self.resolution}",
      self.channel_base,
    )
    require(
      is_size(self.channel_max),
      f"{prefix}.channel_max",
      "a whole number >= 1",
      self.channel_max,
    )
    _require_clamp(self.conv_clamp, f"{prefix}.conv_clamp")


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """The decoder from plane features to density and color features."""

  hidden_features: int = 64
  color_features: int = 32  # the first img_channels of them are image_raw
  lr_multiplier: float = 1.0

  def validate(self, prefix: str = "decoder"):
    for name in ("hidden_features", "color_features"):
      require(
        is_size(getattr(self, name)),
        f"{prefix}.{name}",
        "a whole number >= 1",
        getattr(self, name),
      )
    require(
      is_positive(self.lr_multiplier),
      f"{prefix}.lr_multiplier",
      "a positive number",
      self.lr_multiplier,
    )


@dataclasses.dataclass(frozen=True)
class RenderConfig:
  """The two-pass volume renderer. Lengths are in world units."""

  depth_resolution: int = 48  # coarse samples per ray
  depth_resolution_importance: int = 48  # fine samples per ray; 0: none
  ray_start: float | Literal["auto"] = 2.25  # "auto": where the ray enters …
  ray_end: float | Literal["auto"] = 3.3  # … and leaves the box
  box_warp: float = 1.0  # side of the cube that the planes span
  white_back: bool = False  # white background, else black
  avg_camera_radius: float = 2.7  # distance of the average camera …
  avg_camera_pivot: tuple[float, float, float] = (0.0, 0.0, 0.2)  # … from here
  ray_chunk: int = 0  # rays rendered at a time; 0: chosen for the backend

  def validate(self, prefix: str = "rendering"):
    for name, low in (
      ("depth_resolution", 4),
      ("depth_resolution_importance", 0),
    ):
      require(
        is_size(getattr(self, name), low=low, high=MAX_RESOLUTION),
        f"{prefix}.{name}",
        f"a whole number >= {low} and <= {MAX_RESOLUTION}",
        getattr(self, name),
      )
    auto = [v == "auto" for v in (self.ray_start, self.ray_end)]
    require(
      auto[0] == auto[1],
      f"{prefix}.ray_start",
      "'auto' for both ray_start and ray_end or for neither",
      (self.ray_start, self.ray_end),
    )
    if not auto[0]:
      require(
        is_number(self.ray_start) and self.ray_start >= 0,
        f"{prefix}.ray_start",
        "a number >= 0 or 'auto'",
        self.ray_start,
      )
      require(
        is_number(self.ray_start)
        and is_number(self.ray_end)
        and self.ray_end > self.ray_start,
        f"{prefix}.ray_end",
        f"a number > ray_start {self.ray_start}",
        self.ray_end,
      )
    for name in ("box_warp", "avg_camera_radius"):
      require(
        is_positive(getattr(self, name)),
        f"{prefix}.{name}",
        "a positive number",
        getattr(self, name),
      )
    pivot = self.avg_camera_pivot
    require(
      len(pivot) == 3 and all(map(is_number, pivot)),
      f"{prefix}.avg_camera_pivot",
      "three numbers",
      pivot,
    )
    require(
      is_size(self.ray_chunk, low=0, high=2**24),
      f"{prefix}.ray_chunk",
      "a whole number >= 0",
      self.ray_chunk,
    )


@dataclasses.dataclass(frozen=True)
class SuperresolutionConfig:
  """Two synthesis blocks from the rendered features to the final image."""

  module: str = "SuperresolutionHybrid8XDC"  # name in the checkpoints
  input_resolution: int = 128  # features are resized to this first
  channels: tuple[int, int] = (256, 128)  # of block0 and block1
  up: tuple[bool, bool] = (
    True,
    True,
  )  # whether the block doubles the resolution
  resize: Literal["always", "enlarge"] = "always"  # "enlarge": only if smaller
  antialias: bool = True  # of that resize
  clamp: float | None = 256.0  # bound on every layer's output
  noise_mode: Literal["none", "const", "random"] = "none"
  # In the original, the first block of the 4X and 2X modules adds in place to
  # the tensor that the generator returns as `image_raw`, unless that was resized
  # first. The discriminators of the published weights saw that sum.
  raw_in_place: bool = later(False)

  @property
  def output_resolution(self) -> int:
    return self.input_resolution * 2 ** sum(self.up)

  def validate(self, prefix: str = "superresolution"):
    require(
      is_size(self.input_resolution, low=4, high=MAX_RESOLUTION),
      f"{prefix}.input_resolution",
      f"a whole number >= 4 and <= {MAX_RESOLUTION}",
      self.input_resolution,
    )
    require(
      len(self.channels) == 2 and all(map(is_size, self.channels)),
      f"{prefix}.channels",
      "two whole numbers >= 1",
      self.channels,
    )
    require(len(self.up) == 2, f"{prefix}.up", "two booleans", self.up)
    _require_clamp(self.clamp, f"{prefix}.clamp")


SUPERRESOLUTION_MODULES: Mapping[str, SuperresolutionConfig] = (
  types.MappingProxyType(
    {
      config.module: config
      for config in (
        SuperresolutionConfig(
          "SuperresolutionHybrid8XDC", 128, (256, 128), (True, True)
        ),
        SuperresolutionConfig(
          "SuperresolutionHybrid8X", 128, (128, 64), (True, True)
        ),
        SuperresolutionConfig(
          "SuperresolutionHybrid4X",
          128,
          (128, 64),
          (False, True),
          "enlarge",
          raw_in_place=True,
        ),
        SuperresolutionConfig(
          "SuperresolutionHybrid2X",
          64,
          (128, 64),
          (False, True),
          raw_in_place=True,
        ),
      )
    }
  )
)


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
  """An EG3D generator. The defaults are the sizes of the FFHQ checkpoints."""

  z_dim: int = 512
  c_dim: int = 25  # 16 values of cam2world, 9 of the intrinsics
  w_dim: int = 512
  img_channels: int = 3
  neural_rendering_resolution: int = 64  # side of image_raw, by default
  mapping: MappingConfig = MappingConfig()
  backbone: BackboneConfig = BackboneConfig()
  decoder: DecoderConfig = DecoderConfig()
  rendering: RenderConfig = RenderConfig()
  superresolution: SuperresolutionConfig = SuperresolutionConfig()
  dtype: Literal["float32", "bfloat16"] = "float32"  # of activations
  precision: Literal["highest", "high", "default"] = "highest"  # of products
  # "reverse": custom rules for `jax.grad`, faster and with less memory; "any":
  # JAX's own differentiation, which has a forward mode, too.
  differentiation: Literal["reverse", "any"] = later("reverse")

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
    check_types(self, "")
    for name in ("z_dim", "w_dim", "img_channels"):
      require(
        is_size(getattr(self, name)),
        name,
        "a whole number >= 1",
        getattr(self, name),
      )
    require(
      self.c_dim == 25,
      "c_dim",
      "25 (16 of cam2world, 9 of the intrinsics)",
      self.c_dim,
    )
    require(
      is_size(self.neural_rendering_resolution, high=MAX_RESOLUTION),
      "neural_rendering_resolution",
      f"a whole number >= 1 and <= {MAX_RESOLUTION}",
      self.neural_rendering_resolution,
    )
    self.mapping.validate()
    self.backbone.validate()
    self.decoder.validate()
    self.rendering.validate()
    self.superresolution.validate()
    require(
      self.decoder.color_features >= self.img_channels,
      "decoder.color_features",
      f"at least img_channels = {self.img_channels}",
      self.decoder.color_features,
    )
    return self

  def to_dict(self) -> dict:
    """Plain data, as stored in `config.json`."""
    return plain(self)

  @classmethod
  def from_dict(cls, data: Mapping[str, Any]) -> "GeneratorConfig":
    """The inverse of `to_dict`, also after a round trip through JSON.

    Raises:
      ConfigError: names an unknown field or an invalid value.
    """
    return build(cls, data, "").validate()


def _presets() -> Mapping[str, GeneratorConfig]:
  faces64 = GeneratorConfig(neural_rendering_resolution=64)
  faces128 = GeneratorConfig(neural_rendering_resolution=128)
  cats = GeneratorConfig(
    neural_rendering_resolution=128,
    rendering=RenderConfig(avg_camera_pivot=(0.0, 0.0, -0.06)),
    superresolution=SUPERRESOLUTION_MODULES["SuperresolutionHybrid8X"],
  )
  cars = GeneratorConfig(
    neural_rendering_resolution=64,
    mapping=MappingConfig(zero_label=True),
    rendering=RenderConfig(
      depth_resolution=64,
      depth_resolution_importance=64,
      ray_start=0.1,
      ray_end=2.6,
      box_warp=1.6,
      white_back=True,
      avg_camera_radius=1.7,
      avg_camera_pivot=(0.0, 0.0, 0.0),
    ),
    superresolution=SUPERRESOLUTION_MODULES["SuperresolutionHybrid2X"],
  )
  return types.MappingProxyType(
    {
      "ffhq512-64": faces64,
      "ffhq512-128": faces128,
      "ffhqrebalanced512-64": faces64,
      "ffhqrebalanced512-128": faces128,
      "afhqcats512-128": cats,
      "shapenetcars128-64": cars,
    }
  )


PRESETS: Mapping[str, GeneratorConfig] = _presets()


def preset(name: str) -> GeneratorConfig:
  """The config of a published EG3D checkpoint.

  Args:
    name: the checkpoint's file name without `.pkl`; see `PRESETS`.

  Raises:
    ConfigError: the name is unknown; the message lists the known ones.
  """
  if name not in PRESETS:
    raise ConfigError(
      f"preset: unknown name {name!r}; known are " + ", ".join(PRESETS)
    )
  return PRESETS[name]
