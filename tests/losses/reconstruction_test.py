"""Pixel by pixel: means, masks, decibels, pooling."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.losses import reconstruction


def pictures(seed=0, size=8):
  return np.random.default_rng(seed).uniform(
      -1, 1, (2, size, size, 3)).astype(np.float32)


class ReconstructionTest(parameterized.TestCase):

  def test_mean_squared_error(self):
    x, y = pictures(0), pictures(1)
    np.testing.assert_allclose(reconstruction.mean_squared_error(x, y),
                               ((x - y)**2).mean((1, 2, 3)), rtol=1e-6)

  def test_mask_leaves_out_and_keeps_the_scale(self):
    x, y = pictures(0), pictures(1)
    mask = np.ones((2, 8, 8, 1), np.float32)
    mask[:, :4] = 0
    wrong = np.where(mask > 0, y, 100.0)
    np.testing.assert_allclose(
        reconstruction.mean_squared_error(x, wrong, mask),
        ((x - y)[:, 4:]**2).mean((1, 2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(
        reconstruction.mean_squared_error(x, y, 0 * mask), [0, 0])

  def test_psnr_of_known_differences(self):
    x = np.zeros((1, 4, 4, 3), np.float32)
    # A tenth of the range, 2, is 20 dB; what is beyond it does not count.
    self.assertAlmostEqual(float(reconstruction.psnr(x, x + 0.2)[0]), 20.0,
                           places=4)
    self.assertEqual(float(reconstruction.psnr(x + 1, x + 3)[0]), np.inf)

  @parameterized.parameters((4, 4), (8, 8), (16, 8), (3, 4))
  def test_block_means(self, side, expected):
    x = pictures()
    pooled = reconstruction.block_means(jnp.asarray(x), side)
    self.assertEqual(pooled.shape, (2, expected, expected, 3))
    np.testing.assert_allclose(pooled.mean((1, 2)), x.mean((1, 2)),
                               atol=1e-6)


if __name__ == "__main__":
  absltest.main()
