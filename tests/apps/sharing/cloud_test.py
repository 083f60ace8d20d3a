"""Splats as a page holds them: what the page reads is what was written."""

import numpy as np
from absl.testing import absltest

from my3dgen_jax.apps.rendering.limits import Limits
from my3dgen_jax.apps.share import ShareConfig
from my3dgen_jax.apps.sharing import pages
from my3dgen_jax.apps.sharing.cloud import Cloud, reach_of
from my3dgen_jax.apps.splats.splats import MAX_SPLATS
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.ops.rendering.splats import Splats

COUNT = 50


def splats(seed=0, count=COUNT):
  rng = np.random.default_rng(seed)
  return Splats(
    means=rng.uniform(-0.4, 0.4, (count, 3)).astype(np.float32),
    log_scales=rng.uniform(-7, -3, (count, 3)).astype(np.float32),
    quaternions=rng.normal(size=(count, 4)).astype(np.float32),
    logits=rng.normal(size=count).astype(np.float32),
    colors=rng.uniform(0, 1, (count, 3)).astype(np.float32),
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

  def test_size_of_a_page(self):
    """Of FFHQ's size, of splats and a poster of noise, which nothing packs."""
    poster = np.random.default_rng(0).integers(0, 256, 250_000, np.uint8)

    def megabytes(count, stops=1):
      clouds = [splats(seed, count) for seed in range(stops)]
      page = pages.head_page(
        [
          pages.Face(
            "Face 1", [""] * stops, 0, Cloud(clouds, reach_of(clouds), 512), 4.3
          )
        ],
        config=RenderConfig(),
        limits=Limits(),
        poster=poster.tobytes(),
        side=512,
        origin=Origin("me", "base", "share", ()),
        title="A synthetic head",
      )
      return len(page.encode()) / 1e6

    self.assertLess(megabytes(ShareConfig().splats), 1)
    self.assertLess(megabytes(MAX_SPLATS), 4)
    self.assertLess(megabytes(ShareConfig().splats, stops=3), 2)


if __name__ == "__main__":
  absltest.main()
