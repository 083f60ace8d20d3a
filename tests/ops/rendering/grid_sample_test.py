"""Bilinear look-ups, and the folding of three planes into two."""

import numpy as np
import pytest
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dgen_jax.ops.rendering import grid_sample, triplane
from tests.support import golden


@pytest.mark.numbers
class GridSampleTest(parameterized.TestCase):
  def test_matches_original(self):
    file = golden.load("ops")
    actual = grid_sample.grid_sample(
      golden.to_nhwc(file["planes"]), file["grid"][:, 0]
    )
    expected = file["grid_sample"][:, :, 0].transpose(0, 2, 1)
    golden.assert_close(actual, expected, golden.OPS, "ops: grid_sample")

  def test_pixel_centres_and_beyond(self):
    image = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1) + 1
    columns, rows = np.meshgrid([-2 / 3, 0, 2 / 3], [-0.5, 0.5])
    grid = np.stack([columns, rows], -1).reshape(1, 6, 2).astype(np.float32)
    np.testing.assert_allclose(
      grid_sample.grid_sample(image, grid).ravel(), image.ravel(), rtol=1e-6
    )
    outside = np.array([[[-9, 0], [0, 9], [2, 2], [np.inf, 0]]], np.float32)
    np.testing.assert_array_equal(grid_sample.grid_sample(image, outside), 0)
    # Half a pixel beyond the edge, half of the edge is left.
    np.testing.assert_allclose(
      grid_sample.grid_sample(image, np.array([[[-1, -0.5]]], np.float32)),
      [[[0.5]]],
      rtol=1e-6,
    )


class FoldPlanesTest(parameterized.TestCase):
  @settings(deadline=None, max_examples=20)
  @given(seed=st.integers(0, 2**31), box_warp=st.sampled_from([1.0, 1.6]))
  def test_two_look_ups_equal_three(self, seed, box_warp):
    rng = np.random.default_rng(seed)
    planes = rng.standard_normal((2, 3, 7, 7, 4)).astype(np.float32)
    points = rng.uniform(-0.7, 0.7, (2, 40, 3)).astype(np.float32) * box_warp
    x, y, z = np.moveaxis(points * (2 / box_warp), -1, 0)
    expected = np.mean(
      [
        grid_sample.grid_sample(planes[:, i], np.stack(axes, -1))
        for i, axes in enumerate([(x, y), (x, z), (z, x)])
      ],
      axis=0,
    )
    padded_planes = triplane.fold_planes(planes)
    for i in range(2):
      np.testing.assert_allclose(
        triplane.sample_planes(padded_planes[i], points[i], box_warp=box_warp),
        expected[i],
        atol=1e-6,
      )


if __name__ == "__main__":
  absltest.main()
