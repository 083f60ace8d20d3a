"""Pixel by pixel and by windows: means, masks, decibels, SSIM, pooling."""

import importlib.util
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from absl.testing import absltest, parameterized

from my3dgen_jax.errors import UserError
from my3dgen_jax.losses import reconstruction


def pictures(seed=0, size=8):
  return (
    np.random.default_rng(seed)
    .uniform(-1, 1, (2, size, size, 3))
    .astype(np.float32)
  )


class ReconstructionTest(parameterized.TestCase):
  def test_mean_squared_error(self):
    x, y = pictures(0), pictures(1)
    np.testing.assert_allclose(
      reconstruction.mean_squared_error(x, y),
      ((x - y) ** 2).mean((1, 2, 3)),
      rtol=1e-6,
    )

  def test_mask_leaves_out_and_keeps_the_scale(self):
    x, y = pictures(0), pictures(1)
    mask = np.ones((2, 8, 8, 1), np.float32)
    mask[:, :4] = 0
    wrong = np.where(mask > 0, y, 100.0)
    np.testing.assert_allclose(
      reconstruction.mean_squared_error(x, wrong, mask),
      ((x - y)[:, 4:] ** 2).mean((1, 2, 3)),
      rtol=1e-6,
    )
    np.testing.assert_array_equal(
      reconstruction.mean_squared_error(x, y, 0 * mask), [0, 0]
    )

  def test_psnr_of_known_differences(self):
    x = np.zeros((1, 4, 4, 3), np.float32)
    # A tenth of the range, 2, is 20 dB; what is beyond it does not count.
    self.assertAlmostEqual(
      float(reconstruction.psnr(x, x + 0.2)[0]), 20.0, places=4
    )
    self.assertEqual(float(reconstruction.psnr(x + 1, x + 3)[0]), np.inf)

  @parameterized.parameters((4, 4), (8, 8), (16, 8), (3, 4))
  def test_block_means(self, side, expected):
    x = pictures()
    pooled = reconstruction.block_means(jnp.asarray(x), side)
    self.assertEqual(pooled.shape, (2, expected, expected, 3))
    np.testing.assert_allclose(pooled.mean((1, 2)), x.mean((1, 2)), atol=1e-6)


@absltest.skipIf(
  importlib.util.find_spec("dm_pix") is None,
  'DM PIX is not installed (pip install ".[test]")',
)
class SsimTest(parameterized.TestCase):
  def ssim(self, x, y):
    return jax.jit(reconstruction.ssim)(x, y)

  def by_the_paper(self, x, y):
    """Of one image, in float64, with SciPy's Gaussian."""
    x, y = ((np.float64(image) + 1) / 2 for image in (x, y))
    blur = lambda image: scipy.ndimage.gaussian_filter(
      image, (1.5, 1.5, 0), truncate=3.5
    )[5:-5, 5:-5]
    mean_x, mean_y = blur(x), blur(y)
    covariance = blur(x * y) - mean_x * mean_y
    spread = blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2
    return np.mean(
      (2 * mean_x * mean_y + 1e-4)
      * (2 * covariance + 9e-4)
      / ((mean_x**2 + mean_y**2 + 1e-4) * (spread + 9e-4))
    )

  def test_definition(self):
    rng = np.random.default_rng(0)
    x = np.tanh(
      4
      * scipy.ndimage.gaussian_filter(
        rng.standard_normal((2, 24, 32, 3)), (0, 2, 2, 0)
      )
    ).astype(np.float32)
    y = np.clip(x + 0.2 * rng.standard_normal(x.shape), -1, 1).astype(
      np.float32
    )
    # 1e-7 is what is measured; variances are differences of float32.
    np.testing.assert_allclose(
      self.ssim(x, y),
      [self.by_the_paper(*pair) for pair in zip(x, y)],
      atol=5e-6,
    )

  def test_known(self):
    x = pictures(size=16)
    np.testing.assert_allclose(self.ssim(x, x), 1, atol=1e-6)
    # Of two flat images the means alone are left: 0.25 and 0.75 here.
    flat = np.full((1, 11, 11, 3), -0.5, np.float32)
    np.testing.assert_allclose(
      self.ssim(flat, -flat),
      (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4),
      rtol=1e-5,
    )
    # Beyond the range is its end.
    np.testing.assert_allclose(
      self.ssim(9 * x, np.clip(9 * x, -1, 1)), 1, atol=1e-6
    )

  def test_negative_is_no_likeness(self):
    x = pictures(size=16)
    self.assertLess(self.ssim(x, -x).max(), -0.5)


class SsimRefusedTest(absltest.TestCase):
  def test_too_small(self):
    with self.assertRaisesRegex(UserError, "at least 11 x 11 pixels, got 10"):
      reconstruction.ssim(pictures(size=10), pictures(size=10))

  def test_without_the_library(self):
    with mock.patch.dict(sys.modules, {"dm_pix": None}):
      with self.assertRaisesRegex(
        UserError, r"DM PIX: pip install .*evaluate"
      ) as caught:
        reconstruction.ssim(pictures(size=16), pictures(size=16))
    self.assertNotIn("\n", str(caught.exception))


if __name__ == "__main__":
  absltest.main()
