"""How an evaluation was made: the header of its report."""

import subprocess
from unittest import mock

from absl.testing import absltest

from my3dgen_jax._version import __version__
from my3dgen_jax.apps.evaluation import circumstances


class HeaderTest(absltest.TestCase):
  def test_command_version_and_machine(self):
    command, machine = circumstances.header("python -m evaluate --out=o")
    self.assertEqual(command, "`python -m evaluate --out=o`")
    self.assertStartsWith(machine, f"my3dgen_jax {__version__}")
    self.assertRegex(machine, r"; jax [\d.]+\w*; \d+ x \S.*, \d+ cores, ")

  def test_without_git(self):
    with mock.patch.object(subprocess, "run", side_effect=FileNotFoundError):
      self.assertNotIn("commit", circumstances.header("x")[1])


if __name__ == "__main__":
  absltest.main()
