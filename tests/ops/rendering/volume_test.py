"""The quadrature of volume rendering, against plain definitions."""

import jax
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dgen_jax.ops import activations
from my3dgen_jax.ops.rendering import volume

SEEDS = st.integers(0, 2**31)


def random_ray(seed, count=12, rays=5):
  rng = np.random.default_rng(seed)
  depths = np.sort(rng.uniform(2.25, 3.3, (rays, count)), -1)
  return depths.astype(np.float32), rng.normal(2, 6, (rays, count)).astype(
    np.float32
  )


class VolumeTest(parameterized.TestCase):
  def test_stratified_depths(self):
    plain = volume.stratified_depths(2.25, 3.3, 48)
    np.testing.assert_allclose(plain, np.linspace(2.25, 3.3, 48), rtol=1e-6)
    self.assertEqual(plain[-1], np.float32(3.3))
    jitter = np.random.default_rng(0).uniform(size=48).astype(np.float32)
    moved = volume.stratified_depths(2.25, 3.3, 48, jitter)
    np.testing.assert_allclose(moved - plain, jitter * 1.05 / 47, atol=1e-6)
    self.assertGreater(np.diff(moved).min(), 0)

  @settings(deadline=None, max_examples=25)
  @given(seed=SEEDS)
  def test_weights_are_shares(self, seed):
    weights = np.asarray(volume.interval_weights(*random_ray(seed)))
    self.assertGreaterEqual(weights.min(), 0)
    self.assertLessEqual(weights.sum(-1).max(), 1 + 1e-5)

  def test_opaque_and_empty(self):
    depths, sigma = random_ray(0)
    opaque = volume.interval_weights(depths, sigma * 0 + 1e6)
    np.testing.assert_allclose(opaque[:, 0], 1)
    np.testing.assert_allclose(opaque[:, 1:], 0, atol=1e-6)
    empty = volume.interval_weights(depths, sigma * 0 - 1e6)
    np.testing.assert_array_equal(empty, 0)
    self.assertTrue(np.isinf(volume.expected_depth(depths, empty)).all())

  @settings(deadline=None, max_examples=25)
  @given(seed=SEEDS)
  def test_importance_depths_invert_the_distribution(self, seed):
    """Against np.interp of the same cumulative distribution."""
    depths, sigma = random_ray(seed)
    weights = np.asarray(volume.interval_weights(depths, sigma))
    rng = np.random.default_rng(seed)
    u = np.sort(rng.uniform(size=(5, 9)), -1).astype(np.float32)
    actual = np.asarray(volume.importance_depths(depths, weights, u))
    self.assertTrue((np.diff(actual) >= 0).all())
    padded = np.pad(weights, ((0, 0), (1, 1)), constant_values=-np.inf)
    widest = np.maximum(padded[:, 1:], padded[:, :-1])
    smooth = (widest[:, 1:] + widest[:, :-1]) / 2 + 0.01
    bins = (depths[:, 1:] + depths[:, :-1]) / 2
    for ray in range(5):
      inner = smooth[ray, 1:-1] + 1e-5
      cdf = np.concatenate([[0], np.cumsum(inner / inner.sum())])
      np.testing.assert_allclose(
        actual[ray], np.interp(u[ray], cdf, bins[ray, : len(cdf)]), atol=1e-4
      )

  @settings(deadline=None, max_examples=50)
  @given(seed=SEEDS, step=st.sampled_from([0.0, 0.25]))
  def test_merge_order_sorts_and_is_a_permutation(self, seed, step):
    rng = np.random.default_rng(seed)
    draw = lambda n: np.sort(rng.uniform(size=(3, n)).astype(np.float32), -1)
    first, second = draw(7), draw(5)
    if step:  # many equal entries
      first, second = np.round(first / step), np.round(second / step)
    order, place = volume.merge_order(first, second)
    joined = np.concatenate([first, second], -1)
    np.testing.assert_array_equal(
      np.take_along_axis(joined, order, -1), np.sort(joined, -1)
    )
    np.testing.assert_array_equal(
      np.take_along_axis(order, place, -1),
      np.broadcast_to(np.arange(12), (3, 12)),
    )

  @settings(deadline=None, max_examples=25)
  @given(seed=SEEDS)
  def test_coefficients_equal_midpoint_colors(self, seed):
    depths, sigma = random_ray(seed)
    colors = np.random.default_rng(seed).uniform(size=(5, 12, 3))
    weights = np.asarray(volume.interval_weights(depths, sigma))
    expected = (weights[..., None] * (colors[:, 1:] + colors[:, :-1]) / 2).sum(
      1
    )
    actual = volume.sample_coefficients(weights)[..., None] * colors
    np.testing.assert_allclose(actual.sum(1), expected, rtol=1e-4, atol=1e-6)

  def test_softplus(self):
    x = np.linspace(-90, 90, 999, dtype=np.float32)
    np.testing.assert_allclose(
      activations.softplus(x), jax.nn.softplus(x), rtol=1e-6
    )
    np.testing.assert_allclose(
      jax.vmap(jax.grad(activations.softplus))(x),
      jax.nn.sigmoid(x),
      rtol=1e-5,
      atol=1e-37,
    )


if __name__ == "__main__":
  absltest.main()
