"""The report command: how it ends when it is asked for what it is not."""

import os
import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


class RefusalsTest(parameterized.TestCase):

  @parameterized.parameters(
      ([], 2, "--run is missing"), (["--run=nowhere"], 1, "nowhere"),
      (["--run=nowhere", "--pretrained"], 2, "--pretrained: "),
      (["--run=nowhere", "--out=elsewhere"], 2, "--out: "))
  def test_a_line(self, flags, code, text):
    with tempfile.TemporaryDirectory() as folder:
      result = subprocess.run(
          [sys.executable, "-m", "my3dgen_jax.launch.report", *flags],
          cwd=folder, env=ENVIRONMENT, capture_output=True, text=True,
          check=False)
      self.assertEqual(os.listdir(folder), [])
    self.assertRegex(result.stderr, r"\Aerror: [^\n]+\n\Z")
    self.assertIn(text, result.stderr)
    self.assertEqual(result.returncode, code, result.stderr)


if __name__ == "__main__":
  absltest.main()
