"""How judges are judged."""

import numpy as np
from absl.testing import absltest

from my3dgen_jax.demo import gallery
from my3dgen_jax.demo.judges import quality


class QualityTest(absltest.TestCase):
  def test_area_under_curve(self):
    area = quality.area_under_curve
    self.assertEqual(area(np.array([2, 3]), np.array([0, 1, 1])), 1.0)
    self.assertEqual(area(np.array([1]), np.array([0, 1, 2, 1])), 0.5)
    self.assertAlmostEqual(area(np.array([1, 2]), np.array([1.5])), 0.5)

  def test_people_and_twins(self):
    """Embeddings that know people, and those that know marks, too."""
    plan = gallery.Plan(people=3, photos=2, seed=0)
    numbers = np.arange(plan.size)
    label, owner = numbers // 2, numbers // 4
    photos = gallery.Gallery(None, None, label, owner)
    for embeddings, twins in ((np.eye(3)[owner], 0.5), (np.eye(6)[label], 1.0)):
      found = quality.identity_quality(embeddings, photos)
      self.assertEqual(found["auc_people"], 1)
      self.assertEqual(found["auc_twins"], twins)
      self.assertEqual(found["cosine_different"], 0)

  def test_kinds(self):
    label = np.repeat(np.arange(7), 2)
    photos = gallery.Gallery(None, None, label, np.zeros(14, int))
    # Sees no mark but moles.
    embeddings = np.eye(2)[(label == 1).astype(int)]
    found = quality.kinds_quality(embeddings, photos)
    self.assertEqual(found.pop("mole"), 1)
    self.assertEqual(set(found.values()), {0.5})


if __name__ == "__main__":
  absltest.main()
