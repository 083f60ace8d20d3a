"""The commands that train the demo's networks refuse before they begin."""

import pathlib
import tempfile

from absl.testing import absltest, parameterized

from tests.support import commands

ROOT = pathlib.Path(__file__).resolve().parents[2]


class DemoTrainingTest(parameterized.TestCase):
  @parameterized.parameters(
    ("pretrain_demo", "--crop_steps=-1", "crop_steps: expected a number"),
    ("pretrain_demo", "--points=7", "points: expected a multiple of 5"),
    ("train_demo_networks", "--people=0", "people"),
  )
  def test_bad_settings(self, command, flag, pattern):
    with tempfile.TemporaryDirectory() as folder:
      out = pathlib.Path(folder) / "out"
      done = commands.run(command, f"--out={out}", flag, cwd=ROOT)
      self.assertIn(done.returncode, (1, 2), done.stderr)
      self.assertRegex(done.stderr, rf"\Aerror: [^\n]*{pattern}[^\n]*\n\Z")
      self.assertFalse(out.exists())


if __name__ == "__main__":
  absltest.main()
