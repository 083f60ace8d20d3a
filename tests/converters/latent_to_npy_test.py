"""Tests of the latents' converter."""

import ml_dtypes
import numpy as np
from absl.testing import absltest, parameterized

from converters import latent_to_npy
from tests.support import official_files as files
from tests.support.converters import ConverterCase


class LatentToNpyTest(ConverterCase):
  converter = latent_to_npy
  OUTPUT = "photo_latent.npy"

  def setUp(self):
    super().setUp()
    self.input = self.folder / "0.pt"

  def write(self, value):
    self.input.write_bytes(files.zip_file(value))

  def convert(self, **options):
    latent_to_npy.convert(
      str(self.input), str(self.output), **{"log": lambda line: None, **options}
    )
    return np.load(self.output, allow_pickle=False)

  def flags(self):
    return [f"--input={self.input}", f"--output={self.output}"]

  @parameterized.product(
    shape=((8,), (1, 8), (4, 8), (1, 4, 8)),
    dtype=(np.float32, np.float16, ml_dtypes.bfloat16),
  )
  def test_numbers_stay(self, shape, dtype):
    array = np.random.default_rng(0).normal(size=shape).astype(dtype)
    self.write(array)
    found = self.convert()
    self.assertEqual(found.dtype, np.float32)
    np.testing.assert_array_equal(found, array.astype(np.float32))

  def test_of_several(self):
    arrays = {"w": np.ones((1, 4, 8), np.float32), "noise": np.zeros(3)}
    self.write(arrays)
    np.testing.assert_array_equal(self.convert(key="w"), arrays["w"])

  @parameterized.parameters(((1, 1, 4, 8),), ((0, 8),))
  def test_other_shapes(self, shape):
    self.write(np.zeros(shape, np.float32))
    self.assert_refused(self.input, "expected a latent of finite numbers")

  def test_not_finite(self):
    self.write(np.full((4, 8), np.nan, np.float32))
    self.assert_refused(self.input, "expected a latent of finite numbers")


if __name__ == "__main__":
  absltest.main()
