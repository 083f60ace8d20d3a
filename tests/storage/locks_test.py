"""One command at a time in a folder."""

import pathlib
import signal
import subprocess
import sys
import tempfile

from absl.testing import absltest

from my3dgen_jax.errors import UserError
from my3dgen_jax.storage import locks

HOLDER = """
import sys, time
from my3dgen_jax.storage import locks
with locks.hold(sys.argv[1]):
  print("held", flush=True)
  time.sleep(60)
"""


class LocksTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name) / "run"

  def test_another_process_is_kept_out_until_it_dies(self):
    process = subprocess.Popen(
      [sys.executable, "-c", HOLDER, self.folder],
      stdout=subprocess.PIPE,
      text=True,
    )
    self.addCleanup(process.stdout.close)
    self.addCleanup(process.kill)
    self.assertEqual(process.stdout.readline(), "held\n")
    message = "run: another command is writing here; .* --out"
    with self.assertRaisesRegex(UserError, message):
      locks.check_free(self.folder)
    with self.assertRaisesRegex(UserError, message):
      with locks.hold(self.folder):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    locks.check_free(self.folder)
    with locks.hold(self.folder):
      self.assertEqual(list(self.folder.iterdir()), [])

  def test_a_process_may_hold_it_twice(self):
    with locks.hold(self.folder):
      with locks.hold(self.folder):
        locks.check_free(self.folder)
      locks.check_free(self.folder)
    locks.check_free(self.folder)
    locks.check_free(self.folder / "missing")


if __name__ == "__main__":
  absltest.main()
