"""Noise stays noise, and density smooth."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from my3dgen_jax.losses import regularizers


class NoiseTest(absltest.TestCase):
  def test_autocorrelation_by_hand(self):
    noise = np.random.default_rng(0).standard_normal((2, 16, 16))
    expected = np.zeros(2)
    for level in (noise, noise.reshape(2, 8, 2, 8, 2).mean((2, 4))):
      for axis in (1, 2):
        expected += np.mean(level * np.roll(level, 1, axis), (1, 2)) ** 2
    np.testing.assert_allclose(
      regularizers.noise_autocorrelation(jnp.asarray(noise, jnp.float32)),
      expected,
      rtol=1e-5,
    )

  def test_signals_are_worse_than_noise(self):
    noise = np.random.default_rng(0).standard_normal((1, 32, 32))
    waves = np.sin(np.arange(32) / 3)[None, None] + 0 * noise
    worse, better = (
      float(regularizers.noise_autocorrelation(jnp.asarray(x, jnp.float32))[0])
      for x in (waves, noise)
    )
    self.assertGreater(worse, 100 * better)

  def test_normalized(self):
    noise = 3 + 5 * np.random.default_rng(0).standard_normal((2, 8, 8))
    result = regularizers.normalized_noise(jnp.asarray(noise, jnp.float32))
    np.testing.assert_allclose(result.mean((1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(result.var((1, 2)), 1, rtol=1e-5)


class DensityTest(absltest.TestCase):
  def roughness(self, sigma, distance=0.01):
    return float(
      regularizers.density_roughness(
        jax.random.key(0), sigma, points=4000, distance=distance, box_warp=1.0
      )
    )

  def test_constant_fields_are_smooth(self):
    self.assertEqual(
      self.roughness(lambda p: jnp.ones(p.shape[:2] + (1,))), 0.0
    )

  def test_slope(self):
    # |slope| times the mean of |N(0, distance)|.
    self.assertAlmostEqual(
      self.roughness(lambda p: 3 * p[..., :1]),
      3 * 0.01 * np.sqrt(2 / np.pi),
      places=3,
    )

  def test_points_fill_the_box(self):
    seen = []
    self.roughness(lambda p: seen.append(np.asarray(p)) or p[..., :1])
    places = seen[0][0, :4000]
    self.assertLess(np.abs(places).max(), 0.5)
    self.assertGreater(np.abs(places).max(), 0.49)


if __name__ == "__main__":
  absltest.main()
