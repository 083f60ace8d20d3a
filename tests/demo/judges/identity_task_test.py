"""ArcFace's margin."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from my3dgen_jax.demo.judges import identity_task


class MarginTest(absltest.TestCase):
  def test_margin(self):
    angles = np.array([[0.5, 1.2, 2.0], [3.0, 1.0, 2.0]])
    labels = np.array([0, 0])
    for margin in (0.0, 0.3):
      loss = float(
        identity_task.margin_loss(
          jnp.cos(angles), labels, margin=margin, scale=8.0
        )
      )
      moved = np.cos(angles)
      moved[0, 0] = np.cos(0.5 + margin)
      # 3.0 + 0.3 is beyond pi.
      moved[1, 0] -= margin * np.sin(margin)
      expected = np.log(np.exp(8 * moved).sum(-1)) - 8 * moved[:, 0]
      self.assertAlmostEqual(loss, expected.mean(), places=4)
    slope = jax.grad(
      lambda x: identity_task.margin_loss(x, labels, margin=0.3, scale=8.0)
    )(jnp.ones((2, 3)))
    self.assertTrue(np.isfinite(slope).all())


if __name__ == "__main__":
  absltest.main()
