"""Identity: a photo is not compared with itself."""

import numpy as np
from absl.testing import absltest

from my3dgen_jax.demo import shipped
from my3dgen_jax.losses import identity, scores


class Photos:
  """As much of an album as the score looks at."""

  is_procedural = True  # for the small network

  def __init__(self, images):
    self.names = [f"photo{i}.png" for i in range(len(images))]
    self._images = images

  def __len__(self):
    return len(self.names)

  def __iter__(self):
    for image in self._images:
      yield type("Item", (), {"image": image})


class IdentityScoreTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.images = rng.uniform(-1, 1, (3, 112, 112, 3)).astype(np.float32)
    self.network = identity.load_identity(shipped.IDENTITY)
    self.score = scores.IdentityScore.of(self.network, Photos(self.images))

  def test_with_and_without_itself(self):
    photo = self.images[1]
    itself = self.score(photo[None])[0]
    others = self.score.without("photo1.png")(photo[None])[0]
    self.assertAlmostEqual(itself, 1.0, places=5)
    self.assertLess(others, 0.999)
    row = scores.compare(photo, photo, identity=self.score)
    self.assertAlmostEqual(row["id_sim"], 1.0, places=5)
    row = scores.compare(
      photo, photo, identity=self.score.without("photo1.png")
    )
    self.assertAlmostEqual(row["id_sim"], float(others), places=6)

  def test_who_is_left(self):
    self.assertIs(self.score.without("another.png"), self.score)
    left = self.score.without("photo0.png")
    self.assertEqual(left.names, ("photo1.png", "photo2.png"))
    np.testing.assert_array_equal(left.people, self.score.people[1:])
    alone = scores.IdentityScore.of(self.network, Photos(self.images[:1]))
    self.assertIs(alone.without("photo0.png"), alone)

  def test_nothing_to_compare_with(self):
    self.assertIsNone(scores.IdentityScore.of(None, Photos(self.images)))
    self.assertIsNone(scores.IdentityScore.of(self.network, None))


if __name__ == "__main__":
  absltest.main()
