"""Photos that judges learn from, a little changed."""

import jax
import numpy as np
from absl.testing import absltest

from my3dgen_jax.demo.judges.augmentation import augmented


class AugmentationTest(absltest.TestCase):
  def test_augmented(self):
    images = np.full((3, 16, 16, 3), 64, np.uint8)
    images[:, 8:] = 192
    found = np.asarray(augmented(jax.random.key(1), images))
    self.assertEqual(found.shape, images.shape)
    self.assertLessEqual(np.abs(found).max(), 1)
    # Rows stay rows, and neither half turns into the other.
    np.testing.assert_allclose(
      found, np.broadcast_to(found[:, :, :1], found.shape), atol=1e-6
    )
    self.assertGreater((found[:, -1] - found[:, 0]).min(), 0.5)
    self.assertGreater(np.abs(found[0] - found[1]).max(), 0.01)


if __name__ == "__main__":
  absltest.main()
