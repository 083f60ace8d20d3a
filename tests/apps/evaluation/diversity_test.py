"""How different images are, on cases whose answers are known."""

import signal

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.apps.evaluation import diversity
from my3dgen_jax.errors import Interrupted
from my3dgen_jax.jobs import interrupts
from tests.support.mean_color import LPIPS


class DiversityTest(parameterized.TestCase):
  @parameterized.parameters(
    # The spread of 1, 2, 3 is sqrt(2/3); one image and none have none.
    ([0, 0, 0, 2], {(0, 1, 2): [1.0, 2.0, 3.0]}, (2 / 3) ** 0.5 / 2),
    ([0, 1, 2], {}, 0.0),
    ([3, 3], {(0, 1): [0.7]}, 0.0),
    ([1, 1, 1], {(0, 1, 2): [0.5, 0.5, 0.5]}, 0.0),
  )
  def test_diversity(self, nearest, distances, expected):
    found = diversity.diversity(
      nearest, lambda members: np.array(distances[tuple(members)])
    )
    self.assertAlmostEqual(found, expected)

  def test_diversity_by_lpips(self):
    """Grey images about two grey photos; distances are squares."""
    grey = lambda value: np.full((64, 64, 3), value, np.float32)
    photos = [grey(-0.5), grey(0.5)]
    shown = [grey(value) for value in (0.4, 0.5, 0.7, -0.4)]
    found = diversity.lpips_diversity(LPIPS, shown, photos)
    pairs = 3 * np.square([0.1, 0.3, 0.2])
    self.assertAlmostEqual(found["diversity"], np.std(pairs) / 2, places=5)
    self.assertEqual(found["groups"], 1)  # two images are no group of three
    stop = interrupts.StopRequest()
    stop.signal = signal.SIGTERM
    with self.assertRaises(Interrupted):
      diversity.lpips_diversity(LPIPS, shown, photos, stop)


if __name__ == "__main__":
  absltest.main()
