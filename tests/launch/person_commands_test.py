"""Commands that work with a person say in a line what they cannot work with."""

import os
import tempfile

from absl.testing import absltest, parameterized

from tests.support import commands


class PersonCommandsTest(parameterized.TestCase):
  @parameterized.parameters(
    ("invert", ["--out=o"], 2, "--album is missing"),
    ("invert", ["--album=a"], 2, "--out is missing"),
    ("invert", ["--album=a", "--out=o"], 2, "no person is given; use --run"),
    ("invert", ["--album=a", "--out=o", "--way=hull"], 2, "--run is missing"),
    ("invert", ["--album=a", "--out=o", "--yaw=nan"], 1, "yaw: "),
    ("invert", ["--album=a", "--out=o", "--run=nowhere"], 1, "nowhere"),
    ("train_encoder", ["--out=o"], 2, "--checkpoint is missing"),
    ("train_encoder", ["--checkpoint=nowhere", "--out=o"], 1, "nowhere"),
    ("interpolate", ["--out=o", "--run=nowhere"], 1, "nowhere"),
    ("interpolate", ["--run=nowhere"], 2, "--out is missing"),
    ("interpolate", ["--out=o", "--run=r", "--frames=1"], 2, "--frames=1"),
    ("synthesize", ["--out=o", "--run=nowhere"], 1, "nowhere"),
    ("synthesize", ["--out=o"], 2, "--run is missing"),
    ("synthesize", ["--out=o", "--run=r", "--count=0"], 2, "count"),
    ("mesh", ["--seeds=1"], 2, "--out is missing: the file"),
    ("mesh", ["--out=a.ply"], 2, "give either --latents"),
    (
      "mesh",
      ["--out=a.ply", "--seeds=1", "--latents=photo"],
      2,
      "give either --latents",
    ),
    ("mesh", ["--out=a.fbx", "--seeds=1"], 1, "must end in .ply"),
    ("mesh", ["--out=a.ply", "--seeds=1"], 2, "no person is given; use --run"),
    ("mesh", ["--out=a.ply", "--seeds=x"], 2, "--seeds: "),
    ("mesh", ["--out=a.ply", "--seeds=1", "--run=nowhere"], 1, "nowhere"),
    ("mesh", ["--out=a.ply", "--seeds=1", "--resolution=4"], 2, "resolution"),
    ("mesh", ["--out=a.ply", "--seeds=1", "--crop=-1"], 1, "crop: "),
    ("share", ["--seeds=1"], 2, "--out is missing: the file"),
    ("share", ["--out=a.html"], 2, "give either --latents"),
    (
      "share",
      ["--out=a.htm", "--seeds=1", "--latents=p"],
      2,
      "give either --latents",
    ),
    ("share", ["--out=a.pdf", "--seeds=1"], 1, "must end in .html"),
    ("share", ["--out=no/a.html", "--seeds=1"], 1, "no: there is no such"),
    (
      "share",
      ["--out=a.html", "--seeds=1"],
      2,
      "no person is given; use --run",
    ),
    ("share", ["--out=a.html", "--seeds=1", "--run=nowhere"], 1, "nowhere"),
    ("share", ["--out=a.html", "--seeds=1", "--yaw=9"], 1, "yaw: "),
    ("share", ["--out=a.html", "--seeds=1", "--stops=1"], 2, "stops"),
    ("share", ["--out=a.html", "--seeds=1", "--title="], 1, "title: "),
    (
      "mesh",
      ["--out=a.ply", "--seeds=1", "--texture=2048"],
      1,
      "texture: not supported for .ply",
    ),
    ("mesh", ["--out=a.glb", "--seeds=1", "--texture=99999"], 2, "--texture"),
    ("splats", ["--seeds=1"], 2, "--out is missing: the file"),
    ("splats", ["--out=a.ply"], 2, "give either --latents"),
    ("splats", ["--out=a.glb", "--seeds=1"], 1, "must end in .ply, .spz"),
    ("splats", ["--out=a.ply", "--seeds=1", "--splats=9999999"], 2, "--splats"),
    ("splats", ["--out=a.ply", "--run=r", "--latents=<b>/x"], 1, "r: "),
    ("report", [], 2, "--run is missing"),
    ("report", ["--run=nowhere"], 1, "nowhere"),
    ("report", ["--run=nowhere", "--pretrained"], 2, "--pretrained: "),
    ("report", ["--run=nowhere", "--out=elsewhere"], 2, "--out: "),
  )
  def test_a_line(self, command, flags, code, text):
    with tempfile.TemporaryDirectory() as folder:
      result = commands.run(command, *flags, cwd=folder)
      self.assertEqual(os.listdir(folder), [])
    self.assertRegex(result.stderr, r"\Aerror: [^\n]+\n\Z")
    self.assertIn(text, result.stderr)
    self.assertEqual(result.returncode, code, result.stderr)


if __name__ == "__main__":
  absltest.main()
