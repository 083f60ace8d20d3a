"""Arrays along an axis of devices, and their memory."""

import os
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest

from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices


class DevicesTest(absltest.TestCase):
  def test_cores_are_those_of_the_process(self):
    with mock.patch.object(
      os, "sched_getaffinity", return_value={3, 5, 7}, create=True
    ):
      self.assertEqual(devices.cores(), 3)

  def test_layout(self):
    two = devices.local_devices(2)
    tree = {"a": np.arange(6.0).reshape(2, 3)}
    np.testing.assert_array_equal(
      devices.first(devices.replicate(tree, two))["a"], tree["a"]
    )
    np.testing.assert_array_equal(
      devices.first(devices.scatter(tree, two))["a"], [0, 1, 2]
    )

  def test_copies_compile_nothing(self):
    two, compiled = devices.local_devices(2), []
    tree = {
      "host": np.ones((3, 17), np.float32),
      "device": jax.device_put(np.ones((19, 3), np.float32)),
    }
    listen = lambda name, *_, **__: compiled.append(name)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
      found = devices.replicate(tree, two)
    finally:
      jax.monitoring.unregister_event_duration_listener(listen)
    self.assertEmpty(compiled)
    self.assertEqual(found["device"].shape, (2, 19, 3))

  def test_one_compilation(self):
    two = devices.local_devices(2)
    calls = []
    step = devices.spread(lambda x, y: calls.append(0) or (x + y), devices=two)
    state = devices.replicate(np.ones(3), two)
    other = devices.scatter(np.ones((2, 3)), two)
    for _ in range(3):
      state = step(state, other)
    self.assertLen(calls, 1)
    np.testing.assert_array_equal(devices.first(state), [4, 4, 4])

  def test_photos_that_fit(self):
    class Device:
      def __init__(self, stats):
        self.memory_stats = lambda: stats

    card = Device({"bytes_limit": 60 * 2**30})
    self.assertEqual(devices.photos_that_fit([card], 1.2e9), 16)
    self.assertEqual(devices.photos_that_fit([card] * 4, 1.2e9), 64)
    self.assertEqual(devices.photos_that_fit([card], 1.0), 32)
    self.assertEqual(devices.photos_that_fit([card], 1e12), 1)
    for silent in (None, {}):  # as a CPU's
      self.assertEqual(devices.photos_that_fit([Device(silent)], 1.0), 4)

  def test_memory_is_given_back_after_long_compilations(self):
    name = "/jax/core/compile/backend_compile_duration"
    with mock.patch.object(devices.ctypes, "CDLL") as library:
      devices._trim(name, 0.5)
      devices._trim("/jax/core/compile/jaxpr_trace_duration", 30.0)
      library.assert_not_called()
      devices._trim(name, 30.0, fun_name="step")
      library.return_value.malloc_trim.assert_called_once_with(0)
      library.side_effect = OSError  # another C library
      devices._trim(name, 30.0)

  def test_jax_says_when_it_has_compiled(self):
    """`_trim` waits for this event."""
    heard = []
    listener = lambda event, duration, **_: heard.append(event)
    jax.monitoring.register_event_duration_secs_listener(listener)
    jax.jit(lambda x: x * 3.25 + 1)(np.float32(2))
    self.assertTrue(
      [event for event in heard if event.endswith("backend_compile_duration")]
    )

  def test_too_many(self):
    with self.assertRaisesRegex(UserError, "devices: 99 requested"):
      devices.local_devices(99)


if __name__ == "__main__":
  absltest.main()
