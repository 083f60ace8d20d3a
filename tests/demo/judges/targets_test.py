"""What judges learn about people."""

import jax
import numpy as np
from absl.testing import absltest

from my3dgen_jax.demo import people
from my3dgen_jax.demo.judges.targets import targets_of


class TargetsTest(absltest.TestCase):
  def test_targets(self):
    person = jax.vmap(lambda key: people.sample_person(key, ("scar",)))(
      jax.random.split(jax.random.key(0), 200)
    )
    targets = np.asarray(targets_of(person))
    self.assertEqual(
      targets.shape,
      (200, len(people.IDENTITY) + len(people.PHOTO) + len(people.MARKS)),
    )
    np.testing.assert_array_equal(targets[:, 0], people.smile(person))
    np.testing.assert_array_equal(targets[:, 1], people.age(person))
    np.testing.assert_array_equal(targets[0, -6:], [0, 1, 0, 0, 0, 0])
    spread = targets[:, 2:-6].std(axis=0)
    self.assertGreater(spread.min(), 0.6)
    self.assertLess(spread.max(), 1.2)


if __name__ == "__main__":
  absltest.main()
