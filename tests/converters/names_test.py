"""Tests of the map between torch's and Flax's names and layouts."""

import dataclasses

import numpy as np
from absl.testing import absltest, parameterized

from converters import names, torch_to_flax
from my3dgen_jax.config import (
  BackboneConfig,
  GeneratorConfig,
  PRESETS,
  SUPERRESOLUTION_MODULES,
)
from tests.support import official_files, rule_weights
from tests.support.tiny import TINY

_SMALL = GeneratorConfig(
  neural_rendering_resolution=32,
  backbone=BackboneConfig(channel_base=1024, channel_max=32),
)
_GOLDEN = (
  ("ffhq512", PRESETS["ffhq512-128"]),
  ("afhq512", PRESETS["afhqcats512-128"]),
  ("small", _SMALL),
)


class NamesTest(parameterized.TestCase):
  @parameterized.parameters(*_GOLDEN)
  def test_every_published_tensor(self, golden, config):
    """Names and shapes are those of the original, no more and no fewer."""
    shapes = rule_weights.golden_shapes(golden)
    expected = torch_to_flax.expected_tensors(config)
    filters = names.own_filter_names(expected, config.superresolution.module)
    self.assertCountEqual(shapes, [*expected, *filters])
    for name, (place, shape) in expected.items():
      self.assertEqual(list(shape), shapes[name], name)
      self.assertEqual(names.flax_path(name), place)
      self.assertEqual(names.torch_name(place), name)

  @parameterized.parameters(*SUPERRESOLUTION_MODULES, "tiny")
  def test_every_module(self, module):
    """Against names and shapes that follow from the specification alone."""
    config = (
      TINY
      if module == "tiny"
      else dataclasses.replace(
        _SMALL, superresolution=SUPERRESOLUTION_MODULES[module]
      )
    )
    shapes = official_files.generator_shapes(config)
    expected = torch_to_flax.expected_tensors(config)
    filters = names.own_filter_names(expected, config.superresolution.module)
    self.assertCountEqual(shapes, [*expected, *filters])
    for name, (_, shape) in expected.items():
      self.assertEqual(shape, shapes[name], name)

  @parameterized.parameters(
    (
      "backbone.synthesis.b8.conv0.weight",
      "params",
      "backbone/synthesis/b8/conv0/kernel",
      (2, 3, 1, 1),
    ),
    (
      "backbone.mapping.fc0.weight",
      "params",
      "backbone/mapping/fc0/kernel",
      (2, 3),
    ),
    ("backbone.mapping.w_avg", "buffers", "backbone/mapping/w_avg", (2,)),
    (
      "backbone.synthesis.b4.const",
      "params",
      "backbone/synthesis/b4/const",
      (5, 4, 4),
    ),
    ("decoder.net.0.weight", "params", "decoder/fc0/kernel", (2, 3)),
    ("decoder.net.2.bias", "params", "decoder/fc1/bias", (2,)),
    (
      "superresolution.block1.conv1.noise_const",
      "buffers",
      "superresolution/block1/conv1/noise_const",
      (2, 3),
    ),
    (
      "superresolution.block1.conv1.noise_strength",
      "params",
      "superresolution/block1/conv1/noise_strength",
      (),
    ),
  )
  def test_place_and_layout(self, name, collection, path, shape):
    place = names.flax_path(name)
    self.assertEqual(
      (place.collection, "/".join(place.path)), (collection, path)
    )
    array = np.arange(np.prod(shape, dtype=int), dtype="f4").reshape(shape)
    turned = names.to_flax(place, array)
    self.assertEqual(names.torch_shape(place, turned.shape), shape)
    np.testing.assert_array_equal(names.to_torch(place, turned), array)
    if len(shape) == 4:
      self.assertEqual(turned.shape, (1, 1, 3, 2))
      self.assertEqual(turned[0, 0, 2, 1], array[1, 2, 0, 0])

  def test_flatten(self):
    tree = {"params": {"a": {"kernel": 1}, "b": 2}, "buffers": {"c": 3}}
    self.assertEqual(names.unflatten(names.flatten(tree)), tree)

  def test_natural_order(self):
    self.assertEqual(
      sorted(["b16.x", "b8.x", "b8"], key=names.natural_order),
      ["b8", "b8.x", "b16.x"],
    )


if __name__ == "__main__":
  absltest.main()
