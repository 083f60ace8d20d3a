"""Projection: schedules, and latents that are found again."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.config import ProjectionConfig
from my3dgen_jax.training import projection
from tests.support import person


class ScheduleTest(parameterized.TestCase):
  @parameterized.parameters(
    (0.0, 0.0),
    (0.025, 0.5),
    (0.05, 1.0),
    (0.5, 1.0),
    (0.75, 1.0),
    (0.875, 0.5),
    (1.0, 0.0),
  )
  def test_learning_rate(self, progress, share):
    rate = projection.learning_rate(progress, ProjectionConfig())
    self.assertAlmostEqual(float(rate), 0.01 * share, places=7)

  @parameterized.parameters((0.0, 1.0), (0.375, 0.25), (0.75, 0.0), (0.9, 0.0))
  def test_w_noise(self, progress, share):
    scale = projection.w_noise(progress, ProjectionConfig(), 2.0)
    self.assertAlmostEqual(float(scale), 0.05 * 2 * share, places=6)


class StatisticsTest(absltest.TestCase):
  def test_mean_and_deviation(self):
    base = person.make().base
    key = jax.random.key(0)
    found = projection.w_statistics(key, base, count=1500)
    again = projection.w_statistics(key, base, count=1500)
    np.testing.assert_array_equal(found.mean, again.mean)
    many = projection.w_statistics(jax.random.key(1), base, count=6000)
    distance = float(jnp.linalg.norm(found.mean - many.mean))
    self.assertLess(distance, 4 * float(many.deviation) / np.sqrt(1500))
    self.assertAlmostEqual(
      float(found.deviation / many.deviation), 1, delta=0.1
    )


if __name__ == "__main__":
  absltest.main()
