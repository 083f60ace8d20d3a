"""Tests of reading a generator's settings from its checkpoint."""

import dataclasses

import numpy as np
from absl.testing import absltest, parameterized

from converters import settings, torch_reader
from my3dgen_jax.config import GeneratorConfig, PRESETS
from my3dgen_jax.errors import CheckpointError
from tests.support import official_files as files
from tests.support.official_files import Call, Global

_FFHQ = PRESETS["ffhq512-128"]


class SettingsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.warnings = []

  def _read(self, config: GeneratorConfig = _FFHQ, *, changes=(), **kwargs):
    """Through a file of a generator without tensors."""
    rendering = files.rendering_kwargs(config)
    for key, value in dict(changes).items():
      rendering[key] = value
      if value is Ellipsis:
        del rendering[key]
    record = torch_reader.loads(
      files.official_pickle(
        {},
        config,
        generator=(
          files.generator_object({}, config, rendering=rendering, **kwargs)
        ),
      )
    )
    return settings.read(record["G_ema"], self.warnings.append)

  @parameterized.parameters(*PRESETS)
  def test_published(self, name):
    self.assertEqual(self._read(PRESETS[name]), PRESETS[name])
    self.assertEmpty(self.warnings)

  def test_other_sizes(self):
    config = dataclasses.replace(
      _FFHQ,
      z_dim=64,
      w_dim=128,
      neural_rendering_resolution=32,
      mapping=dataclasses.replace(_FFHQ.mapping, num_layers=3, c_scale=0.5),
      backbone=dataclasses.replace(
        _FFHQ.backbone, channel_base=1024, channel_max=32, conv_clamp=256.0
      ),
      superresolution=dataclasses.replace(
        _FFHQ.superresolution, clamp=None, antialias=False, noise_mode="random"
      ),
      rendering=dataclasses.replace(
        _FFHQ.rendering, ray_start="auto", ray_end="auto"
      ),
    )
    self.assertEqual(self._read(config), config)

  def test_positional_arguments(self):
    names = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
    config = self._read(
      positional=(512, 25, 512, 512, 3),
      arguments=dict.fromkeys(names, Ellipsis),
    )
    self.assertEqual(config, _FFHQ)

  def test_originals_defaults(self):
    config = self._read(
      arguments={
        "channel_base": Ellipsis,
        "channel_max": Ellipsis,
        "mapping_kwargs": files.easy_dict({}),
        "sr_num_fp16_res": Ellipsis,
      },
      changes={"white_back": Ellipsis, "decoder_lr_mul": Ellipsis},
    )
    self.assertEqual(config.mapping.num_layers, 8)
    self.assertEqual(config.backbone, _FFHQ.backbone)
    self.assertIsNone(config.superresolution.clamp)

  def test_numpy_scalar(self):
    scalar = Call(
      Global("numpy.core.multiarray", "scalar"),
      (
        Call(Global("numpy", "dtype"), ("f8", False, True)),
        b"\0\0\0\0\0\0\x02\x40",
      ),
    )
    self.assertEqual(
      self._read(changes={"ray_start": scalar}).rendering.ray_start, 2.25
    )

  def test_unknown_settings_warn(self):
    self._read(changes={"my\nown": 1}, arguments={"extra": 2})
    self.assertLen(self.warnings, 2)
    self.assertIn("extra", self.warnings[0])
    self.assertIn("own", self.warnings[1])

  def test_average_camera_may_be_absent(self):
    config = self._read(
      changes={"avg_camera_radius": Ellipsis, "avg_camera_pivot": Ellipsis}
    )
    self.assertEqual(config.rendering.avg_camera_pivot, (0.0, 0.0, 0.0))
    self.assertLen(self.warnings, 2)

  @parameterized.parameters(
    "depth_resolution",
    "depth_resolution_importance",
    "ray_start",
    "ray_end",
    "box_warp",
    "superresolution_module",
    "clamp_mode",
    "c_gen_conditioning_zero",
    "c_scale",
    "superresolution_noise_mode",
    "sr_antialias",
  )
  def test_missing(self, key):
    with self.assertRaisesRegex(CheckpointError, f"no {key} .*--preset"):
      self._read(changes={key: Ellipsis})

  def test_missing_argument(self):
    with self.assertRaisesRegex(CheckpointError, "no z_dim .*--preset"):
      self._read(arguments={"z_dim": Ellipsis})

  def test_later_rendering_options_win(self):
    """Training may change them; the layers stay as they were built."""
    record = torch_reader.loads(files.official_pickle({}, _FFHQ))["G_ema"]
    record.state["rendering_kwargs"] = {
      **record.state["rendering_kwargs"],
      "depth_resolution": 96,
      "sr_antialias": False,
    }
    config = settings.read(record, self.warnings.append)
    self.assertEqual(config.rendering.depth_resolution, 96)
    self.assertTrue(config.superresolution.antialias)
    self.assertLen(self.warnings, 1)
    self.assertIn("depth_resolution", self.warnings[0])

  def test_img_resolution_may_be_absent(self):
    self.assertEqual(
      self._read(arguments={"img_resolution": Ellipsis}), self._read()
    )

  def test_clamp_that_only_the_layers_tell(self):
    data = files.official_pickle(
      {},
      _FFHQ,
      generator=files.generator_object(
        {"backbone.synthesis.b4.conv1.weight": np.ones((1, 1), np.float32)},
        _FFHQ,
        arguments={"conv_clamp": Ellipsis},
      ),
    )
    record = torch_reader.loads(data)["G_ema"]
    config = settings.read(record, self.warnings.append)
    self.assertIsNone(config.backbone.conv_clamp)
    self.assertLen(self.warnings, 1)
    layer = record
    for name in ("backbone", "synthesis", "b4", "conv1"):
      layer = layer.state["_modules"][name]
    layer.state["conv_clamp"] = 128
    config = settings.read(record, self.warnings.append)
    self.assertEqual(config.backbone.conv_clamp, 128)
    self.assertLen(self.warnings, 1)

  @parameterized.named_parameters(
    ("disparity", "disparity_space_sampling", True, "not supported"),
    ("noise", "density_noise", 0.5, "not supported"),
    ("clamp", "clamp_mode", "relu", "softplus"),
    (
      "module",
      "superresolution_module",
      "a.b.Super\x1b[31m",
      "unknown super-resolution module",
    ),
    ("bool", "white_back", 1, "true or false"),
    ("whole", "depth_resolution", 48.0, "whole number"),
    ("huge", "depth_resolution", 2**100, "whole number"),
    ("few", "depth_resolution", 2, "depth_resolution"),
    ("nan", "box_warp", float("nan"), "finite"),
    ("negative", "box_warp", -1.0, "box_warp"),
    ("order", "ray_end", 1.0, "ray_end"),
    ("auto", "ray_end", "auto", "both"),
    ("pivot", "avg_camera_pivot", [1, 2], "three"),
    ("list", "ray_start", [[[]]], "finite number"),
    ("long", "superresolution_noise_mode", "x" * 10**6, "noise_mode"),
  )
  def test_wrong(self, key, value, reason):
    with self.assertRaisesRegex(CheckpointError, reason) as caught:
      self._read(changes={key: value})
    self.assertTrue(str(caught.exception).isprintable())
    self.assertLess(len(str(caught.exception)), 700)

  @parameterized.named_parameters(
    ("architecture", "architecture", "resnet", "not supported"),
    ("activation", "activation", "relu", "not supported"),
    ("c_dim", "c_dim", 0, "c_dim"),
    ("resolution", "img_resolution", 256, "makes 512"),
    (
      "layers",
      "mapping_kwargs",
      files.easy_dict({"num_layers": 10**4}),
      "num_layers",
    ),
    ("mapping", "mapping_kwargs", 3, "table"),
    ("channels", "channel_base", 10**9, "channel_base"),
  )
  def test_wrong_argument(self, key, value, reason):
    with self.assertRaisesRegex(CheckpointError, reason):
      self._read(arguments={key: value})

  def test_other_architecture(self):
    with self.assertRaisesRegex(CheckpointError, "'Generator', not EG3D's"):
      self._read(class_name="Generator")

  def test_no_settings(self):
    record = torch_reader.ObjectRecord("", "TriPlaneGenerator", {})
    with self.assertRaisesRegex(CheckpointError, "--config or --preset"):
      settings.read(record, self.warnings.append)


if __name__ == "__main__":
  absltest.main()
