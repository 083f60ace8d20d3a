"""Losses of the demo's prior."""

import jax
import jax.numpy as jnp
from absl.testing import absltest

from my3dgen_jax.demo import points
from my3dgen_jax.demo.pretraining import losses
from my3dgen_jax.types import Network, RadianceSample


class LossesTest(absltest.TestCase):
  def test_points_that_fit_cost_nothing(self):
    field = points.FieldPoints(
      points=jnp.zeros((1, 3, 3)),
      density=jnp.array([[-8.0, 0.0, 40.0]]),
      color=jnp.array([[[1.0, 0, -1]] * 3]),
      weight=jnp.ones((1, 3)),
    )
    sample = RadianceSample(
      sigma=field.density[..., None], rgb=(field.color + 1) / 2
    )

    class Field:
      """Answers every query with the truth, moved by `off`."""

      def apply(self, off, planes, places, method):
        del planes, places, method
        return RadianceSample(
          sigma=sample.sigma + off[0], rgb=sample.rgb + off[1]
        )

    loss = lambda *off: float(
      losses.point_loss(Network(off, Field()), None, field)
    )
    self.assertEqual(loss(0.0, 0.0), 0.0)
    self.assertAlmostEqual(loss(5.0, 0.0), 0.25, places=5)
    self.assertAlmostEqual(loss(20.0, 0.0), 3.0, places=5)
    self.assertAlmostEqual(loss(0.0, 0.1), 4 * 0.2, places=5)

  def test_sharper_pictures_cost_less(self):
    photo = jax.random.uniform(jax.random.key(0), (1, 16, 16, 3))
    blurred = (photo + jnp.roll(photo, 1, axis=1)) / 2
    distance = lambda x: float(losses._picture_distance(x, photo))
    self.assertLess(distance(photo), distance(0.5 * (photo + blurred)))
    self.assertLess(distance(0.5 * (photo + blurred)), distance(blurred))


if __name__ == "__main__":
  absltest.main()
