"""Arrays along an axis of devices."""

import numpy as np
from absl.testing import absltest

from my3dgen_jax.errors import UserError
from my3dgen_jax.training import devices


class DevicesTest(absltest.TestCase):

  def test_layout(self):
    two = devices.local_devices(2)
    tree = {"a": np.arange(6.0).reshape(2, 3)}
    np.testing.assert_array_equal(
        devices.first(devices.replicate(tree, two))["a"], tree["a"])
    np.testing.assert_array_equal(
        devices.first(devices.scatter(tree, two))["a"], [0, 1, 2])

  def test_one_compilation(self):
    two = devices.local_devices(2)
    calls = []
    step = devices.spread(lambda x, y: calls.append(0) or (x + y),
                          devices=two)
    state = devices.replicate(np.ones(3), two)
    other = devices.scatter(np.ones((2, 3)), two)
    for _ in range(3):
      state = step(state, other)
    self.assertLen(calls, 1)
    np.testing.assert_array_equal(devices.first(state), [4, 4, 4])

  def test_too_many(self):
    with self.assertRaisesRegex(UserError, "devices: 99 are wanted"):
      devices.local_devices(99)


if __name__ == "__main__":
  absltest.main()
