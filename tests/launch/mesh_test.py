"""The command says in a line what it cannot work with."""

import os
import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).resolve().parents[2]


class MeshCommandTest(parameterized.TestCase):

  @parameterized.parameters(
      (["--seeds=1"], 2, "--out is missing: the file"),
      (["--out=a.ply"], 2, "give one of --latents"),
      (["--out=a.ply", "--seeds=1", "--latents=photo"], 2, "give one of"),
      (["--out=a.fbx", "--seeds=1"], 1, "must end in .ply"),
      (["--out=a.ply", "--seeds=1"], 2, "give a run by --run"),
      (["--out=a.ply", "--seeds=x"], 2, "--seeds: "),
      (["--out=a.ply", "--seeds=1", "--run=nowhere"], 1, "nowhere"),
      (["--out=a.ply", "--seeds=1", "--resolution=4"], 2, "resolution"),
      (["--out=a.ply", "--seeds=1", "--crop=-1"], 1, "crop: "))
  def test_a_line(self, flags, code, text):
    with tempfile.TemporaryDirectory() as folder:
      result = subprocess.run(
          [sys.executable, "-m", "my3dgen_jax.launch.mesh", *flags],
          cwd=folder, capture_output=True, text=True, check=False,
          env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)})
      self.assertEqual(os.listdir(folder), [])
    self.assertRegex(result.stderr, r"\Aerror: [^\n]+\n\Z")
    self.assertIn(text, result.stderr)
    self.assertEqual(result.returncode, code, result.stderr)


if __name__ == "__main__":
  absltest.main()
