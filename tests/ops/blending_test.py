"""A part of one image in another: known answers."""

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import blending


def case(seed=0, shape=(20, 30)):
  rng = np.random.default_rng(seed)
  generated = rng.standard_normal(shape + (3,))
  y, x = np.mgrid[: shape[0], : shape[1]]
  ramp = np.stack([0.1 * x - 0.2 * y + 3, 0.05 * y, 0 * x - 1.0], axis=-1)
  return generated, ramp


class SeamlessTest(parameterized.TestCase):
  @parameterized.parameters(
    ([(5, 9, 7, 20)],), ([(1, 3, 1, 3), (10, 19, 3, 28)],)
  )
  def test_a_linear_offset_is_healed(self, boxes):
    """A plane is harmonic: it is what the smoothest addition must be."""
    generated, ramp = case()
    truth = generated + ramp
    hole = np.zeros(generated.shape[:2], bool)
    for top, bottom, left, right in boxes:
      hole[top:bottom, left:right] = True
    photo = np.where(hole[..., None], 1e6, truth)  # is never looked at
    found = blending.seamless(photo, generated, hole)
    np.testing.assert_allclose(found, truth, atol=1e-9)
    np.testing.assert_array_equal(found[~hole], photo[~hole])

  def test_a_constant_is_healed_at_the_images_border(self):
    generated, _ = case()
    hole = np.zeros(generated.shape[:2], bool)
    hole[:8, :12] = True
    found = blending.seamless(generated - 0.7, generated, hole)
    np.testing.assert_allclose(found, generated - 0.7, atol=1e-9)

  def test_one_known_pixel_is_enough(self):
    generated, _ = case()
    hole = np.ones(generated.shape[:2], bool)
    hole[3, 4] = False
    found = blending.seamless(generated + 2, generated, hole)
    np.testing.assert_allclose(found, generated + 2, atol=1e-8)

  def test_nothing_or_all(self):
    generated, ramp = case()
    hole = np.zeros(generated.shape[:2], bool)
    np.testing.assert_array_equal(
      blending.seamless(ramp, generated, hole), ramp
    )
    with self.assertRaisesRegex(UserError, "hole: it covers the whole photo"):
      blending.seamless(ramp, generated, ~hole)


class EdgeTest(absltest.TestCase):
  def test_soft_inside_and_nothing_outside(self):
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    weights = blending.edge_weights(mask, 4)
    self.assertEqual(weights[~mask].max(), 0)
    self.assertGreater(weights[mask].min(), 0)
    np.testing.assert_array_equal(weights[15:25, 15:25], 1)
    row = weights[20, 10:20]
    self.assertTrue((np.diff(row) >= 0).all())
    np.testing.assert_array_equal(blending.edge_weights(mask, 0), mask)
    np.testing.assert_array_equal(
      blending.edge_weights(np.ones((3, 3), bool), 2), 1
    )


if __name__ == "__main__":
  absltest.main()
