"""Ctrl-C in a command, once and twice: one line, and soon."""

import os
import pathlib
import signal
import subprocess
import sys

from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).parents[2]
# Tidying, as libraries do, takes for ever.
_COMMAND = """
import sys, time
from my3dgen_jax.launch.support import cli

def main():
  try:
    print("ready", flush=True)
    time.sleep(60)
  finally:
    print("tidying", flush=True)
    time.sleep(60 * int(sys.argv[0] == "slow"))

sys.argv[:1] = [NAME]
cli.run(main)
"""


class InterruptTest(parameterized.TestCase):
  @parameterized.parameters("quick", "slow")
  def test_one_line(self, name):
    with subprocess.Popen(
      [sys.executable, "-c", _COMMAND.replace("NAME", repr(name))],
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
      # Where the tests run in the background, the shell has it ignored.
      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
      try:
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.stdout.readline(), "tidying\n")
        if name == "slow":
          process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
      finally:
        process.kill()
    self.assertEqual(process.returncode, 130)
    self.assertEqual(said, "error: interrupted\n")


if __name__ == "__main__":
  absltest.main()
