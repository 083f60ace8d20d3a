"""A few of the damaged inputs; all of them: python -m tests.robustness.damaged."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from tests.robustness import damage, damaged
from tests.robustness.inputs import KINDS

_EACH = 12  # inputs of each kind


class DamagedTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.sound = pathlib.Path(folder.name) / "sound"
    damaged.make_sound(cls.sound)

  @parameterized.parameters(*enumerate(KINDS))
  def test_one_line(self, first, kind):
    refused = 0
    for i in range(_EACH):
      found = damaged.try_one(self.sound, 0, first + i * len(KINDS))
      self.assertEqual(found["kind"], kind)
      found |= {"seconds": 0.0, "bytes": 0}
      self.assertFalse(damaged.is_fault(found), found)
      refused += bool(found["said"])
    self.assertGreater(refused, 0)

  def test_a_fault_is_one(self):
    fine = {"said": "a.png: is damaged", "seconds": 0.1, "bytes": 10}
    self.assertFalse(damaged.is_fault(fine))
    for change in (
      {"traceback": "KeyError"},
      {"seconds": 30.0},
      {"bytes": 2**31},
      {"said": "two\nlines"},
      {"said": "\x1b[2J"},
      {"said": "x" * 2000},
    ):
      self.assertTrue(damaged.is_fault({**fine, **change}), change)

  def test_the_same_again(self):
    data = b'{"labels": [["a.png", [1, 2, 3]]]}'
    for number in range(50):
      one, two = (
        damage.damaged(np.random.default_rng((3, number)), "a.json", data)
        for _ in range(2)
      )
      self.assertEqual(one, two)


if __name__ == "__main__":
  absltest.main()
