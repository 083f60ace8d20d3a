"""The prepare command: its exit status says whether an album came out."""

import json
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest

from my3dgen_jax.apps.preparation.prepare import PrepareConfig
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch import prepare
from tests.support import commands, dotted_faces

ROOT = pathlib.Path(__file__).resolve().parents[2]


class PrepareCommandTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def run_command(self, **flags):
    return commands.run(
      "prepare",
      f"--photos={self.folder}",
      f"--out={self.folder / 'out'}",
      *(f"--{name}={value}" for name, value in flags.items()),
      cwd=ROOT,
    )

  def test_album(self):
    c = dotted_faces.label(10)
    dotted_faces.save(
      self.folder, "me.png", dotted_faces.photo((c, (60, 60), 128))
    )
    (self.folder / "text.jpg").write_text("no photo")
    points = self.folder / "points.json"
    points.write_text(
      json.dumps(
        {
          name: (dotted_faces.points_of(c) * 128 + 60).tolist()
          for name in ("me.png", "text.jpg")
        }
      )
    )
    result = self.run_command(detections=points, size=64, workers=1)
    self.assertEqual((result.returncode, result.stderr), (0, ""))
    self.assertIn("1 of 2 kept", result.stdout)
    open_album(self.folder / "out" / "album", img_resolution=64, min_photos=1)

  def test_no_album(self):
    result = self.run_command()
    self.assertEqual(result.returncode, 1)
    self.assertRegex(result.stderr, "^error: .*has no photos.*\n$")

  def test_missing_flags(self):
    for config, name in (
      (PrepareConfig(), "photos"),
      (PrepareConfig(photos="x"), "out"),
    ):
      with mock.patch.object(prepare, "_CONFIG", return_value=config):
        with self.assertRaisesRegex(FlagError, f"--{name} is missing"):
          prepare.main()


if __name__ == "__main__":
  absltest.main()
