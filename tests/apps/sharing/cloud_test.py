"""Splats as a page holds them: what the page reads is what was written."""

import numpy as np
from absl.testing import absltest

from my3dgen_jax.apps.sharing.cloud import Cloud, reach_of
from my3dgen_jax.ops.rendering.splats import Splats

COUNT = 50


def splats(seed=0):
  rng = np.random.default_rng(seed)
  return Splats(
    means=rng.uniform(-0.4, 0.4, (COUNT, 3)).astype(np.float32),
    log_scales=rng.uniform(-7, -3, (COUNT, 3)).astype(np.float32),
    quaternions=rng.normal(size=(COUNT, 4)).astype(np.float32),
    logits=rng.normal(size=COUNT).astype(np.float32),
    colors=rng.uniform(0, 1, (COUNT, 3)).astype(np.float32),
  )


def read(content, ranges):
  """As `unpack` of splats.js does."""
  values = np.frombuffer(content, np.uint8).reshape(17, COUNT).astype(float)
  scaled = lambda rows, span, most: span[0] + rows / most * (span[1] - span[0])
  means = values[0:6:2] + 256 * values[1:6:2]
  return Splats(
    means=scaled(means, ranges["means"], 65535).T,
    colors=scaled(values[6:9], ranges["colors"], 255).T,
    log_scales=scaled(values[9:12], ranges["sizes"], 255).T,
    quaternions=scaled(values[12:16], (-1, 1), 255).T,
    logits=values[16] / 255,
  )


class CloudTest(absltest.TestCase):
  def test_round_trip(self):
    stops = [splats(0), splats(1)]
    cloud = Cloud(stops, reach_of(stops), 64)
    self.assertGreaterEqual(cloud.reach, 0.39)
    self.assertEqual(cloud.facts()["fitted"], 64)
    for number, one in enumerate(stops):
      found = read(cloud.content(number), cloud.facts()["ranges"])
      turns = one.quaternions / np.linalg.norm(
        one.quaternions, axis=-1, keepdims=True
      )
      for got, wanted, step in (
        (found.means, one.means, 0.8 / 65535),
        (found.colors, one.colors, 2 / 255),
        (found.log_scales, one.log_scales, 9.2 / 255),
        (found.quaternions, turns, 2 / 255),
        (found.logits, 1 / (1 + np.exp(-one.logits)), 1 / 255),
      ):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=0.51 * step)

  def test_what_does_not_fit_is_held(self):
    """Sizes and colors beyond the range end at it, and wrap nowhere."""
    one = splats().replace(
      log_scales=np.full((COUNT, 3), 5, np.float32),
      colors=np.full((COUNT, 3), -9, np.float32),
    )
    cloud = Cloud([one], 0.1, 64)
    found = read(cloud.content(0), cloud.facts()["ranges"])
    np.testing.assert_allclose(found.log_scales, 0)
    np.testing.assert_allclose(found.colors, -0.5)
    self.assertLessEqual(np.abs(found.means).max(), 0.1)


if __name__ == "__main__":
  absltest.main()
