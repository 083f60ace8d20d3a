"""Signals that set a flag, and stop nothing."""

import signal

from absl.testing import absltest, parameterized

from my3dgen_jax.errors import Interrupted
from my3dgen_jax.jobs.interrupts import stopping_gently


class InterruptsTest(parameterized.TestCase):
  @parameterized.parameters(signal.SIGTERM, signal.SIGINT)
  def test_flag(self, number):
    before = signal.getsignal(number)
    with stopping_gently() as stop:
      stop.raise_if_wanted("no")
      signal.raise_signal(number)
      with self.assertRaisesRegex(Interrupted, "saved") as caught:
        stop.raise_if_wanted("saved")
    self.assertEqual(caught.exception.signal, number)
    self.assertEqual(signal.getsignal(number), before)

  def test_the_second_one_does_not_wait(self):
    # What runs in the background of a shell is born deaf to it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    self.addCleanup(signal.signal, signal.SIGINT, before)
    with self.assertRaises(KeyboardInterrupt):
      with stopping_gently():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
  absltest.main()
