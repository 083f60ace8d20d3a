"""Training of the demo's prior: a few real steps of a tiny one."""

import dataclasses
import os
import pathlib
import tempfile
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from my3dgen_jax.config import BackboneConfig, ConfigError, RenderConfig
from my3dgen_jax.demo import heads, pretrain, prior, quality
from my3dgen_jax.demo.pretraining import settings
from my3dgen_jax.models.checkpoint import load_generator

TINY = dataclasses.replace(
  prior.MODEL,
  w_dim=8,
  neural_rendering_resolution=16,
  backbone=BackboneConfig(
    resolution=8, plane_channels=4, channel_base=64, channel_max=8
  ),
  rendering=RenderConfig(depth_resolution=4, depth_resolution_importance=4),
  superresolution=dataclasses.replace(
    prior.MODEL.superresolution, input_resolution=16, channels=(4, 4)
  ),
)
CONFIG = settings.PretrainConfig(
  point_steps=2,
  crop_steps=1,
  image_steps=1,
  people=4,
  points=50,
  w_samples=100,
  save_every=2,
  log_every=1,
)


def balls():
  """Heads are balls: real ones take minutes to compile, five times over."""
  radius, color = 0.25, 0.5
  off = lambda point: jnp.sqrt(sum(jnp.square(x) for x in point)) - radius
  grey = lambda point: jnp.stack([jnp.full_like(point[0], color)] * 3, -1)
  return mock.patch.multiple(
    heads,
    distance=lambda head, point: off(point),
    shaded=lambda head, point: grey(point),
    sdf=lambda person, points: off(tuple(points.T)),
    with_normals=lambda head, point: (
      grey(point),
      jnp.stack(point, -1) / radius,
    ),
  )


def undrawn():
  """Without pictures and measurements, most of a short training's time."""
  return mock.patch.multiple(
    quality,
    write_samples=mock.DEFAULT,
    write_sheet=mock.DEFAULT,
    measure=mock.Mock(return_value={}),
  )


class PretrainTest(absltest.TestCase):
  def test_trains_and_goes_on(self):
    # Programs that were compiled for balls are nobody else's.
    jax.clear_caches()
    self.addCleanup(jax.clear_caches)
    with (
      tempfile.TemporaryDirectory() as folder,
      balls(),
      mock.patch.object(prior, "MODEL", TINY),
      mock.patch.object(pretrain, "_PEOPLE", 8),
    ):
      folder = pathlib.Path(folder)
      with undrawn():
        pretrain.pretrain(folder, dataclasses.replace(CONFIG, image_steps=0))
      generator, first = load_generator(folder / "generator")
      self.assertEqual(generator.config, TINY)
      self.assertTrue(np.any(first["buffers"]["backbone"]["mapping"]["w_avg"]))
      pretrain.pretrain(folder, CONFIG)
      _, second = load_generator(folder / "generator")
      self.assertGreater(
        np.abs(
          first["params"]["decoder"]["fc0"]["kernel"]
          - second["params"]["decoder"]["fc0"]["kernel"]
        ).max(),
        0,
      )
      self.assertLen((folder / "metrics.jsonl").read_text().splitlines(), 4)
      self.assertLessEqual(
        {"sheet_000004.png", "samples.png", "held_out.png", "quality.json"},
        set(os.listdir(folder)),
      )
      # Started from that, no step is the same generator; only w_avg is new.
      with undrawn():
        pretrain.pretrain(
          folder / "again",
          dataclasses.replace(
            CONFIG, point_steps=0, crop_steps=0, image_steps=0
          ),
          start_from=folder / "generator",
        )
      _, third = load_generator(folder / "again" / "generator")
      chex.assert_trees_all_equal(second["params"], third["params"])

  def test_bad_settings(self):
    for changes, field in (
      ({"points": 7}, "points"),
      ({"point_rate": 0.0}, "point_rate"),
      ({"people": 0}, "people"),
      ({"people": 3}, "people"),
    ):
      with self.assertRaisesRegex(ConfigError, f"^{field}: "):
        pretrain.pretrain("unused", dataclasses.replace(CONFIG, **changes))


if __name__ == "__main__":
  absltest.main()
