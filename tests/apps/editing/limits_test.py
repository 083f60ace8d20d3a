"""What keeps an edit from going all the way is said, with the remedy."""

import dataclasses

from absl.testing import absltest, parameterized

from my3dgen_jax.apps.editing import limits
from my3dgen_jax.apps.editing.config import EditConfig

CONFIG = EditConfig(strengths=(-3.0, 0.0, 3.0))


class LimitsTest(parameterized.TestCase):
  def test_followed_in_part(self):
    line = limits.followed_in_part("smile", 0.472, 30, instead="--apply=w")
    for word in ("smile", "30 anchors", "0.472", "--apply=w follows all"):
      self.assertIn(word, line)
    self.assertNotIn("\n", line)
    self.assertIsNone(
      limits.followed_in_part("smile", 0.95, 30, instead="--apply=w")
    )

  @parameterized.parameters(
    ("stop", (-0.2, 0.1), True),
    ("project", (-0.2, 0.1), True),
    ("continue", (-0.2, 0.1), False),
    ("stop", (-3.0, 3.0), False),
    ("stop", (-3.0, 2.9), True),
  )
  def test_ended_early(self, edge, reach, said):
    line = limits.ended_early(
      "photo003", reach, dataclasses.replace(CONFIG, edge=edge)
    )
    self.assertEqual(line is not None, said)
    if said:
      self.assertIn("--edge=continue passes it", line)

  @parameterized.parameters(
    ([0.449, 0.345, 0.529], True),  # person 0 of the demo
    ([0.2, 0.334, 0.893], False),  # person 4
    ([0.893, 0.334, 0.2], False),
    ([0.4], False),
  )
  def test_hardly_changed(self, values, said):
    line = limits.hardly_changed("smile without age", {"smile": values})
    self.assertEqual(line is not None, said)
    if said:
      self.assertIn("--pretrained", line)
    self.assertIsNone(limits.hardly_changed("a.npy", {"smile": values}))


if __name__ == "__main__":
  absltest.main()
