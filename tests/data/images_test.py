"""Arrays to pictures."""

import os
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.data import images


class ImagesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def test_to_uint8(self):
    np.testing.assert_array_equal(
      images.to_uint8(np.array([-9, -1, -1 + 1 / 255, 0, 1, 9])),
      [0, 0, 0, 128, 255, 255],
    )
    levels = np.arange(256)
    np.testing.assert_array_equal(images.to_uint8(levels / 127.5 - 1), levels)

  def test_depth_to_uint8(self):
    np.testing.assert_array_equal(
      images.depth_to_uint8(np.array([2.0, 2.5, 3.0, np.inf]), 2, 3),
      [255, 128, 0, 0],
    )
    np.testing.assert_array_equal(
      images.depth_to_uint8(np.ones(2), 1, 1), [255, 255]
    )

  @parameterized.parameters(((5, 4, 3),), ((5, 4, 1),), ((5, 4),))
  def test_png_round_trip(self, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    path = self.folder / "a.png"
    images.write_png(path, picture)
    np.testing.assert_array_equal(
      np.asarray(Image.open(path)).reshape(shape), picture
    )
    self.assertEqual(os.listdir(self.folder), ["a.png"])

  def test_failed_write_leaves_nothing(self):
    path = self.folder / "a.png"
    images.write_png(path, np.zeros((2, 2), np.uint8))
    with mock.patch.object(os, "replace", side_effect=OSError):
      with self.assertRaises(OSError):
        images.write_png(path, np.ones((2, 2), np.uint8))
    self.assertEqual(os.listdir(self.folder), ["a.png"])
    self.assertEqual(np.asarray(Image.open(path)).max(), 0)

  def test_fitted(self):
    picture = (
      np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    )
    self.assertIs(images.fitted(picture, None), picture)
    self.assertIs(images.fitted(picture, 6), picture)
    np.testing.assert_array_equal(
      images.fitted(picture, 12), np.kron(picture, np.ones((2, 2, 1), int))
    )
    self.assertEqual(images.fitted(picture[..., :1], 3).shape, (2, 3, 1))
    flat = np.full((8, 8, 1), 77, np.uint8)
    np.testing.assert_array_equal(images.fitted(flat, 4), flat[:4, :4])

  def test_as_colors(self):
    grey = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    self.assertEqual(images.as_colors(grey).shape, (2, 2, 3))
    np.testing.assert_array_equal(images.as_colors(grey)[..., 2:], grey)
    colors = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(images.as_colors(colors), colors)

  def test_make_grid(self):
    tile = lambda value: np.full((2, 3, 3), value, np.uint8)
    grid = images.make_grid([[tile(0), tile(1)], [tile(2), tile(3)]])
    self.assertEqual(grid.shape, (4, 6, 3))
    np.testing.assert_array_equal(grid[::2, ::3, 0], [[0, 1], [2, 3]])


if __name__ == "__main__":
  absltest.main()
