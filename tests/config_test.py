"""Settings: presets, round trips through JSON, and what is refused."""

import dataclasses
import json

from absl.testing import absltest, parameterized

from my3dgen_jax import config as config_lib
from my3dgen_jax.config import ConfigError, GeneratorConfig
from tests.support.tiny import TINY


class ConfigTest(parameterized.TestCase):
  @parameterized.parameters(*config_lib.PRESETS)
  def test_presets_are_valid_and_survive_json(self, name):
    config = config_lib.preset(name).validate()
    data = json.loads(json.dumps(config.to_dict()))
    self.assertEqual(GeneratorConfig.from_dict(data), config)
    self.assertEqual(config.num_ws, 14)

  def test_unknown_preset(self):
    with self.assertRaisesRegex(ConfigError, "preset: unknown.*ffhq512-64"):
      config_lib.preset("ffhq")

  def test_auto_ray_range(self):
    rendering = dataclasses.replace(
      TINY.rendering, ray_start="auto", ray_end="auto"
    )
    config = dataclasses.replace(TINY, rendering=rendering).validate()
    self.assertEqual(GeneratorConfig.from_dict(config.to_dict()), config)

  def test_channels(self):
    backbone = config_lib.BackboneConfig()
    self.assertEqual(backbone.block_resolutions, (4, 8, 16, 32, 64, 128, 256))
    self.assertEqual(
      [backbone.channels(r) for r in (4, 64, 128, 256)], [512, 512, 256, 128]
    )

  @parameterized.named_parameters(
    ("unknown", {"z_dimm": 3}, "z_dimm: unknown setting; known are"),
    ("inner_unknown", {"backbone": {"size": 3}}, "backbone.size: unknown"),
    ("text", {"z_dim": "512"}, "z_dim: expected a whole number"),
    ("null", {"z_dim": None}, "z_dim: expected a whole number"),
    ("truth", {"w_dim": True}, "w_dim: expected a whole number"),
    ("zero", {"z_dim": 0}, "z_dim: expected a whole number >= 1"),
    ("huge", {"z_dim": 10**400}, "z_dim: expected a whole number"),
    (
      "huge_float",
      {"rendering": {"box_warp": 10**400}},
      "rendering.box_warp: expected a finite number",
    ),
    (
      "nan",
      {"rendering": {"box_warp": float("nan")}},
      "rendering.box_warp: expected a finite number",
    ),
    ("label", {"c_dim": 24}, "c_dim: expected 25"),
    ("table", {"backbone": 3}, "backbone: expected a table"),
    (
      "resolution",
      {"backbone": {"resolution": 100}},
      "backbone.resolution: expected a power of two",
    ),
    (
      "base",
      {"backbone": {"channel_base": 128}},
      "backbone.channel_base: expected a whole number >= the resolution",
    ),
    (
      "clamp",
      {"backbone": {"conv_clamp": -1.0}},
      "backbone.conv_clamp: expected a positive number or null",
    ),
    (
      "half_auto",
      {"rendering": {"ray_start": "auto"}},
      "rendering.ray_start: expected 'auto' for both",
    ),
    (
      "order",
      {"rendering": {"ray_end": 1.0}},
      "rendering.ray_end: expected a number > ray_start",
    ),
    (
      "word",
      {"rendering": {"ray_start": "soon"}},
      "rendering.ray_start: expected a finite number or one of 'auto'",
    ),
    (
      "few",
      {"rendering": {"depth_resolution": 3}},
      "rendering.depth_resolution: expected a whole number >= 4",
    ),
    (
      "pivot",
      {"rendering": {"avg_camera_pivot": [1, 2]}},
      "rendering.avg_camera_pivot: expected 3 values",
    ),
    (
      "up",
      {"superresolution": {"up": [1, 0]}},
      "superresolution.up: expected 2 values of type a boolean",
    ),
    (
      "resize",
      {"superresolution": {"resize": "never"}},
      "superresolution.resize: expected one of 'always', 'enlarge'",
    ),
    ("dtype", {"dtype": "float16"}, "dtype: expected one of 'float32'"),
    (
      "colors",
      {"decoder": {"color_features": 2}},
      "decoder.color_features: expected at least img_channels",
    ),
  )
  def test_what_does_not_fit_is_named(self, changes, message):
    with self.assertRaisesRegex(ConfigError, f"^{message}"):
      GeneratorConfig.from_dict(changes)

  def test_not_a_table(self):
    with self.assertRaisesRegex(ConfigError, "^generator: expected a table"):
      GeneratorConfig.from_dict([1])


if __name__ == "__main__":
  absltest.main()
