"""Density on a grid is that of its points."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.config import RenderConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.types import Network
from tests.support.tiny import random_variables, TINY


class DensityGridTest(parameterized.TestCase):
  def network(self):
    return Network(random_variables(), Generator(TINY))

  def planes(self, count=1):
    size = TINY.backbone.resolution
    return (
      np.random.default_rng(0)
      .standard_normal((count, 3, size, size, TINY.backbone.plane_channels))
      .astype(np.float32)
    )

  @parameterized.parameters(False, True)
  def test_equals_the_query_of_each_point(self, jitted):
    """Also where the box ends; every axis has another length."""
    network, planes = self.network(), self.planes()
    half = RenderConfig().box_warp / 2
    x, y, z = (
      np.linspace(-1.1 * half, 1.2 * half, n, dtype=np.float32)
      for n in (7, 5, 6)
    )
    grid = lambda network, *arguments: network(
      *arguments, method="density_grid"
    )
    found = (jax.jit(grid) if jitted else grid)(network, planes, x, y, z)
    points = jnp.stack(jnp.meshgrid(x, y, z, indexing="ij"), -1)
    query = jax.jit(lambda network, *points: network(*points, method="query"))
    wanted = query(network, planes, points.reshape(1, -1, 3)).sigma
    self.assertEqual(found.shape, (7, 5, 6))
    self.assertGreater(np.std(wanted), 0.1)
    # The same sums in another order, in float32.
    np.testing.assert_allclose(
      found.ravel(), wanted.ravel(), atol=1e-5, rtol=1e-5
    )

  def test_wrong_arguments_are_named(self):
    network, axis = self.network(), np.zeros(3, np.float32)
    with self.assertRaisesRegex(UserError, "planes: has 2 rows"):
      network(self.planes(2), axis, axis, axis, method="density_grid")
    with self.assertRaisesRegex(UserError, "y: "):
      network(self.planes(), axis, axis[None], axis, method="density_grid")


if __name__ == "__main__":
  absltest.main()
